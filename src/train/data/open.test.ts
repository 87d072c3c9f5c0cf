import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../core/hash.js'
import { assertUsable } from './findings.js'
import { openDataSet, sortLabels } from './open.js'
import { codesOf, findingOf, type Scratch, scratchFolder } from './testing/scratch.js'
import { invalidUtf8Offset } from './text-file.js'

let scratch: Scratch
beforeEach(() => {
  scratch = scratchFolder()
})
afterEach(() => rmSync(scratch.path, { recursive: true }))

const open = (files: Record<string, string | Uint8Array>, options = {}) => openDataSet(scratch.write(files), options)
const TWO = 'good,pos\nbad,neg\n'

describe('CSV and TSV', () => {
  test('texts with labels, quotes and newlines, a byte order mark, labels by name and number', async () => {
    const csv = '\uFEFFText,Label\r\n"a, ""b""\nc",10\r\nplain,9\r\n'
    const set = await open({ 'a.csv': csv })
    expect(set.kind).toBe('text-label')
    expect(set.samples).toEqual([
      { kind: 'text-label', text: 'a, "b"\nc', label: '10', row: 2 },
      { kind: 'text-label', text: 'plain', label: '9', row: 3 },
    ])
    expect(set.labels).toEqual(['9', '10'])
    expect(set.digest).toBe(sha256Hex(csv))
    expect(set.files).toMatchObject([{ path: join(scratch.path, 'a.csv'), bytes: Buffer.byteLength(csv) }])
    expect(set.findings).toEqual([])
  })

  test('prompts with answers; extra columns are kept and said', async () => {
    const set = await open({ 'a.tsv': 'id\tprompt\tanswer\n7\tWhat?\tThat.\n' })
    expect(set.kind).toBe('prompt-answer')
    expect(set.samples).toEqual([
      { kind: 'prompt-answer', prompt: 'What?', answer: 'That.', row: 2, extra: { id: '7' } },
    ])
    expect(findingOf(set.findings, 'extra-columns')?.message).toContain('id')
  })

  test('the separator is the one that the header fits; .gz is unpacked', async () => {
    expect((await open({ 'a.csv': 'text;label\na, b;x\nc;y\n' })).samples).toMatchObject([
      { text: 'a, b' },
      { text: 'c' },
    ])
    expect((await open({ 'b.csv.gz': gzipSync(`text,label\n${TWO}`) })).labels).toEqual(['neg', 'pos'])
  })

  test('columns by other names, and by number without a header', async () => {
    const named = await open(
      { 'a.csv': 'review,stars\nfine,5\npoor,1\n' },
      { columns: { text: 'Review', label: 'stars' } },
    )
    expect(named.samples).toMatchObject([{ text: 'fine', label: '5', row: 2 }, { label: '1' }])
    const numbered = await open({ 'b.tsv': 'fine\t5\npoor\t1\n' }, { columns: { text: 0, label: 1 } })
    expect(numbered.samples).toMatchObject([{ text: 'fine', label: '5', row: 1 }, { label: '1' }])
    // The names that are given decide between two shapes that fit.
    const asked = await open({ 'c.csv': 'text,label\nq,a\n' }, { columns: { prompt: 'text', answer: 'label' } })
    expect(asked.kind).toBe('prompt-answer')
    await expect(
      open({ 'd.csv': 'review,stars\nx,1\n' }, { columns: { text: 'reviews', label: 'stars' } }),
    ).rejects.toThrow('Did you mean review')
    await expect(open({ 'e.csv': 'a,b\nx,1\n' }, { columns: { text: 0, label: 2 } })).rejects.toMatchObject({
      code: 'UNKNOWN_NAME',
    })
  })

  test('a missing header: what was expected, what came, the next step', async () => {
    const opening = open({ 'a.csv': 'good film,1\nbad film,0\n' })
    await expect(opening).rejects.toMatchObject({
      code: 'FORMAT_INVALID',
      hint: expect.stringContaining('columns'),
      details: { got: ['good film', '1'] },
    })
    await expect(opening).rejects.toThrow(/expected a header with text,label or prompt,answer.*"good film"/)
    await expect(open({ 'b.csv': 'text,text,label\na,b,c\n' })).rejects.toThrow('stands twice')
  })

  test('ragged rows and stray quotes are errors with their row; in TSV a stray quote is a letter', async () => {
    const set = await open({ 'a.csv': `text,label\n${TWO}a,b,c\nonly\n"x" y,pos\n` })
    expect(set.samples).toHaveLength(2)
    expect(set.findings).toMatchObject([
      { code: 'ragged-row', severity: 'error', row: 4, message: expect.stringContaining('3 cells, expected 2') },
      { code: 'ragged-row', severity: 'error', row: 5 },
      { code: 'stray-quote', severity: 'error', row: 6 },
    ])
    expect(() => assertUsable(set)).toThrow(/has 3 faults: Row 4/)
    const tsv = await open({ 'a.tsv': 'text\tlabel\n"x" y\tpos\nz\tneg\n' })
    expect(tsv.samples[0]).toMatchObject({ text: '"x" y' })
    expect(tsv.findings).toMatchObject([{ code: 'stray-quote', severity: 'warning', row: 2 }])
    expect(() => assertUsable(tsv)).not.toThrow()
  })

  test('rows without text or label are left out and said', async () => {
    const set = await open({ 'a.csv': `text,label\n${TWO} ,pos\nx,\n` })
    expect(set.samples).toHaveLength(2)
    expect(set.findings).toMatchObject([
      { code: 'empty-text', severity: 'warning', row: 4 },
      { code: 'missing-label', severity: 'warning', row: 5 },
    ])
  })

  test('copies and contradictions, whatever their spaces and case', async () => {
    const set = await open({ 'a.csv': 'text,label\nGood  film,pos\nbad,neg\ngood film ,pos\nGOOD FILM,neg\n' })
    expect(set.samples).toHaveLength(4)
    expect(set.findings).toMatchObject([
      { code: 'duplicate', severity: 'warning', row: 4, message: 'Row 4 repeats row 2.' },
      { code: 'contradiction', severity: 'warning', row: 5 },
    ])
    // Two answers to one prompt are no contradiction.
    expect((await open({ 'b.csv': 'prompt,answer\nq,a\nq,b\n' })).findings).toEqual([])
  })

  test('a single class is an error to train on, and a warning to measure on', async () => {
    const files = { 'a.csv': 'text,label\na,x\nb,x\n' }
    expect((await open(files)).findings).toMatchObject([{ code: 'one-class', severity: 'error' }])
    expect((await open(files, { use: 'eval' })).findings).toMatchObject([{ code: 'one-class', severity: 'warning' }])
  })

  test('a sample of 100,000 characters is kept and reported', async () => {
    const set = await open({ 'a.csv': `text,label\n${'long '.repeat(20_000)},a\nshort,b\n` })
    expect(set.samples[0]).toMatchObject({ text: 'long '.repeat(20_000) })
    expect(set.findings).toMatchObject([{ code: 'long-sample', severity: 'warning', row: 2 }])
    const limited = await open({ 'b.csv': `text,label\n${TWO}` }, { longCharacters: 3 })
    expect(codesOf(limited.findings)).toEqual(['long-sample'])
  })

  test('a header alone leaves nothing to train on', async () => {
    expect(findingOf((await open({ 'a.csv': 'text,label\n' })).findings, 'no-samples')?.severity).toBe('error')
  })

  test('of many findings of one code twenty are listed and the rest counted', async () => {
    const set = await open({ 'a.csv': `text,label\n${TWO}${'x\n'.repeat(50)}` })
    expect(set.findings).toHaveLength(21)
    expect(set.findings.at(-1)).toMatchObject({ code: 'ragged-row', more: 30, severity: 'error' })
    expect(() => assertUsable(set)).toThrow('has 50 faults')
  })

  test('pictures named by a table: missing files are errors, captions of one picture are one sample', async () => {
    const files = {
      'c.csv': 'image,caption\na.png,one\nb.png,two\na.png,three\ngone.png,x\n',
      'a.png': 'A',
      'b.png': 'B',
    }
    const set = await open(files)
    expect(set.samples).toEqual([
      { kind: 'image-caption', path: join(scratch.path, 'a.png'), captions: ['one', 'three'], row: 2 },
      { kind: 'image-caption', path: join(scratch.path, 'b.png'), captions: ['two'], row: 3 },
    ])
    expect(set.findings).toMatchObject([{ code: 'missing-file', severity: 'error', row: 5, file: 'gone.png' }])
    const elsewhere = await open(
      { 'd.csv': 'sound,label\nx.wav,dog\ny.wav,cat\n', 'audio/x.wav': 'X', 'audio/y.wav': 'Y' },
      { mediaFolder: join(scratch.path, 'audio') },
    )
    expect(elsewhere).toMatchObject({ kind: 'sound-label', labels: ['cat', 'dog'], findings: [] })
  })
})

