/** The parts of the command line that need no process: input files, options, tables, errors. */

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERROR_CODES, M4Error } from '../core/errors.js'
import { PATHS } from '../runtime/paths.js'
import type { Task } from '../runtime/requests.js'
import { COMMANDS, EXIT_CODES, isGroup } from './commands.js'
import { commaOption, numberOption } from './context.js'
import { readExamples, readText } from './inputs.js'
import { dim, formatMs, table, toJson } from './print.js'
import { describeError, EXIT_BUG } from './report-error.js'
import { checkOptions, decoding, taskOf } from './run-requests.js'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'm4-cli-parts-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const file = async (name: string, data: string | Uint8Array) => {
  const path = join(folder, name)
  await writeFile(path, data)
  return path
}

describe('input files', () => {
  test('examples as TSV and as JSONL, with either pair of names', async () => {
    const wanted = [
      { input: 'a b', output: 'c' },
      { input: 'd', output: 'e' },
    ]
    expect(await readExamples(await file('e.tsv', 'a b\tc\r\n\nd\te\n'))).toEqual(wanted)
    const jsonl = '{"input":"a b","output":"c"}\n{"text":"d","label":"e"}\n'
    expect(await readExamples(await file('e.jsonl', jsonl))).toEqual(wanted)
  })

  test('a bad example is refused with its number', async () => {
    for (const [name, text] of [
      ['one.tsv', 'a\tb\nonly one\n'],
      ['three.tsv', 'a\tb\na\tb\tc\n'],
      ['half.jsonl', '{"input":"a","output":"b"}\n{"input":"a"}\n'],
      ['null.jsonl', '{"input":"a","output":"b"}\nnull\n'],
      ['broken.jsonl', '{"input":"a","output":"b"}\n{"input"\n'],
    ] as const)
      await expect(readExamples(await file(name, text)), name).rejects.toMatchObject({
        code: 'FORMAT_INVALID',
        details: { example: 2 },
      })
  })

  test('bytes that are no UTF-8 are refused, a missing file is named', async () => {
    await expect(readText(await file('latin1.txt', new Uint8Array([0x66, 0xfc, 0x72])))).rejects.toMatchObject({
      code: 'FORMAT_INVALID',
    })
    await expect(readText(join(folder, 'none'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
  })
})

describe('options', () => {
  test('numbers and lists are read or refused', () => {
    expect(numberOption({ topP: '0.5' }, 'topP')).toBe(0.5)
    expect(numberOption({}, 'topP')).toBeUndefined()
    for (const bad of ['', ' ', 'x', '1e999']) expect(() => numberOption({ topP: bad }, 'topP')).toThrow('--top-p')
    expect(commaOption({ labels: 'a, b,c' }, 'labels')).toEqual(['a', 'b', 'c'])
    for (const bad of ['', 'a,,b', 'a,b,a']) expect(() => commaOption({ labels: bad }, 'labels')).toThrow('--labels')
  })

  test('decoding options are left out unless given', () => {
    expect(decoding({})).toEqual({})
    expect(decoding({ maxTokens: '4', temperature: '0', seed: '7', stop: ['x', 'y'] })).toEqual({
      maxTokens: 4,
      sampling: { temperature: 0, seed: 7 },
      stop: ['x', 'y'],
    })
  })

  test('a task is named, known, and given only what it takes', () => {
    expect(taskOf({ task: 'embed' })).toBe('embed')
    expect(() => taskOf({})).toThrow('--task')
    expect(() => taskOf({ task: 'clasify' })).toThrow('classify')
    expect(() => checkOptions('embed', { task: 'embed', file: 'x', mean: true })).not.toThrow()
    expect(() => checkOptions('embed', { task: 'embed', maxTokens: '3' })).toThrow('--max-tokens')
  })

  test('every option of run means something to some task', () => {
    const tasks = Object.keys(PATHS) as Task[]
    const { run } = COMMANDS
    if (!run || isGroup(run)) throw new Error('run is a command')
    for (const { flags } of run.options) {
      const name = /^--([a-z-]+)/.exec(flags)![1]!.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
      const accepted = tasks.filter((task) => {
        try {
          checkOptions(task, { [name]: 'x' })
          return true
        } catch {
          return false
        }
      })
      expect(accepted, flags).not.toEqual([])
    }
  })
})

describe('text for people', () => {
  test('tables, times, dimmed lines, typed arrays', () => {
    const rows = [
      ['a', '1'],
      ['bbb', '22'],
    ]
    expect(table(rows, ['left', 'right'])).toBe('a     1\nbbb  22')
    expect([0.84, 812.4, 3_140, 59_960, 125_000].map(formatMs)).toEqual([
      '0.8 ms',
      '812 ms',
      '3.1 s',
      '1 min 00 s',
      '2 min 05 s',
    ])
    expect(dim('x\ny', { isTTY: true }, {})).toBe('\u001b[2mx\u001b[22m\n\u001b[2my\u001b[22m')
    expect(dim('x', { isTTY: true }, { NO_COLOR: '1' })).toBe('x')
    expect(dim('x', {}, {})).toBe('x')
    expect(toJson({ v: new Float32Array([0.5, 2]), b: new Uint8Array([1]) })).toBe('{"v":[0.5,2],"b":[1]}')
  })
})

describe('errors', () => {
  test('message and next step apart, exit code from the table', () => {
    const error = new M4Error('DIGEST_MISMATCH', 'It differs.', { hint: 'Pull again.', details: { got: 1 } })
    expect(describeError(error)).toEqual({
      exitCode: 3,
      text: 'm4fm: It differs.\n  → Pull again.\n',
      json: { error: { code: 'DIGEST_MISMATCH', message: 'It differs.', hint: 'Pull again.', details: { got: 1 } } },
    })
  })

  test('anything else is a fault of ours: 70, with its stack', () => {
    const { exitCode, text } = describeError(new TypeError('x is undefined'))
    expect(exitCode).toBe(EXIT_BUG)
    expect(text).toContain('parts.test.ts')
    expect(text).toContain('doctor')
    expect(describeError('thrown text').text).toContain('thrown text')
  })

  test('every exit code that an error can give is documented', () => {
    const undocumented = Object.values(ERROR_CODES).filter((code) => !Object.hasOwn(EXIT_CODES, code))
    // 5: using a disposed handle, which is a fault of the caller's program and no outcome of a command.
    expect(new Set(undocumented)).toEqual(new Set([5]))
  })
})
