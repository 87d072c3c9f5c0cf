/**
 * Adapters as commands name them: an installed one by its name, the folder of a package or of PEFT, or a released file. Refused
 * when any of it does not fit, so that an adapter never silently does nothing.
 */

import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterFit, AdapterManifest, AdapterPackage } from '../adapters/index.js'
import type { AdapterTensors } from '../adapters/types.js'
import { isM4Error, M4Error } from '../core/errors.js'
import type { Manifest } from '../firmware/manifest.js'
import type { HeadAdapter } from '../runtime/class-head.js'
import { type CliContext, type OptionValues, textOption } from './context.js'
import { defaultImage } from './images.js'

export interface ChosenAdapter {
  /** Of the backbone; undefined for a task head. */
  readonly tensors: AdapterTensors | undefined
  /** A head on features of an encoder, for `match`, `embed` and `retrieve`. */
  readonly head?: HeadAdapter
  /** Of a package: what its samples stood in when it was trained. */
  readonly prompt: AdapterPrompt | undefined
  /** For `--json`. */
  readonly facts: AdapterUse
}

export interface AdapterPrompt {
  /** With `{}` where the text goes, or `chat`: the image's chat template. */
  readonly template: string
  /** In the order of the classes. */
  readonly labels?: readonly string[]
}

export interface AdapterUse {
  readonly name: string
  readonly path: string
  /** Of a package. */
  readonly digest?: string
  readonly fit?: AdapterFit
  readonly warnings: readonly string[]
}

/** What an adapter must know of an image. */
export interface AdapterImage {
  readonly path: string
  readonly manifest: Manifest
  readonly digest: string
  /** ABI id by module that takes adapters. */
  readonly abis: Readonly<Record<string, string>>
}

/** `chat` as a template means the chat template of the image. */
export const CHAT_TEMPLATE = 'chat'

/** @throws M4Error as `chooseAdapter` */
export async function adapterOf(
  context: CliContext,
  options: OptionValues,
  imagePath: string,
): Promise<ChosenAdapter | undefined> {
  const name = textOption(options, 'adapter')
  return name === undefined ? undefined : chooseAdapter(context, name, imagePath)
}

/**
 * An adapter, ready for the backbone of an image; warnings go to stderr and into `facts`.
 * @throws M4Error `UNKNOWN_NAME`, `FILE_NOT_FOUND`; `NOT_AVAILABLE` for another ABI; `FORMAT_INVALID` with all that is wrong, also
 *   when it has no effect; `DIGEST_MISMATCH`; `FORMAT_UNSUPPORTED` for what is none of the backbone
 */
export async function chooseAdapter(context: CliContext, name: string, imagePath: string): Promise<ChosenAdapter> {
  const [{ recogniseAdapter, readAdapterPackage, requireAbi, usableAdapter }, image] = await Promise.all([
    import('../adapters/index.js'),
    adapterImage(imagePath),
  ])
  const path = await adapterPath(name, context)
  const found = isPackage(path) ? await readAdapterPackage(path) : undefined
  if (found) {
    if (found.manifest.kind === 'head') return chooseHead(context, path, image)
    requireAbi(found.manifest, image.abis)
  }
  const { adapter, kind, target, ...report } = recogniseAdapter(path, image.manifest)
  if (!adapter)
    throw new M4Error('FORMAT_UNSUPPORTED', `${path}: ${kind} for ${target} cannot be used with this command.`, {
      hint: 'See `m4fm import` for what fits.',
    })
  // What changes nothing is refused also where its shapes are right: somebody expects it to do something.
  const findings = report.findings.map((entry) =>
    entry.code === 'no-effect' ? { ...entry, severity: 'error' as const } : entry,
  )
  const usable = usableAdapter({ ...report, findings, adapter })
  const warnings = findings.filter(({ severity }) => severity === 'warning').map(({ message }) => message)
  const fit = found && (await fitOn(found.manifest, image))
  if (found && fit === 'revalidate') warnings.unshift(revalidateFirst(found.manifest, image, name))
  for (const message of warnings) context.note(`warning: ${message}`)
  return {
    tensors: found ? { ...usable, name: found.manifest.name } : usable,
    prompt: found && promptOf(found.manifest),
    facts: {
      name: found?.manifest.name ?? usable.name,
      path,
      ...(found && fit ? { digest: found.digest, fit } : {}),
      warnings,
    },
  }
}

