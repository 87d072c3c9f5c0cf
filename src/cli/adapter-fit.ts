/** How a package stands to an image: whether it loads there, and what was found when it was measured there. */

import type { AdapterFit, AdapterManifest, AdapterPackage, VerdictRecord } from '../adapters/index.js'
import { isM4Error } from '../core/errors.js'
import type { Manifest, Role } from '../firmware/manifest.js'
import { type CliContext, type OptionValues, textOption } from './context.js'
import { defaultImage } from './images.js'

/** What an adapter must know of an image. */
export interface AdapterImage {
  readonly path: string
  readonly manifest: Manifest
  readonly digest: string
}

/** What this device knows of a package on an image. */
export interface Standing {
  readonly fit: AdapterFit
  /** The last one; undefined where it was never measured. */
  readonly verdict?: VerdictRecord
}

type FoundPackage = Pick<AdapterPackage, 'manifest' | 'digest'>

/** @throws M4Error as `readManifest` */
export async function adapterImage(path: string): Promise<AdapterImage> {
  const { manifestDigest, readManifest } = await import('../firmware/index.js')
  const manifest = await readManifest(path)
  return { path, manifest, digest: manifestDigest(manifest) }
}

/** The image of `--image`, else the default one. @throws M4Error `FILE_NOT_FOUND` with the commands that make one */
export async function imageOption(context: CliContext, options: OptionValues): Promise<AdapterImage> {
  const { resolveImage } = await import('../firmware/index.js')
  const named = textOption(options, 'image')
  return adapterImage(named === undefined ? await defaultImage(context) : await resolveImage(named, context))
}

/** As `imageOption`, but undefined where none is named and there is none; one that cannot be read is a warning then. */
export async function optionalImage(context: CliContext, options: OptionValues): Promise<AdapterImage | undefined> {
  try {
    return await imageOption(context, options)
  } catch (error) {
    if (textOption(options, 'image') !== undefined || !isM4Error(error)) throw error
    if (error.code !== 'FILE_NOT_FOUND') context.note(`warning: ${error.message}`)
    return undefined
  }
}

/** ABI id of the module that a package attaches to, by its name; nothing where the image has none that takes it. */
export async function abisFor(
  { kind, base, head }: AdapterManifest,
  { manifest }: AdapterImage,
): Promise<Readonly<Record<string, string>>> {
  const module = base.module as Role
  if (!Object.hasOwn(manifest.modules, module)) return {}
  if (kind !== 'head') return module === 'backbone' ? { backbone: manifest.abi.id } : {}
  const { featureAbi } = await import('../runtime/head-adapter.js')
  return { [module]: featureAbi(manifest, module, head!.in) }
}

/** @throws M4Error `IO` */
export async function standingOn(
  { manifest, digest }: FoundPackage,
  image: AdapterImage,
  { home }: Pick<CliContext, 'home'>,
): Promise<Standing> {
  const { adapterFit, recallVerdict } = await import('../adapters/index.js')
  const abi = (await abisFor(manifest, image))[manifest.base.module]
  const fit = abi === undefined ? 'other-abi' : adapterFit(manifest, { abi, digest: image.digest })
  const verdict = await recallVerdict(digest, image.digest, { home })
  return { fit, ...(verdict ? { verdict } : {}) }
}

/**
 * What is to be said before a package is used on an image; nothing where it was made there, or measured and kept.
 * @param settings.said what people called the adapter
 * @throws M4Error `NOT_AVAILABLE` when it was measured there and refused, unless it is forced
 */
export async function cautionOn(
  { manifest }: FoundPackage,
  image: AdapterImage,
  { fit, verdict }: Standing,
  { said = manifest.name, force = false }: { readonly said?: string; readonly force?: boolean } = {},
): Promise<string | undefined> {
  if (!verdict) return fit === 'revalidate' ? revalidateFirst(manifest, image, said) : undefined
  if (verdict.verdict === 'keep') return undefined
  const { requireNotRefused } = await import('../adapters/index.js')
  if (!force) requireNotRefused(verdict)
  return (
    `adapter ${manifest.name} was not kept when it was measured on this image (${verdict.created.slice(0, 10)}): ` +
    `${verdict.reason} Train it again with \`m4fm adapter revalidate ${said} --image ${image.path} --retrain\`.`
  )
}

/** Its shapes fit; whether it is still good on this image, only samples can tell: a head carries none of another encoder. */
function revalidateFirst(
  { name, kind, base }: AdapterManifest,
  { manifest, digest, path }: AdapterImage,
  said: string,
) {
  const made = `${base.image.name} (${base.image.digest.slice(0, 12)})`
  const samples = kind === 'head' ? ' --eval FOLDER' : ''
  return (
    `adapter ${name} was made on the image ${made}, this is ${manifest.name} (${digest.slice(0, 12)}): ` +
    `measure it here with \`m4fm adapter revalidate ${said} --image ${path}${samples}\`.`
  )
}