describe('JSON lines and lists', () => {
  test('labels of any plain type; other fields are extra', async () => {
    const set = await open({ 'a.jsonl': '{"text":"a","label":1,"id":[7]}\n\n{"label":true,"text":"b"}\n' })
    expect(set.samples).toEqual([
      { kind: 'text-label', text: 'a', label: '1', row: 1, extra: { id: [7] } },
      { kind: 'text-label', text: 'b', label: 'true', row: 3 },
    ])
    expect(codesOf(set.findings)).toEqual(['extra-columns'])
  })

  test('faults of lines carry their number', async () => {
    const lines = [
      '{"text":"a","label":"x"}',
      '{"text":',
      '{"text":5,"label":"x"}',
      '[1]',
      '{"text":"b"}',
      '{"text":"c","label":{}}',
    ]
    const set = await open({ 'a.jsonl': lines.join('\n') })
    expect(set.findings.slice(0, 5)).toMatchObject([
      { code: 'invalid-json', severity: 'error', row: 2, message: expect.stringContaining('Line 2') },
      { code: 'invalid-field', severity: 'error', row: 3 },
      { code: 'invalid-field', row: 4, message: 'Row 4: expected an object, got a list.' },
      { code: 'missing-label', row: 5 },
      { code: 'invalid-field', row: 6 },
    ])
    expect(set.samples).toHaveLength(1)
  })

  test('a list of objects, with or without the name .json; JSONL under the name .json', async () => {
    const list = '[{"sentence":"a","label":1},\n {"sentence":"b","label":2}]'
    const columns = { text: 'sentence' }
    expect((await open({ 'a.json': list }, { columns })).samples).toHaveLength(2)
    expect((await open({ 'a.txt': list }, { columns })).samples).toHaveLength(2)
    const lines = '{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n'
    expect((await open({ 'b.json': lines })).samples).toHaveLength(2)
    expect((await open({ 'one.json': '{"prompt":"a","answer":"x"}' })).samples).toHaveLength(1)
    await expect(open({ 'c.json': '[{"text":"a"},' })).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('objects without known fields, or no objects at all', async () => {
    await expect(open({ 'a.jsonl': '{"q":"a"}\n{"q":"b"}' })).rejects.toThrow(
      /expected objects with text,label.*got \["q"\]/,
    )
    await expect(open({ 'b.jsonl': 'nonsense\n{' })).rejects.toThrow('no row is a JSON object')
    await expect(open({ 'c.json': '{\n "data": []\n}' })).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
  })

  test("OpenAI's chats: the last message is the answer", async () => {
    const chat = (...turns: [string, unknown][]) =>
      JSON.stringify({ messages: turns.map(([role, content]) => ({ role, content })) })
    const set = await open({
      'a.jsonl': [
        chat(['system', 'Be brief.'], ['user', 'Hi'], ['assistant', 'Hello']),
        chat(['user', [{ type: 'text', text: 'parts' }]], ['assistant', 'ok']),
        chat(['user', 'Hi']),
        chat(['tool', 'x'], ['assistant', 'y']),
        chat(['user', [{ type: 'image_url' }]], ['assistant', 'y']),
        chat(['user', 'Hi'], ['assistant', ' ']),
        chat(['assistant', 'y']),
        '{"messages":"Hi"}',
      ].join('\n'),
    })
    expect(set.kind).toBe('chat')
    expect(set.samples).toEqual([
      {
        kind: 'chat',
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'Hi' },
        ],
        answer: 'Hello',
        row: 1,
      },
      { kind: 'chat', messages: [{ role: 'user', content: 'parts' }], answer: 'ok', row: 2 },
    ])
    expect(set.findings.map(({ code, row }) => [code, row])).toEqual([
      ['invalid-chat', 3],
      ['invalid-chat', 4],
      ['invalid-chat', 5],
      ['empty-text', 6],
      ['invalid-chat', 7],
      ['invalid-chat', 8],
    ])
  })
})