/** @throws M4Error `FORMAT_INVALID`, `NOT_AVAILABLE` for another encoder */
async function chooseHead(context: CliContext, path: string, image: AdapterImage): Promise<ChosenAdapter> {
  const { readHeadAdapter, usableHead } = await import('../runtime/head-adapter.js')
  const read = await readHeadAdapter(path, image)
  const head = usableHead(read)
  const warnings = read.findings.filter(({ severity }) => severity === 'warning').map(({ message }) => message)
  for (const message of warnings) context.note(`warning: ${message}`)
  return {
    tensors: undefined,
    head,
    prompt: undefined,
    facts: { name: head.name, path, digest: read.digest, warnings },
  }
}

/** Its shapes fit; whether it is still good on this image, only its own samples can tell. */
export function revalidateFirst(
  { name, base }: AdapterManifest,
  { manifest, digest, path }: AdapterImage,
  said = name,
) {
  const made = `${base.image.name} (${base.image.digest.slice(0, 12)})`
  return (
    `adapter ${name} was made on the image ${made}, this is ${manifest.name} (${digest.slice(0, 12)}): ` +
    `measure it here on its own samples with \`m4fm adapter revalidate ${said} --image ${path}\`.`
  )
}

/** The prompt of a package as the runtime takes it. */
function promptOf({ prompt }: AdapterManifest): AdapterPrompt | undefined {
  if (!prompt) return undefined
  const { labels } = prompt
  // A package may name the field that stands there, e.g. {text}; the runtime has one place, {}.
  const named = prompt.template.match(/\{[A-Za-z_]\w*\}/g) ?? []
  const template =
    prompt.template.includes('{}') || named.length !== 1 ? prompt.template : prompt.template.replace(named[0]!, '{}')
  return { template, ...(labels ? { labels } : {}) }
}

/**
 * The folder or file that `name` means: an adapter of the store, else a path.
 * @throws M4Error `UNKNOWN_NAME` with the nearest names, `FILE_NOT_FOUND`
 */
export async function adapterPath(name: string, { home }: Pick<CliContext, 'home'>): Promise<string> {
  const { resolveAdapter } = await import('../adapters/index.js')
  try {
    return await resolveAdapter(name, { home })
  } catch (error) {
    // lit-llama and PandaGPT come as single files.
    if (statSync(name, { throwIfNoEntry: false })?.isFile()) return name
    throw error
  }
}

/** As `adapterPath`, for what works on folders alone. @throws M4Error `FORMAT_UNSUPPORTED` for a file */
export async function adapterFolder(name: string, context: Pick<CliContext, 'home'>): Promise<string> {
  const path = await adapterPath(name, context)
  if (statSync(path).isDirectory()) return path
  throw new M4Error('FORMAT_UNSUPPORTED', `${path} is a file, expected the folder of an adapter.`, {
    hint: 'See what it is with `m4fm import`; GGUF and .onnx_adapter become folders with `m4fm adapter convert --to peft`.',
    details: { path },
  })
}

/** Whether the folder holds a package, and not PEFT's files alone. */
export const isPackage = (path: string): boolean => existsSync(join(path, 'm4fm.json'))

/** A package that was read, or undefined for a plain PEFT folder. @throws M4Error as `readAdapterPackage` */
export async function packageIn(folder: string): Promise<AdapterPackage | undefined> {
  const { readAdapterPackage } = await import('../adapters/index.js')
  return isPackage(folder) ? readAdapterPackage(folder) : undefined
}

/** @throws M4Error as `readManifest` */
export async function adapterImage(path: string): Promise<AdapterImage> {
  const { manifestDigest, readManifest } = await import('../firmware/index.js')
  const manifest = await readManifest(path)
  const abis: Record<string, string> = manifest.modules.backbone ? { backbone: manifest.abi.id } : {}
  return { path, manifest, digest: manifestDigest(manifest), abis }
}

/** How a package fits an image. */
export async function fitOn(manifest: AdapterManifest, { abis, digest }: AdapterImage): Promise<AdapterFit> {
  const { adapterFit } = await import('../adapters/index.js')
  const abi = Object.hasOwn(abis, manifest.base.module) ? abis[manifest.base.module] : undefined
  return abi === undefined ? 'other-abi' : adapterFit(manifest, { abi, digest })
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
