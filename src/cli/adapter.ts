/**
 * Adapters as commands name them: an installed one by its name, the folder of a package or of PEFT, or a released file. Refused
 * when any of it does not fit, so that an adapter never silently does nothing.
 */

import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { AdapterFit, AdapterManifest, AdapterPackage, Verdict } from '../adapters/index.js'
import type { AdapterTensors } from '../adapters/types.js'
import { M4Error } from '../core/errors.js'
import type { HeadAdapter } from '../runtime/class-head.js'
import { type AdapterImage, abisFor, adapterImage, cautionOn, standingOn } from './adapter-fit.js'
import { type CliContext, type OptionValues, textOption } from './context.js'

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
  /** Where it was measured on this image. */
  readonly verdict?: Verdict
  readonly warnings: readonly string[]
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
  return name === undefined ? undefined : chooseAdapter(context, name, imagePath, options.force === true)
}

/**
 * An adapter, ready for an image; warnings go to stderr and into `facts`.
 * @param force also what was measured on this image and refused
 * @throws M4Error `UNKNOWN_NAME`, `FILE_NOT_FOUND`; `NOT_AVAILABLE` for another ABI and for what was refused; `FORMAT_INVALID` with all that is wrong, also
 *   when it has no effect; `DIGEST_MISMATCH`; `FORMAT_UNSUPPORTED` for what is none of the backbone
 */
export async function chooseAdapter(
  context: CliContext,
  name: string,
  imagePath: string,
  force = false,
): Promise<ChosenAdapter> {
  const [{ recogniseAdapter, requireAbi, usableAdapter }, image] = await Promise.all([
    import('../adapters/index.js'),
    adapterImage(imagePath),
  ])
  const path = await adapterPath(name, context)
  const found = await packageIn(path)
  if (found) {
    if (found.manifest.kind === 'head') return chooseHead(context, found, image, { said: name, force })
    requireAbi(found.manifest, await abisFor(found.manifest, image))
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
  const standing = found && (await heeded(context, found, image, { said: name, force }))
  const told = tell(context, [...(standing?.warnings ?? []), ...warnings])
  return {
    tensors: found ? { ...usable, name: found.manifest.name } : usable,
    prompt: found && promptOf(found.manifest),
    facts: {
      name: found?.manifest.name ?? usable.name,
      path,
      ...standing?.facts,
      warnings: told,
    },
  }
}

/** @throws M4Error `FORMAT_INVALID`, `NOT_AVAILABLE` for another encoder */
async function chooseHead(
  context: CliContext,
  found: AdapterPackage,
  image: AdapterImage,
  settings: Heeding,
): Promise<ChosenAdapter> {
  const { readHeadAdapter, usableHead } = await import('../runtime/head-adapter.js')
  const read = await readHeadAdapter(found.path, image)
  const head = usableHead(read)
  const standing = await heeded(context, found, image, settings)
  // That it was made on another image is said, or known to do no harm, by its standing.
  const others = read.findings.filter(({ severity, code }) => severity === 'warning' && code !== 'other-base')
  const warnings = tell(context, [...standing.warnings, ...others.map(({ message }) => message)])
  return {
    tensors: undefined,
    head,
    prompt: undefined,
    facts: { name: head.name, path: found.path, ...standing.facts, warnings },
  }
}

type Heeding = NonNullable<Parameters<typeof cautionOn>[3]>

/** @throws M4Error as `cautionOn` */
async function heeded(context: CliContext, found: AdapterPackage, image: AdapterImage, settings: Heeding) {
  const standing = await standingOn(found, image, context)
  const caution = await cautionOn(found, image, standing, settings)
  const { fit, verdict } = standing
  return {
    facts: { digest: found.digest, fit, ...(verdict ? { verdict: verdict.verdict } : {}) },
    warnings: caution === undefined ? [] : [caution],
  }
}

function tell(context: CliContext, warnings: readonly string[]): readonly string[] {
  for (const message of warnings) context.note(`warning: ${message}`)
  return warnings
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

/** A package that was read, or undefined for a plain PEFT folder and for a file. @throws M4Error as `readAdapterPackage` */
export async function packageIn(folder: string): Promise<AdapterPackage | undefined> {
  const { PACKAGE_FILE, readAdapterPackage } = await import('../adapters/index.js')
  return existsSync(join(folder, PACKAGE_FILE)) ? readAdapterPackage(folder) : undefined
}
