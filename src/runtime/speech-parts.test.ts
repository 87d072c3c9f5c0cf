/** The parts of speech recognition that need no model: windows and the loop guard. */

import { describe, expect, test } from 'vitest'
import { audioWindows, peakOf } from './audio-windows.js'
import { loopedTokens } from './loop-guard.js'

const RATE = 1000
const cuts = { sampleRateHz: RATE, maxSamples: 30 * RATE, marginS: 2 }
const noise = (seconds: number) => Float32Array.from({ length: seconds * RATE }, (_, i) => Math.sin(i * 12.9898) * 0.5)

describe('windows', () => {
  test('what fits is one window', () => {
    expect(audioWindows(noise(30), cuts)).toEqual([{ from: 0, to: 30 * RATE }])
    expect(audioWindows(new Float32Array(0), cuts)).toEqual([{ from: 0, to: 0 }])
  })

  test('cut where it is quiet, without gaps', () => {
    const sound = noise(75)
    sound.fill(0, 25.0 * RATE, 25.4 * RATE)
    sound.fill(0, 50.0 * RATE, 50.4 * RATE)
    const windows = audioWindows(sound, cuts)
    expect(windows).toHaveLength(3)
    for (const [at, second] of [
      [0, 25],
      [1, 50],
    ] as const) {
      expect(windows[at]!.to / RATE).toBeGreaterThan(second)
      expect(windows[at]!.to / RATE).toBeLessThan(second + 0.4)
      expect(windows[at + 1]!.from).toBe(windows[at]!.to)
    }
    expect(windows.at(-1)!.to).toBe(75 * RATE)
    expect(peakOf(sound)).toBeCloseTo(0.5, 2)
  })

  test('no window is longer than allowed, even where nothing is quiet', () => {
    const windows = audioWindows(new Float32Array(200 * RATE).fill(0.3), cuts)
    for (const { from, to } of windows) expect(to - from).toBeLessThanOrEqual(30 * RATE)
    for (const { from, to } of windows.slice(0, -1)) expect(to - from).toBeGreaterThanOrEqual(22 * RATE)
  })
})

describe('loop guard', () => {
  const repeated = (phrase: readonly number[], times: number) => Array.from({ length: times }, () => phrase).flat()

  test.each([
    ['one token sixteen times', repeated([5], 16), 15],
    ['fifteen times is speech', repeated([5], 15), 0],
    ['no no no no', repeated([5, 6], 4), 0],
    ['a pair eight times', [1, 2, ...repeated([5, 6], 8)], 14],
    ['a phrase of five, four times', [9, ...repeated([1, 2, 3, 4, 5], 4)], 15],
    ['a phrase of five, three times', repeated([1, 2, 3, 4, 5], 3), 0],
    ['one word off', [...repeated([1, 2, 3, 4, 5], 3), 1, 2, 3, 4, 6], 0],
    ['nothing', [], 0],
  ])('%s', (_, ids, surplus) => {
    expect(loopedTokens(ids)).toBe(surplus)
  })
})
