/** The parts of `m4fm adapter train` that need no process: options, hints, and the line of a running training. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { M4Error } from '../core/errors.js'
import { openDataSet, type StepReport } from '../train/index.js'
import { COMMANDS, isGroup } from './commands.js'
import { describeError } from './report-error.js'
import { trainOptions } from './train-options.js'
import { createStepLine, formatStep } from './train-progress.js'

const report = (step: number, more: Partial<StepReport> = {}): StepReport => ({
  step,
  steps: 300,
  loss: 0.42146,
  gradientNorm: 1,
  unitsPerSecond: 850.4,
  secondsLeft: 250,
  ...more,
})

/** A stream that remembers. */
function memory(isTTY: boolean) {
  const pieces: string[] = []
  const stream = { isTTY, write: (piece: string) => pieces.push(piece) > 0 } as unknown as NodeJS.WritableStream
  return { stream, text: () => pieces.join('') }
}

describe('options of train', () => {
  test('what is given, and nothing else', () => {
    expect(trainOptions({})).toEqual({})
    expect(
      trainOptions({
        steps: '20',
        lr: '1e-3',
        parts: 'q:16, v',
        kind: 'prefix',
        seed: '0',
        rsLora: true,
        template: 'Say {}',
        columns: 'text=sentence,label=0',
      }),
    ).toEqual({
      steps: 20,
      optimiser: { lr: 1e-3 },
      parts: ['q:16', 'v'],
      kind: 'prefix',
      seed: 0,
      rsLora: true,
      template: 'Say {}',
      read: { columns: { text: 'sentence', label: 0 } },
    })
  })

  test('numbers out of range and unknown words name their flag', () => {
    for (const [options, said] of [
      [{ steps: '0' }, '--steps: expected a whole number, 1 or more; got 0'],
      [{ rank: '2.5' }, '--rank'],
      [{ maxTokens: '-1' }, '--max-tokens'],
      [{ fraction: '1.5' }, '--fraction: expected a number, 0 to 1; got 1.5'],
      [{ lr: 'fast' }, '--lr'],
      [{ columns: 'text' }, '--columns: expected FIELD=COLUMN, got "text"'],
      [{ rate: '0' }, '--rate: expected a number above 0, got 0'],
      [{ timeUnit: 'h' }, '"h"'],
      [{ format: 'tabel' }, 'Did you mean table?'],
    ] as const)
      expect(() => trainOptions(options)).toThrow(said)
    expect(() => trainOptions({ kind: 'lroa' })).toThrow(/--kind "lroa".*lora/)
  })

  test('every option of train reaches the trainer or the command', () => {
    const group = COMMANDS.adapter!
    if (!isGroup(group)) throw new Error('adapter is a group')
    const own = ['data', 'out', 'image', 'eval', 'name', 'app', 'licence', 'dryRun', 'fresh', 'checkpointEvery']
    const values: Record<string, unknown> = {
      kind: 'lora',
      task: 'detect',
      forward: 'image',
      dtype: 'float16',
      columns: 'text=a',
      rsLora: true,
      recompute: true,
      format: 'rows',
      timeUnit: 'ms',
    }
    for (const { flags } of group.commands.train!.options) {
      const name = /^--([a-z-]+)/.exec(flags)![1]!.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
      if (own.includes(name)) continue
      expect(trainOptions({ [name]: values[name] ?? '1' }), flags).not.toEqual({})
    }
  })
})

describe('hints of data', () => {
  test.each([
    ['strange.csv', 'left,right\na,x\nb,y\n', {}, '--columns text=sentence,label=class or --columns text=0,label=1.'],
    ['strange.jsonl', '{"left":"a","right":"x"}\n', {}, '--columns text=sentence,label=intent.'],
    ['motion.csv', 'one,two\n1,2\n', { format: 'motion' }, '--channels ax,ay,az,gx,gy,gz.'],
    ['half.csv', 'ax,ay,label\n1,2,x\n', { format: 'motion' }, '--channels ax,ay,az,gx,gy,gz.'],
    ['unnamed.csv', 'ax,ay,az\n1,2,3\n', { format: 'motion' }, '--columns label=activity.'],
    [
      'units.csv',
      'time,ax,ay,az,label\n0,1,1,1,x\n7e9,1,1,1,x\n14e9,1,1,1,x\n',
      { format: 'motion' },
      '--time-unit s or',
    ],
    [
      'coco.json',
      '{"images":[{"id":1,"file_name":"a.png","width":2,"height":2}],"annotations":[],"categories":[]}',
      {},
      '--media-folder pictures.',
    ],
  ] as const)('of %s name flags here, and options in code', async (name, content, options, hint) => {
    const folder = mkdtempSync(join(tmpdir(), 'm4-hints-'))
    try {
      writeFileSync(join(folder, name), content)
      const error = await openDataSet(join(folder, name), options).then(
        () => undefined,
        (reason: M4Error) => reason,
      )
      expect(error?.hint).not.toContain('--')
      const { text, json } = describeError(error)
      expect(text).toContain(hint)
      // The sentence is said once, with the flags and without the options of code.
      expect(text).not.toContain(error!.hint)
      expect(json.error).toMatchObject({ hint: expect.stringContaining(hint) })
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('the line of a running training', () => {
  test('step, loss, speed, time left; the first step knows no speed, the last no time', () => {
    expect(formatStep(report(30))).toBe('step 30 of 300  loss 0.421  850 tokens/s  4 min 10 s left')
    expect(formatStep(report(30, { evalLoss: 0.5 }))).toContain('  held out 0.500  ')
    expect(formatStep(report(1, { unitsPerSecond: 0 }))).not.toContain('tokens/s')
    expect(formatStep(report(300))).not.toContain('left')
  })

  test('a log gets a line now and then, and every look; a terminal one line that is rewritten', () => {
    const told = [report(1), report(2), report(3, { evalLoss: 1 }), report(4), report(300)]
    const log = memory(false)
    let now = 0
    const lines = createStepLine({ stream: log.stream, now: () => ++now * 100, intervalMs: 2000 })
    for (const each of told) lines.listener(each)
    expect(
      log
        .text()
        .split('\n')
        .map((line) => line.slice(0, 8)),
    ).toEqual(['step 1 o', 'step 3 o', 'step 300', ''])
    const terminal = memory(true)
    now = 0
    const line = createStepLine({ stream: terminal.stream, now: () => ++now * 200 })
    line.listener(report(1))
    line.listener(report(2))
    line.end()
    line.end()
    expect(terminal.text().split('\r')).toHaveLength(3)
    expect(terminal.text().match(/\n/g)).toHaveLength(1)
    const silent = memory(true)
    createStepLine({ stream: silent.stream, silent: true }).listener(report(1))
    expect(silent.text()).toBe('')
  })
})
