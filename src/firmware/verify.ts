/** Proof that an image holds the bytes that its manifest names: every blob is hashed, and every prepacked file of a slot. */

import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { isM4Error, M4Error, throwIfAborted, wrapSystemError } from '../core/errors.js'
import { sha256File } from '../core/hash.js'
import type { LongOperation } from '../core/progress.js'
import { readManifest } from './image.js'
import { type Manifest, manifestDigest } from './manifest.js'
import { readPrepackedIndex } from './prepacked.js'

export interface ImageProblem {
  readonly kind: 'missing' | 'size' | 'digest' | 'extra' | 'manifest'
  /** Blob name, or path below the image for files that are not blobs. */
  readonly blob: string
  /** Bytes for `size`, 64 hex digits for `digest`, text otherwise. */
  readonly expected: string | number
  readonly got: string | number
}

export type Verification =
  | {
      readonly ok: true
      readonly path: string
      readonly manifest: Manifest
      readonly digest: string
      readonly files: number
      readonly bytes: number
    }
  | { readonly ok: false; readonly path: string; readonly problems: readonly ImageProblem[] }

/** A file that must be there: its place below the image, and what it must hold. */
interface Claim {
  readonly blob: string
  readonly file: string
  readonly bytes: number
  readonly sha256: string
}

/**
 * Hashes every blob of the image in folder `path` (and, in a flashed slot, the prepacked files) and collects all that differs.
 * What is wrong with the image is a result, not an error.
 * @throws M4Error `FILE_NOT_FOUND` when `path` has no manifest.json, `ABORTED`, `IO`
 */
export async function verifyImage(path: string, options: LongOperation = {}): Promise<Verification> {
  const root = resolve(path)
  const problems: ImageProblem[] = []
  let manifest: Manifest
  try {
    manifest = await readManifest(root)
  } catch (error) {
    if (!isM4Error(error, 'IMAGE_INVALID')) throw error
    return { ok: false, path: root, problems: [manifestProblem('manifest.json', error)] }
  }
  const digest = manifestDigest(manifest)
  const claims = Object.entries(manifest.blobs).map(
    ([blob, { bytes }]): Claim => ({ blob, file: join('blobs', blob), bytes, sha256: blob.slice('sha256-'.length) }),
  )
  const declared = new Set(Object.keys(manifest.blobs))
  for (const name of await namesIn(join(root, 'blobs')))
    if (!declared.has(name))
      problems.push({ kind: 'extra', blob: name, expected: 'no such file', got: 'a file in no manifest' })
  for (const cpuKey of await namesIn(join(root, 'prepacked')))
    await claimPrepacked(root, cpuKey, digest, claims, problems)

  const total = claims.reduce((sum, { bytes }) => sum + bytes, 0)
  let done = 0
  const report = (count: number) => {
    done += count
    options.onProgress?.({ task: `verify ${manifest.name}`, done, total, unit: 'bytes' })
  }
  for (const claim of claims) {
    const problem = await check(root, claim, report, options.signal)
    if (problem) problems.push(problem)
  }
  return problems.length
    ? { ok: false, path: root, problems }
    : { ok: true, path: root, manifest, digest, files: claims.length, bytes: total }
}

/**
 * `verifyImage`, or else.
 * @throws M4Error `DIGEST_MISMATCH` with all problems in `details.problems`; `IMAGE_INVALID` for a broken manifest
 */
export async function assertVerified(
  path: string,
  options: LongOperation = {},
): Promise<Extract<Verification, { ok: true }>> {
  const verification = await verifyImage(path, options)
  if (verification.ok) return verification
  const { problems } = verification
  const first = problems[0]!
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
  throw new M4Error(
    first.kind === 'manifest' ? 'IMAGE_INVALID' : 'DIGEST_MISMATCH',
    `Image ${verification.path}: ${formatProblem(first)}${more}.`,
    {
      hint: 'Build or pull the image again; do not use this copy.',
      details: { path: verification.path, problems },
    },
  )
}

/** One problem as a line for people. */
export function formatProblem({ kind, blob, expected, got }: ImageProblem): string {
  return `${blob}: ${kind}, expected ${expected}, got ${got}`
}

async function claimPrepacked(
  root: string,
  cpuKey: string,
  digest: string,
  claims: Claim[],
  problems: ImageProblem[],
): Promise<void> {
  const folder = join('prepacked', cpuKey)
  const listed = new Set(['index.json'])
  try {
    const index = await readPrepackedIndex(root, cpuKey, digest)
    for (const { model, data } of Object.values(index?.graphs ?? {}))
      for (const { file, bytes, sha256 } of [model, data]) {
        listed.add(file)
        claims.push({ blob: join(folder, file), file: join(folder, file), bytes, sha256 })
      }
  } catch (error) {
    if (!isM4Error(error, 'IMAGE_INVALID') && !isM4Error(error, 'INVALID_REQUEST')) throw error
    problems.push(manifestProblem(join(folder, 'index.json'), error))
    return
  }
  for (const name of await namesIn(join(root, folder)))
    if (!listed.has(name))
      problems.push({ kind: 'extra', blob: join(folder, name), expected: 'no such file', got: 'a file in no index' })
}

async function check(
  root: string,
  { blob, file, bytes, sha256 }: Claim,
  onBytes: (count: number) => void,
  signal: AbortSignal | undefined,
): Promise<ImageProblem | undefined> {
  throwIfAborted(signal)
  const path = join(root, file)
  let size: number | undefined
  try {
    const found = await stat(path)
    if (found.isFile()) size = found.size
  } catch (error) {
    const wrapped = wrapSystemError(error, `Verifying ${path}`)
    if (!isM4Error(wrapped, 'FILE_NOT_FOUND')) throw wrapped
  }
  if (size === undefined) return { kind: 'missing', blob, expected: 'a file', got: 'none' }
  if (size !== bytes) return { kind: 'size', blob, expected: bytes, got: size }
  const got = await sha256File(path, { onBytes, ...(signal ? { signal } : {}) })
  return got === sha256 ? undefined : { kind: 'digest', blob, expected: sha256, got }
}

const manifestProblem = (blob: string, error: M4Error): ImageProblem => ({
  kind: 'manifest',
  blob,
  expected: 'a sound manifest',
  got: error.message,
})

/** Names in a folder, sorted; none when it does not exist. */
async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    const wrapped = wrapSystemError(error, `Listing ${folder}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND')) return []
    throw wrapped
  }
}
