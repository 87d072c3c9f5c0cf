/**
 * Finished runs of `few-shot`, in `few-shot.json` of its folder: written whole after each run, so that one that was stopped or killed
 * goes on behind the last. Only runs of the same data, image and options stand in one file; shares and draws may be added.
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { finite, matching, notNegative, shape, text, whole } from '../adapters/json-shape.js'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'

export const FEW_SHOT_FILE = 'few-shot.json'

export interface FewShotRun {
  readonly fraction: number
  readonly seed: number
  readonly samples: number
  readonly steps: number
  /** undefined where nothing is measured: on random weights. */
  readonly metric?: number
  /** Of the base alone, on the same samples. */
  readonly base?: number
  /** Samples that it was measured on. */
  readonly count?: number
  readonly seconds: number
}

export interface FewShotRecord {
  /** What makes runs comparable: data, image and options, but for share and seed. */
  readonly key: string
  /** Its name, e.g. `accuracy`. */
  readonly metric?: string
  readonly runs: readonly FewShotRun[]
}

const RUN = shape({
  fraction: notNegative,
  seed: whole(0),
  samples: whole(1),
  steps: whole(1),
  'metric?': finite,
  'base?': finite,
  'count?': whole(1),
  seconds: notNegative,
})
const CHECK = shape({
  key: matching(/^[0-9a-f]{64}$/, 'a sha-256'),
  'metric?': text(100),
  runs: (value, field) => {
    if (!Array.isArray(value)) throw new M4Error('FORMAT_INVALID', `"${field}": expected a list.`)
    for (const [i, run] of value.entries()) RUN(run, `${field}.${i}`)
  },
})

/**
 * The runs in `folder`; none where there is no such folder, or `fresh`.
 * @throws M4Error `INVALID_REQUEST` when they are of other data, another image or other options, or the folder holds something else;
 *   `FORMAT_INVALID` for a damaged file, `IO`
 */
export async function readFewShot(folder: string, key: string, fresh: boolean): Promise<FewShotRecord> {
  const path = join(folder, FEW_SHOT_FILE)
  const source = await readText(path)
  if (source === undefined) await requireEmpty(folder)
  if (source === undefined || fresh) return { key, runs: [] }
  const record = parse(path, source)
  if (record.key === key) return record
  throw new M4Error('INVALID_REQUEST', `${path} holds runs of other data, another image or other options.`, {
    hint: 'Begin again with --fresh, name another folder with --out, or give the options of those runs to go on with them.',
    details: { path },
  })
}

/** @throws M4Error `DISK_FULL`, `IO`; what was there before is then still there */
export const writeFewShot = (folder: string, record: FewShotRecord): Promise<void> =>
  atomicWriteFile(join(folder, FEW_SHOT_FILE), `${JSON.stringify(record, null, 2)}\n`)

function parse(path: string, source: string): FewShotRecord {
  try {
    const record: unknown = JSON.parse(source)
    CHECK(record, '')
    return record as FewShotRecord
  } catch (cause) {
    throw new M4Error('FORMAT_INVALID', `${path}: ${(cause as Error).message}`, {
      hint: 'Begin again with --fresh.',
      details: { path },
      cause,
    })
  }
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const wrapped = wrapSystemError(error, `Reading ${path}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return undefined
    throw wrapped
  }
}

/** A package, for one, is damaged by any file more. */
async function requireEmpty(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []) // absent: it will be made
  if (!names.length) return
  throw new M4Error('INVALID_REQUEST', `${folder} holds ${names[0]}, expected an empty folder or runs of few-shot.`, {
    hint: 'Name another folder with --out.',
    details: { path: folder },
  })
}
