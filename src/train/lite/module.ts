/**
 * The small modules of `lite` that this project trains itself: one file of this folder each. What comes out is two files of
 * `weights/lite`, kept in the tree: the tensors, and the record of how they were made.
 */

import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { writeSafetensors } from '../../checkpoint/index.js'
import { toHalf } from '../../core/dtypes.js'
import { atomicWriteFile } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import type { LongOperation } from '../../core/progress.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'

export interface LiteRequest extends LongOperation {
  readonly engine: Engine
  /** Folder of data sets, each in its own layout. */
  readonly data: string
  /** Where sources are cached and images lie. Default: `m4fmHome()`. */
  readonly home?: string
  /** Default 7. */
  readonly seed?: number
  /** A few steps on a little data: proves the way, not the result. */
  readonly smoke?: boolean
  /** Folder where a run that is stopped leaves what it has, to go on from. Default: nothing is kept. */
  readonly work?: string
  /** A line for people: a loss, a metric. */
  readonly onLine?: (line: string) => void
}

/** What a reader must know to trust the file, or to make it again. */
export interface LiteRecord {
  readonly about: string
  readonly command: string
  readonly seed: number
  /** What it was trained on. `digest`: sha-256 over the sorted names and digests of the files read. */
  readonly data: readonly {
    readonly name: string
    readonly digest: string
    readonly samples: number
    readonly licence: string
  }[]
  /** On data that training never saw; each with its number of samples. */
  readonly metrics: Readonly<Record<string, { readonly value: number; readonly count: number; readonly note?: string }>>
  /** SPDX expression of the weights. */
  readonly licence: string
  readonly parameters: number
  readonly seconds: number
  readonly date: string
}

export interface LiteModule {
  readonly tensors: Readonly<Record<string, HostTensor>>
  readonly record: LiteRecord
  /** More files beside it: `NAME.<key>.json`. */
  readonly tables?: Readonly<Record<string, unknown>>
}

/** A row of the table in `index.ts`. */
export interface LiteTraining {
  /** One line for people. */
  readonly about: string
  /** @throws M4Error `FILE_NOT_FOUND` where a data set is missing, `ABORTED`, and as its parts */
  train(request: LiteRequest): Promise<LiteModule>
}

/** Writes `NAME.safetensors` and `NAME.json`, and says what a recipe pins. */
export async function writeLiteModule(
  folder: string,
  name: string,
  { tensors, record, tables = {} }: LiteModule,
): Promise<{ readonly sha256: string; readonly bytes: number }> {
  const bytes = writeSafetensors(tensors)
  const sha256 = sha256Hex(bytes)
  await atomicWriteFile(join(folder, `${name}.safetensors`), bytes)
  const pinned = { ...record, sha256, bytes: bytes.byteLength }
  await atomicWriteFile(join(folder, `${name}.json`), `${JSON.stringify(pinned, null, 2)}\n`)
  for (const [key, table] of Object.entries(tables))
    await atomicWriteFile(join(folder, `${name}.${key}.json`), `${JSON.stringify(table)}\n`)
  return { sha256, bytes: bytes.byteLength }
}

/** sha-256 over the sorted names and digests of files. */
export const digestOf = (files: ReadonlyMap<string, Uint8Array>): string =>
  digestOfPins([...files].map(([name, bytes]) => ({ name, sha256: sha256Hex(bytes) })))

/** The same of files whose digests are known. */
export function digestOfPins(files: readonly { readonly name?: string; readonly sha256: string }[]): string {
  const lines = files.map(({ name, sha256 }) => `${name}\0${sha256}\n`)
  return createHash('sha256').update(lines.sort().join('')).digest('hex')
}

/** Rounded to float16, as the files of the tree are stored. */
export const halves = (tensors: Readonly<Record<string, HostTensor<'float32'>>>): Record<string, HostTensor> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { dims, data }]) => [
      name,
      hostTensor('float16', dims, toHalf(data) as HostTensor<'float16'>['data']),
    ]),
  )

export const parameterCount = (tensors: Readonly<Record<string, HostTensor>>): number =>
  Object.values(tensors).reduce((sum, { data }) => sum + data.length, 0)
