/**
 * Weights prepacked for one CPU, kept beside the blobs of a flashed slot:
 *
 *   prepacked/<cpuKey>/index.json
 *   prepacked/<cpuKey>/<role>.<graph>.onnx, .data    optimised model, originals and packed weights (ONNX Runtime writes it)
 *
 * The blobs stay: they are what the manifest's digests vouch for, what another CPU or another ONNX Runtime opens, and, being
 * hard links to the image that was flashed, they cost no space until that image is deleted. The prepacked files are a cache
 * made from them; the index holds their digests, so that `verify` covers every byte that a session maps.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'

export const PREPACKED_FORMAT = 'm4fm-prepacked/1'

export interface PrepackedFile {
  readonly file: string
  readonly bytes: number
  /** 64 hex digits. */
  readonly sha256: string
}

export interface PrepackedIndex {
  readonly format: typeof PREPACKED_FORMAT
  /** CPU features and ONNX Runtime version, see `cpuKey` in engine. */
  readonly cpuKey: string
  /** Digest of the image that it was made from. */
  readonly image: string
  /** `<role>.<graph>` → files. Graphs that gain nothing are not here. */
  readonly graphs: Readonly<Record<string, { readonly model: PrepackedFile; readonly data: PrepackedFile }>>
}

/** Folder of the files for one CPU. @throws M4Error `INVALID_REQUEST` for a key that is not one plain folder name */
export function prepackedFolder(image: string, cpuKey: string): string {
  if (!/^[\w-][\w.-]*$/.test(cpuKey))
    throw new M4Error(
      'INVALID_REQUEST',
      `CPU key ${JSON.stringify(cpuKey)}: expected letters, digits, ".", "-" or "_".`,
      {
        hint: 'Pass what cpuKey(engine) returns.',
      },
    )
  return join(image, 'prepacked', cpuKey)
}

/**
 * The index for `cpuKey`, or undefined when this image was not prepacked for it.
 * @throws M4Error `IMAGE_INVALID` when it is damaged or belongs to another image
 */
export async function readPrepackedIndex(
  image: string,
  cpuKey: string,
  digest: string,
): Promise<PrepackedIndex | undefined> {
  const path = join(prepackedFolder(image, cpuKey), 'index.json')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const wrapped = wrapSystemError(error, `Reading ${path}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return undefined
    throw wrapped
  }
  const fail = (what: string): never => {
    throw new M4Error('IMAGE_INVALID', `${path}: ${what}`, { hint: 'Flash the image again.', details: { path } })
  }
  let index: Partial<PrepackedIndex> | null = null
  try {
    index = JSON.parse(text) as Partial<PrepackedIndex> | null
  } catch (error) {
    fail(`not JSON (${(error as Error).message}).`)
  }
  const expected = { format: PREPACKED_FORMAT, cpuKey, image: digest } as const
  for (const key of ['format', 'cpuKey', 'image'] as const)
    if (index?.[key] !== expected[key]) fail(`expected ${key} "${expected[key]}", got ${JSON.stringify(index?.[key])}.`)
  if (typeof index?.graphs !== 'object' || index.graphs === null) return fail('"graphs" must be an object.')
  for (const [name, files] of Object.entries(index.graphs))
    for (const part of [files?.model, files?.data])
      if (!isPrepackedFile(part)) fail(`graph ${name}: expected file, bytes and sha256, got ${JSON.stringify(part)}.`)
  return index as PrepackedIndex
}

const isPrepackedFile = (part: PrepackedFile | undefined): boolean =>
  /^[\w-][\w.-]*$/.test(part?.file ?? '') &&
  Number.isSafeInteger(part?.bytes) &&
  /^[0-9a-f]{64}$/.test(part?.sha256 ?? '')
