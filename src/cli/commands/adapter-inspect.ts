/** `m4fm adapter inspect`: what an adapter holds, what its author says, and whether it fits an image. */

import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { AdapterFinding, AdapterFit, AdapterPackage, VerdictRecord } from '../../adapters/index.js'
import { ERROR_CODES } from '../../core/errors.js'
import { adapterFolder, packageIn } from '../adapter.js'
import { type AdapterImage, cautionOn, optionalImage, standingOn } from '../adapter-fit.js'
import { formatSignature, manifestRows, tensorRows } from '../adapter-print.js'
import { headFacts, peftFacts } from '../adapter-tensors.js'
import type { CliContext, CommandAction } from '../context.js'
import { indent, table } from '../print.js'
import { formatBytes } from '../progress.js'

export const run: CommandAction = async (context, [name], options) => {
  const folder = await adapterFolder(name!, context)
  const found = await packageIn(folder)
  const tensors = found?.manifest.kind === 'head' ? await headFacts(folder) : await peftFacts(folder)
  const { verifyPackage } = await import('../../adapters/index.js')
  const signature = found && (await verifyPackage(folder))
  const bytes = found?.bytes ?? (await folderBytes(folder))
  const image = await optionalImage(context, options)
  const fitting = image && (await fittingOf(context, folder, found, image))
  const identity = found
    ? [
        ['digest', found.digest],
        ['signature', formatSignature(signature!)],
      ]
    : []
  const about = found
    ? manifestRows(found.manifest)
    : [['adapter', `a PEFT folder without m4fm.json: it names no base`]]
  const rows = [
    ...about,
    ...(found ? [] : [['kind', tensors.kind]]),
    ...tensorRows(tensors),
    ['size', formatBytes(bytes)],
    ['folder', folder],
    ...identity,
  ]
  context.result(
    {
      folder,
      package: found !== undefined,
      kind: tensors.kind,
      bytes,
      tensors,
      ...(found ? { digest: found.digest, manifest: found.manifest, signature } : {}),
      ...(fitting ? { image: fitting } : {}),
    },
    [table(rows), ...(fitting ? fittingLines(fitting) : [])].join('\n'),
  )
  if (image && found && fitting?.fit) {
    const caution = await cautionOn(found, image, { ...fitting, fit: fitting.fit }, { said: name!, force: true })
    if (caution) context.note(caution)
  }
  if (!image) context.note('No image to compare with: name one with --image to see whether the adapter fits.')
  if (fitting?.fit === 'other-abi' || fitting?.verdict?.verdict === 'refuse') return ERROR_CODES.NOT_AVAILABLE
  return fitting?.findings.some(({ severity }) => severity === 'error') ? ERROR_CODES.FORMAT_INVALID : 0
}

interface Fitting {
  readonly path: string
  readonly name: string
  readonly digest: string
  readonly abi: string
  /** Of a package; a plain PEFT folder names no base. */
  readonly fit?: AdapterFit
  /** Where it was measured on this image. */
  readonly verdict?: VerdictRecord
  /** Tensors that found their place, of all; not for adapters of other modules than the backbone. */
  readonly matched?: number
  readonly total?: number
  readonly findings: readonly AdapterFinding[]
}

async function fittingOf(
  context: CliContext,
  folder: string,
  found: AdapterPackage | undefined,
  image: AdapterImage,
): Promise<Fitting> {
  const { path, manifest, digest } = image
  const facts = { path, name: manifest.name, digest, abi: manifest.abi.id }
  const standing = found && (await standingOn(found, image, context))
  if (found && (found.manifest.kind === 'head' || found.manifest.base.module !== 'backbone'))
    return { ...facts, ...standing, findings: [] }
  const { recogniseAdapter } = await import('../../adapters/index.js')
  const { matched, total, findings } = recogniseAdapter(folder, manifest)
  return { ...facts, ...standing, matched, total, findings }
}

const FITS: Readonly<Record<AdapterFit, string>> = Object.freeze({
  same: 'same: made on this very image',
  revalidate: 'revalidate: same ABI, another image; it loads, and is to be measured here',
  'other-abi': 'other-abi: it does not load on this image',
})

function fittingLines({ name, digest, abi, fit, verdict, matched, total, findings }: Fitting): string[] {
  const rows = [
    ['image', `${name} ${abi} (${digest.slice(0, 12)})`],
    ...(fit ? [['fit', FITS[fit]]] : []),
    ...(verdict ? [['verdict', `${verdict.verdict}, on ${verdict.created.slice(0, 10)}: ${verdict.reason}`]] : []),
    ...(total === undefined ? [] : [['tensors', `${matched} of ${total} fit`]]),
  ]
  return ['', table(rows), ...findings.map(({ severity, code, message }) => indent(`${severity}: ${code}: ${message}`))]
}

/** Of its plain files; a PEFT folder may hold more than PEFT's. */
async function folderBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { withFileTypes: true })
  const sizes = await Promise.all(
    entries.filter((entry) => entry.isFile()).map((entry) => stat(join(folder, entry.name)).then(({ size }) => size)),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
