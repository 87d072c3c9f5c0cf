/** Rows with named fields → samples: the part that tables and JSON lines share. */

import { dirname, relative, resolve } from 'node:path'
import { M4Error, unknownName } from '../../core/errors.js'
import type { FindingList } from './findings.js'
import { withFiles } from './media-files.js'
import type { Reading } from './reader.js'
import type { Extra, Field, ImageMatteSample, OpenOptions, Sample } from './samples.js'

/** What a row must hold for each kind, first match wins: what is asked, then what is to be learned. */
export const ROW_SHAPES = [
  { kind: 'text-label', fields: ['text', 'label'] },
  { kind: 'prompt-answer', fields: ['prompt', 'answer'] },
  { kind: 'image-label', fields: ['image', 'label'] },
  { kind: 'image-caption', fields: ['image', 'caption'] },
  { kind: 'image-matte', fields: ['image', 'matte'] },
  { kind: 'sound-label', fields: ['sound', 'label'] },
  { kind: 'image-answer', fields: ['image', 'answer'] },
  { kind: 'sound-answer', fields: ['sound', 'answer'] },
] as const satisfies readonly { readonly kind: Sample['kind']; readonly fields: readonly [Field, Field] }[]

export type RowShape = (typeof ROW_SHAPES)[number]

/** `text,label or prompt,answer or …`, for messages. */
export const EXPECTED_FIELDS = ROW_SHAPES.map(({ fields }) => fields.join(',')).join(' or ')

export interface FoundFields {
  readonly shape: RowShape
  /** The names, or the numbers, under which the two fields stand. */
  readonly at: readonly [number, number]
}

/**
 * Where the fields of the first shape that fits stand among `names`. Names are compared without case and outer spaces; fields that
 * `columns` names elsewhere are taken from there, and shapes with these fields come first.
 * @throws M4Error `UNKNOWN_NAME` where `columns` names a column that is not there; `FORMAT_INVALID` where a name stands twice
 */
export function findFields(names: readonly string[], columns: OpenOptions['columns'] = {}): FoundFields | undefined {
  const plain = names.map(plainName)
  const indexOf = (field: Field): number => {
    const given = columns[field]
    if (typeof given === 'number') {
      if (Number.isInteger(given) && given >= 0 && given < names.length) return given
      throw new M4Error('UNKNOWN_NAME', `Column ${given} for ${field}: the file has ${names.length} columns.`, {
        hint: 'Columns are numbered from 0.',
        details: { field, column: given },
      })
    }
    const name = plainName(given ?? field)
    const index = plain.indexOf(name)
    if (index < 0 && given !== undefined) throw unknownName('column', given, names)
    if (index >= 0 && plain.indexOf(name, index + 1) >= 0)
      throw new M4Error('FORMAT_INVALID', `The column "${name}" stands twice in the header, expected once.`, {
        hint: 'Rename one of them.',
        details: { names },
      })
    return index
  }
  const named = Object.keys(columns) as Field[]
  const shapes = ROW_SHAPES.filter(({ fields }) => named.every((field) => (fields as readonly Field[]).includes(field)))
  for (const shape of shapes.length ? shapes : ROW_SHAPES) {
    const [first, second] = shape.fields.map(indexOf) as [number, number]
    if (first >= 0 && second >= 0) return { shape, at: [first, second] }
  }
  return undefined
}

const plainName = (name: string) => name.trim().toLowerCase()

export interface RowCollector {
  /** Values as the file has them: a cell, or a value of JSON. */
  readonly add: (row: number, asked: unknown, learned: unknown, extra?: Extra) => void
  readonly finish: () => Promise<Pick<Reading, 'kind' | 'samples' | 'files'>>
}

