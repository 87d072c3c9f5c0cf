/**
 * `eval.jsonl` of a head: which samples it was measured on. A package may have 10 MB and media are larger than that, so a line names
 * the file below the data's folder with its sha-256, and carries the features as float16.
 *
 * - On another encoder, features say nothing: whoever has the data measures again from the files, and their digests prove that they
 *   are the same. Pictures made smaller would fit, but are not what the encoder was given: the score would be another one.
 * - On the same encoder, the features alone show that the head is whole, with no data at hand (`from: 'features'`).
 */

import { stat } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { type DataOf, toFloat32, toHalf } from '../../core/dtypes.js'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { sha256File } from '../../core/hash.js'
import type { LongOperation } from '../../core/progress.js'
import { bytesOf, viewAs } from '../../core/tensor.js'
import type { HeadAdapter } from '../../runtime/class-head.js'
import type { Firmware } from '../../runtime/index.js'
import type { DataSet, ReadOptions } from '../data/index.js'
import { type Measurable, type MediaMeasured, measureHead, vectorItem } from './evaluate.js'
import { type EmbeddedSet, expectedOf } from './features.js'
import { mediaItems } from './items.js'
import type { MediaKind, MediaSample } from './task.js'

export interface MediaEvalLine {
  readonly kind: MediaKind
  /** Path below the folder of the data set, `/` between parts. */
  readonly input: string
  /** Of that file, hex. */
  readonly sha256: string
  /** Measurements of a recording, as `MotionLabelSample` has them. */
  readonly start?: number
  readonly end?: number
  /** Label, or the first caption. */
  readonly expected: string
  /** Unit vector of the module, float16, little endian, base64. Left out where it would not fit. */
  readonly features?: string
}

/**
 * Lines of the samples, in their order. Features are carried for as many as fit.
 * @param bytes for all lines together
 */
export function mediaEvalLines({ set, features }: EmbeddedSet, data: DataSet, bytes: number): MediaEvalLine[] {
  const digests = new Map([...data.files, ...set.files].map(({ path, sha256 }) => [path, sha256]))
  const root = dataFolder(data)
  const width = features.dims[0]!
  const plain = set.samples.map((sample): MediaEvalLine => {
    const { kind, path } = sample
    return {
      kind,
      input: relative(root, path).replaceAll('\\', '/'),
      sha256: digests.get(path)!,
      ...(sample.kind === 'motion-label' ? { start: sample.start, end: sample.end } : {}),
      expected: expectedOf(sample),
    }
  })
  const sizeOf = (line: MediaEvalLine) => Buffer.byteLength(JSON.stringify(line)) + 1
  let left = bytes - plain.reduce((sum, line) => sum + sizeOf(line), 0)
  return plain.map((line, i) => {
    const vector = features.data.slice(i * width, (i + 1) * width)
    const full = { ...line, features: Buffer.from(bytesOf(toHalf(vector))).toString('base64') }
    const more = sizeOf(full) - sizeOf(line)
    if (more > left) return line
    left -= more
    return full
  })
}

/** What paths of lines are below of. */
export const dataFolder = ({ path, files }: DataSet): string => {
  const isFile = files.some((file) => file.path === path) || /\.(csv|tsv|jsonl?|gz|txt)$/i.test(path)
  return isFile ? dirname(path) : path
}

/** @throws M4Error `FORMAT_INVALID` naming the line */
export function parseMediaEvalLines(text: string): MediaEvalLine[] {
  return text
    .replace(/\n$/, '')
    .split('\n')
    .map((source, i) => {
      const line = JSON.parse(source) as Partial<MediaEvalLine>
      if (typeof line.input === 'string' && typeof line.sha256 === 'string' && typeof line.expected === 'string')
        return line as MediaEvalLine
      throw new M4Error('FORMAT_INVALID', `eval.jsonl, line ${i + 1}: expected input, sha256 and expected.`, {
        hint: 'These are no samples of a head.',
      })
    })
}

/** @throws M4Error `NOT_AVAILABLE` for a line without features */
export function lineFeatures({ input, features }: MediaEvalLine): Float32Array {
  if (features === undefined)
    throw new M4Error('NOT_AVAILABLE', `eval.jsonl carries no features of ${input}.`, { hint: 'Name the data folder.' })
  return toFloat32('float16', viewAs('float16', new Uint8Array(Buffer.from(features, 'base64'))) as DataOf)
}

export interface Remeasured extends MediaMeasured {
  /** features: the head alone was checked, on vectors of the encoder that it was trained on. */
  readonly from: 'data' | 'features'
}

export interface RemeasureOptions extends LongOperation {
  /** Of the data set. Without it, the features are used. */
  readonly folder?: string
  /** How motion is read: `training.recipe.read` of the package. */
  readonly read?: ReadOptions
}

/**
 * Measures a head again on the samples that its package carries.
 * @throws M4Error `FILE_NOT_FOUND` for a sample that is not in `folder`, `DIGEST_MISMATCH` for one that changed, `NOT_AVAILABLE`
 * without folder where features are not carried for all lines
 */
export async function remeasureHead(
  firmware: Firmware,
  adapter: HeadAdapter,
  lines: readonly MediaEvalLine[],
  { folder, read = {}, signal, onProgress }: RemeasureOptions = {},
): Promise<Remeasured> {
  const options = { total: lines.length, ...(signal ? { signal } : {}), ...(onProgress ? { onProgress } : {}) }
  if (folder === undefined) {
    const samples = lines.map((line) => ({ item: vectorItem(adapter, lineFeatures(line)), expected: line.expected }))
    return { ...(await measureHead(firmware, adapter, samples, options)), from: 'features' }
  }
  const root = resolve(folder)
  for (const [path, sha256] of new Map(lines.map((line) => [join(root, line.input), line.sha256]))) {
    throwIfAborted(signal)
    await requireSame(path, sha256, signal)
  }
  const set = linesAsSet(root, lines, read)
  return { ...(await measureHead(firmware, adapter, measurables(set, signal), options)), from: 'data' }
}

/** @throws M4Error `FILE_NOT_FOUND`, `DIGEST_MISMATCH` */
export async function requireSame(path: string, expected: string, signal: AbortSignal | undefined): Promise<void> {
  await stat(path).catch((error: unknown) => {
    throw wrapSystemError(error, `Measuring on ${path}`)
  })
  const got = await sha256File(path, signal ? { signal } : {})
  if (got !== expected)
    throw new M4Error('DIGEST_MISMATCH', `${path} is not the file that the adapter was measured on.`, {
      hint: 'Name the folder of the data that it was trained with.',
      details: { path, expected, got },
    })
}

function linesAsSet(root: string, lines: readonly MediaEvalLine[], options: ReadOptions): DataSet {
  const samples = lines.map(({ kind, input, expected, start = 0, end = 0 }): MediaSample => {
    const path = join(root, input)
    if (kind === 'motion-label') return { kind, path, start, end, label: expected }
    if (kind === 'image-caption') return { kind, path, captions: [expected] }
    return { kind, path, label: expected }
  })
  return { path: root, kind: lines[0]!.kind, samples, labels: [], digest: '', files: [], findings: [], options }
}

/** Samples of a set, read from their files. */
export async function* measurables(set: DataSet, signal?: AbortSignal): AsyncGenerator<Measurable, void> {
  for await (const { sample, item } of mediaItems(set, signal)) yield { item, expected: expectedOf(sample) }
}
