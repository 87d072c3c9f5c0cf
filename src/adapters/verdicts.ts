/**
 * What `revalidate` found, remembered on this device: `<home>/adapter-verdicts/<package>/<image>.json`, named by their digests.
 *
 * Not in the package: its bytes are its author's, and signed; a verdict is this device's, and means nothing on another image.
 * As both digests name contents, it holds for every copy of the package, installed or not, and for no changed one.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseJson } from '../checkpoint/json.js'
import { isM4Error, M4Error, wrapSystemError } from '../core/errors.js'
import { atomicWriteFile, m4fmHome } from '../core/files.js'
import { date, oneOf, sha256, shape, text } from './json-shape.js'
import { METRIC, type MetricRecord } from './package-manifest.js'
import type { StoreOptions } from './store.js'

export const VERDICTS = ['keep', 'retrain', 'refuse'] as const
/** keep: as good as it was. retrain: it loads, but it is worse. refuse: it changes nothing, or the base alone is better. */
export type Verdict = (typeof VERDICTS)[number]

export interface VerdictRecord {
  readonly format: 1
  readonly verdict: Verdict
  /** In a sentence, with the numbers. */
  readonly reason: string
  /** Digest of the package. */
  readonly adapter: { readonly name: string; readonly digest: string }
  readonly image: { readonly name: string; readonly digest: string }
  readonly measured: MetricRecord
  /** The base alone, on the same samples. */
  readonly base?: MetricRecord
  /** As the package says. */
  readonly recorded?: MetricRecord
  /** ISO 8601. */
  readonly created: string
}

const NAMED = shape({ name: text(200), digest: sha256 })
const CHECK = shape({
  format: oneOf(1),
  verdict: oneOf(...VERDICTS),
  reason: text(),
  adapter: NAMED,
  image: NAMED,
  measured: METRIC,
  'base?': METRIC,
  'recorded?': METRIC,
  created: date,
})

const verdictFile = (adapter: string, image: string, { home = m4fmHome() }: StoreOptions) =>
  join(home, 'adapter-verdicts', adapter, `${image}.json`)

/** The last verdict counts. @throws M4Error `DISK_FULL`, `IO` */
export async function rememberVerdict(record: VerdictRecord, options: StoreOptions = {}): Promise<void> {
  const path = verdictFile(record.adapter.digest, record.image.digest, options)
  await atomicWriteFile(path, `${JSON.stringify(record, null, 2)}\n`)
}

/**
 * What was found of a package on an image, by their digests; undefined where it was never measured here. A damaged record counts
 * as none, so that the package is measured again.
 * @throws M4Error `IO`
 */
export async function recallVerdict(
  adapter: string,
  image: string,
  options: StoreOptions = {},
): Promise<VerdictRecord | undefined> {
  const path = verdictFile(adapter, image, options)
  try {
    const record: unknown = parseJson(path, await readFile(path, 'utf8'))
    CHECK(record, '')
    const found = record as VerdictRecord
    return found.adapter.digest === adapter && found.image.digest === image ? found : undefined
  } catch (error) {
    const wrapped = wrapSystemError(error, `Reading ${path}`)
    if (isM4Error(wrapped, 'FILE_NOT_FOUND') || isM4Error(wrapped, 'FORMAT_INVALID')) return undefined
    throw wrapped
  }
}

/** @throws M4Error `NOT_AVAILABLE` for a package that was refused on an image, `details.reason` is `adapter-refused` */
export function requireNotRefused({ verdict, reason, adapter, image, created }: VerdictRecord): void {
  if (verdict !== 'refuse') return
  throw new M4Error(
    'NOT_AVAILABLE',
    `Adapter ${adapter.name} was refused on the image ${image.name} when it was measured (${created.slice(0, 10)}): ${reason}`,
    {
      hint: 'Train it again (`m4fm adapter revalidate --retrain`), or use the image that it was made on; --force uses it all the same.',
      details: { reason: 'adapter-refused', adapter: adapter.name, digest: adapter.digest, image: image.digest },
    },
  )
}