/** Collects rows of one shape; media that they name lie in `options.mediaFolder` or beside the file. */
export function collectRows(
  { kind, fields: [askedField, learnedField] }: RowShape,
  path: string,
  options: OpenOptions,
  findings: FindingList,
): RowCollector {
  const folder = resolve(options.mediaFolder ?? dirname(path))
  const samples: Sample[] = []
  const captions = new Map<string, string[]>()
  // Millions of rows share a few labels.
  const labels = new Map<string, string>()
  const once = (label: string) => {
    const known = labels.get(label)
    if (known !== undefined) return known
    labels.set(label, label)
    return label
  }

  const add: RowCollector['add'] = (row, asked, learned, extra) => {
    const refuse = (field: Field, value: unknown) =>
      findings.add('invalid-field', `Row ${row}: ${field} must be text, got ${describeValue(value)}.`, { row })
    if (isMissing(asked)) return findings.add('empty-text', `Row ${row}: ${askedField} is empty; left out.`, { row })
    if (typeof asked !== 'string') return refuse(askedField, asked)
    if (isMissing(learned))
      return learnedField === 'label'
        ? findings.add('missing-label', `Row ${row} has no label; left out.`, { row })
        : findings.add('empty-text', `Row ${row}: ${learnedField} is empty; left out.`, { row })
    const isName = learnedField === 'label' && (typeof learned === 'boolean' || Number.isFinite(learned))
    if (typeof learned !== 'string' && !isName) return refuse(learnedField, learned)
    const more = { row, ...(extra ? { extra } : {}) }
    const answer = String(learned)
    if (kind === 'text-label') samples.push({ kind, text: asked, label: once(answer.trim()), ...more })
    else if (kind === 'prompt-answer') samples.push({ kind, prompt: asked, answer, ...more })
    else {
      const file = resolve(folder, asked.trim())
      if (kind === 'image-answer' || kind === 'sound-answer')
        samples.push({ kind, path: file, question: questionOf(extra), answer, ...more })
      else if (kind === 'image-matte')
        samples.push({ kind, path: file, matte: resolve(folder, answer.trim()), ...more })
      else if (kind !== 'image-caption') samples.push({ kind, path: file, label: once(answer.trim()), ...more })
      else if (captions.has(file)) captions.get(file)!.push(answer)
      else {
        const list = [answer]
        captions.set(file, list)
        samples.push({ kind, path: file, captions: list, ...more })
      }
    }
  }

  const finish = async () => {
    if (kind === 'text-label' || kind === 'prompt-answer') return { kind, samples, files: [] }
    const media = samples as (Sample & { readonly path: string })[]
    const shown = (file: string) => relative(folder, file)
    const there = await withFiles(media, shown, findings, options)
    if (kind !== 'image-matte') return { kind, ...there }
    const pairs = there.samples as (ImageMatteSample & { readonly row: number })[]
    const mattes = await withFiles(
      pairs.map(({ matte, row }) => ({ path: matte, row })),
      shown,
      findings,
      options,
    )
    const known = new Set(mattes.samples.map(({ path: matte }) => matte))
    const whole = pairs.filter(({ matte }) => known.has(matte))
    return { kind, samples: whole, files: [...there.files, ...mattes.files] }
  }
  return { add, finish }
}

/** Asked where a row brings no question of its own: as the runtime does. */
const DEFAULT_QUESTION = 'What is this?'

/** In a column beside the two that make the kind. */
function questionOf(extra: Extra | undefined): string {
  const found = Object.entries(extra ?? {}).find(([name]) => ['question', 'prompt'].includes(plainName(name)))?.[1]
  return typeof found === 'string' && found.trim() !== '' ? found : DEFAULT_QUESTION
}

const isMissing = (value: unknown) =>
  value === undefined || value === null || (typeof value === 'string' && value.trim() === '')

/** `a list`, `a number (5)`, …: for messages. */
export function describeValue(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  const shown = JSON.stringify(value)
  return `${typeof value} ${shown.length > 40 ? `${shown.slice(0, 40)}…` : shown}`
}
