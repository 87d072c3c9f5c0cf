/** What the user sees of long work: a bar on a terminal, sparse lines elsewhere, nothing under --json. */

import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { createProgress, formatBytes, formatSeconds } from './progress.js'

function screen(isTTY: boolean) {
  const stream = Object.assign(new PassThrough(), { isTTY, columns: 120, cursorTo: () => true, clearLine: () => true })
  let text = ''
  stream.on('data', (chunk) => {
    text += chunk
  })
  return { stream, text: () => text }
}
const MB = 1_000_000

describe('progress', () => {
  test('plain lines: at most one each interval, with bytes, rate and time left; the last one always', async () => {
    const { stream, text } = screen(false)
    let clockMs = 0
    const { listener } = await createProgress({ stream, now: () => clockMs })
    for (let done = 0; done <= 10; done++) {
      listener({ task: 'pull w.bin', done: done * 10 * MB, total: 100 * MB, unit: 'bytes' })
      clockMs += 500
    }
    listener({ task: 'pull w.bin', done: 100 * MB, total: 100 * MB, unit: 'bytes' })
    await new Promise(setImmediate)
    const lines = text().trimEnd().split('\n')
    expect(lines).toEqual([
      'pull w.bin: 0% 0 B of 100.0 MB',
      'pull w.bin: 40% 40.0 MB of 100.0 MB, 20.0 MB/s, 3 s left',
      'pull w.bin: 80% 80.0 MB of 100.0 MB, 20.0 MB/s, 1 s left',
      'pull w.bin: 100% 100.0 MB of 100.0 MB, 20.0 MB/s',
    ])
  })

  test('a terminal gets a bar with the same facts', async () => {
    const { stream, text } = screen(true)
    let clockMs = 0
    const { listener, note, stop } = await createProgress({ stream, now: () => clockMs })
    listener({ task: 'pull w.bin', done: 0, total: 100 * MB, unit: 'bytes' })
    clockMs = 1000
    listener({ task: 'pull w.bin', done: 25 * MB, total: 100 * MB, unit: 'bytes' })
    note('mirror failed')
    stop()
    await new Promise(setImmediate)
    expect(text()).toMatch(/pull w\.bin \[======\s+\] 25% 25\.0 MB of 100\.0 MB, 25\.0 MB\/s, 3 s left/)
    expect(text()).toContain('mirror failed\n')
  })

  test('resumed bytes do not count as speed, unknown ends and items have words too', async () => {
    const { stream, text } = screen(false)
    let clockMs = 0
    const { listener } = await createProgress({ stream, now: () => clockMs })
    listener({ task: 'a', done: 90 * MB, unit: 'bytes' })
    clockMs = 2000
    listener({ task: 'a', done: 92 * MB, unit: 'bytes' })
    listener({ task: 'b', done: 1, total: 22, unit: 'items' })
    await new Promise(setImmediate)
    expect(text()).toBe('a: 90.0 MB\na: 92.0 MB, 1.0 MB/s\nb: 4% 1 of 22\n')
  })

  test('--json is silent', async () => {
    const { stream, text } = screen(true)
    const { listener, note, stop } = await createProgress({ stream, json: true })
    listener({ task: 'a', done: 1, total: 2, unit: 'items' })
    note('x')
    stop()
    await new Promise(setImmediate)
    expect(text()).toBe('')
  })

  test('numbers', () => {
    expect([0, 999, 1000, 999_949, 999_950, 322_591_712, 7.2e12].map(formatBytes)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '999.9 kB',
      '1.0 MB',
      '322.6 MB',
      '7.2 TB',
    ])
    expect([0.2, 59.1, 125, 4210].map(formatSeconds)).toEqual(['1 s', '1 min 00 s', '2 min 05 s', '1 h 10 min'])
  })
})