describe('what cannot be read', () => {
  test('empty and missing files', async () => {
    await expect(open({ 'a.csv': '' })).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    await expect(open({ 'b.jsonl': '\uFEFF \n' })).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    await expect(openDataSet(join(scratch.path, 'none.csv'))).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
  })

  test('bytes that are not UTF-8, at their offset', async () => {
    const bytes = Buffer.concat([Buffer.from('text,label\né'), Buffer.from([0xe9]), Buffer.from(',a\n')])
    await expect(open({ 'a.csv': bytes })).rejects.toMatchObject({ code: 'FORMAT_INVALID', details: { offset: 13 } })
    // Surrogates, overlong forms, beyond U+10FFFF, cut short.
    for (const bad of [
      [0xed, 0xa0, 0x80],
      [0xc0, 0x80],
      [0xe0, 0x80, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xe2, 0x82],
    ])
      expect(invalidUtf8Offset(Uint8Array.from([0x61, 0xc3, 0xa9, ...bad]))).toBe(3)
    expect(invalidUtf8Offset(Buffer.from('aé€😀'))).toBe(-1)
  })

  test('other encodings and formats say what to do', async () => {
    const utf16 = Buffer.from('\uFEFFtext,label\n', 'utf16le')
    await expect(open({ 'a.csv': utf16 })).rejects.toThrow('UTF-16 text, expected UTF-8 text. Save it as UTF-8.')
    await expect(open({ 'a.parquet': 'PAR1....' })).rejects.toThrow('Export it as CSV')
    await expect(open({ 'b.csv': 'text,label\na\0b,c\n' })).rejects.toThrow('NUL')
    await expect(open({ 'c.csv.gz': Buffer.from([0x1f, 0x8b, 8, 0, 1]) })).rejects.toThrow('does not unpack')
    await expect(open({ 'd.csv': `text,label\n${TWO}` }, { format: 'tabel' })).rejects.toThrow('Did you mean table')
    await expect(open({ 'e.csv': `text,label\n${TWO}` }, { format: 'image-folder' })).rejects.toThrow(
      'is a file, expected',
    )
    await expect(openDataSet(scratch.path, { format: 'rows' })).rejects.toThrow('is a folder, expected')
  })

  test('a signal stops the reading', async () => {
    mkdirSync(join(scratch.path, 'f'))
    await expect(openDataSet(join(scratch.path, 'f'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
  })
})

test('labels: numbers by value before names by code unit', () => {
  expect(sortLabels(['b', '10', 'B', '9', '-1', 'a', '1.5'])).toEqual(['-1', '1.5', '9', '10', 'B', 'a', 'b'])
})

test('a file of many rows, with quotes in each, is read whole', { timeout: 30_000 }, async () => {
  const words = 'some words, and a few more; '.repeat(4)
  const rows = Array.from({ length: 100_000 }, (_, i) => `"${words}""${i}""",${i % 5}`)
  const set = await open({ 'big.csv': `text,label\n${rows.join('\n')}` })
  expect(set.samples).toHaveLength(100_000)
  expect(set.samples.at(-1)).toMatchObject({ text: `${words}"99999"`, label: '4', row: 100_001 })
  expect(set.findings.map(({ code }) => code)).toEqual([])
})
