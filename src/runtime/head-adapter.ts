/**
 * Adapter packages of kind `head` → what `match`, `retrieve`, `detect` and the like take (class-head.ts).
 *
 *   m4fm.json          head: type, in, out, labels; of patches also their grid and anchors · base.module: whose vectors it reads ·
 *                      base.abi: `featureAbi`
 *   head.safetensors   layers.0.weight [out, in], layers.0.bias [out], layers.1.weight, …; ReLU between layers
 */

import { type AdapterFinding, finding } from '../adapters/findings.js'
import { type HeadTensor, readHeadTensors } from '../adapters/head-tensors.js'
import { readPackageFiles } from '../adapters/package.js'
import { type AdapterManifest, HEAD_FILE } from '../adapters/package-manifest.js'
import { formatDims } from '../core/dims.js'
import { M4Error, unknownName } from '../core/errors.js'
import { sha256Hex } from '../core/hash.js'
import { canonicalJson, type Manifest, ROLES, type Role } from '../firmware/manifest.js'
import { HEAD_TYPES, type HeadAdapter, type HeadLayer, type HeadType } from './class-head.js'

export interface ReadHead {
  readonly adapter: HeadAdapter
  readonly manifest: AdapterManifest
  /** Names the package. */
  readonly digest: string
  readonly findings: readonly AdapterFinding[]
  /** Tensors that found their place, of all in the file. */
  readonly matched: number
  readonly total: number
}

/**
 * What heads of a module depend on: whose vectors, and how wide. Other weights of the same kind keep it; then the package's
 * `base.image` differs, and it must be measured again.
 * @param width of the vectors that `embed` gives, or of each patch
 */
export function featureAbi({ modules }: Pick<Manifest, 'modules'>, module: Role, width: number): string {
  const facts = canonicalJson({ module, architecture: modules[module]?.architecture ?? null, features: width })
  return `abi-${sha256Hex(facts).slice(0, 16)}`
}

/**
 * Reads and verifies the package in `folder`. What is wrong with its tensors are findings: see `usableHead`.
 * @param image the one it is to serve on; another base is then a finding, too
 * @throws M4Error as `readAdapterPackage`; `INVALID_REQUEST` for a package of another kind, `UNKNOWN_NAME` for a type of head or a
 *   module that this version does not know, `FORMAT_INVALID` for a file that is no safetensors
 */
export async function readHeadAdapter(
  folder: string,
  image?: { readonly manifest: Manifest; readonly digest: string },
): Promise<ReadHead> {
  const { manifest, digest, contents, path } = await readPackageFiles(folder)
  if (manifest.kind !== 'head')
    throw new M4Error('INVALID_REQUEST', `Adapter ${manifest.name} is of kind ${manifest.kind}, expected head.`, {
      hint: 'It is served by the backbone.',
      details: { path, kind: manifest.kind },
    })
  const tensors = readHeadTensors(contents.get(HEAD_FILE)!, `${path}, ${HEAD_FILE}`)
  const { findings, ...read } = headAdapter(manifest, tensors)
  return { ...read, manifest, digest, findings: [...findings, ...(image ? baseFindings(manifest, image) : [])] }
}

/** The head, when nothing is wrong with it. @throws M4Error `FORMAT_INVALID` with every error that was found */
export function usableHead({ adapter, findings, matched, total }: Omit<ReadHead, 'manifest' | 'digest'>): HeadAdapter {
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (!errors.length) return adapter
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : ''
  throw new M4Error(
    'FORMAT_INVALID',
    `Adapter ${adapter.name}: ${matched} of ${total} tensors fit; ${errors[0]!.message}${more}`,
    { hint: 'Train it on this image, or get it again from where it came.', details: { findings, matched, total } },
  )
}

function baseFindings(
  { base, head }: AdapterManifest,
  image: { readonly manifest: Manifest; readonly digest: string },
): AdapterFinding[] {
  const { module } = base
  const { manifest } = image
  if (!manifest.modules[module as Role])
    return [finding('other-base', 'error', `The image ${manifest.name} has no module ${module}.`)]
  if (featureAbi(manifest, module as Role, head!.in) !== base.abi)
    return [
      finding(
        'other-base',
        'error',
        `It was made for a module ${module} of image ${base.image.name}; that of ${manifest.name} gives other vectors.`,
      ),
    ]
  if (base.image.digest === image.digest) return []
  const message = `It was made on image ${base.image.name} ${base.image.digest.slice(0, 12)}; measure it again on this one.`
  return [finding('other-base', 'warning', message)]
}

/**
 * A head from its description and tensors.
 * @throws M4Error `UNKNOWN_NAME` for a type or module that this version does not know
 */
export function headAdapter(
  { name, head, base }: Pick<AdapterManifest, 'name' | 'head' | 'base'>,
  tensors: ReadonlyMap<string, HeadTensor>,
): Omit<ReadHead, 'manifest' | 'digest'> {
  const { type, in: inner, out, labels = [], patches, anchors } = head!
  if (!HEAD_TYPES.includes(type as HeadType)) throw unknownName('type of head', type, HEAD_TYPES)
  if (!ROLES.includes(base.module as Role)) throw unknownName('module', base.module, ROLES)
  const findings: AdapterFinding[] = []
  const say = (code: Parameters<typeof finding>[0], message: string, tensor?: string) =>
    findings.push(finding(code, 'error', message, tensor))
  const { layers, matched } = readLayers(tensors, inner, say)
  const last = layers.at(-1)?.out
  if (last !== undefined && last !== out)
    say('wrong-shape', `its last layer gives ${last} numbers, ${out} are described.`)
  const wanted = OUTPUTS[type as HeadType](labels.length, anchors?.length ?? 0, out)
  if (wanted !== out)
    say('wrong-shape', `${out} outputs and ${labels.length} labels: expected ${wanted} outputs of a ${type}.`)
  if (PATCH_HEADS.has(type as HeadType) !== (patches !== undefined))
    say(
      'wrong-shape',
      `a head of type ${type} ${patches ? 'reads one vector, not patches' : 'needs a grid of patches'}.`,
    )
  if (layers.length && layers.every(({ weight }) => weight.every((value) => value === 0)))
    say('no-effect', 'every weight is 0: its answer does not depend on the item.')
  const adapter: HeadAdapter = {
    kind: 'head',
    name,
    type: type as HeadType,
    module: base.module as Role,
    in: inner,
    out,
    labels,
    ...(patches ? { patches } : {}),
    ...(anchors ? { anchors } : {}),
    layers,
  }
  return { adapter, findings, matched, total: tensors.size }
}

/** How many numbers a head must give for its labels and anchors. */
const OUTPUTS: { readonly [T in HeadType]: (labels: number, anchors: number, out: number) => number } = Object.freeze({
  classifier: (labels) => labels,
  retrieval: (_, __, out) => out,
  boxes: (labels, anchors) => anchors * (labels + 4),
  'key-points': (labels) => labels,
  segmentation: (labels) => labels,
  matting: () => 1,
  counting: () => 1,
})

const PATCH_HEADS: ReadonlySet<HeadType> = new Set(['boxes', 'key-points', 'segmentation', 'matting', 'counting'])

/** Layers in order, each as wide as the one before gives. */
function readLayers(
  tensors: ReadonlyMap<string, HeadTensor>,
  width: number,
  say: (code: AdapterFinding['code'], message: string, tensor?: string) => void,
): { readonly layers: HeadLayer[]; readonly matched: number } {
  const layers: HeadLayer[] = []
  const used = new Set<string>()
  let inner = width
  for (let l = 0; ; l++) {
    const [name, biasName] = [`layers.${l}.weight`, `layers.${l}.bias`]
    const [weight, bias] = [tensors.get(name), tensors.get(biasName)]
    if (!weight && !bias) {
      if (l === 0) say('incomplete-pair', `${name} is missing.`, name)
      break
    }
    if (!weight || !bias) {
      say('incomplete-pair', `${weight ? biasName : name} is missing.`, weight ? biasName : name)
      break
    }
    const out = weight.dims[0] ?? 0
    if (weight.dims.length !== 2 || weight.dims[1] !== inner || bias.dims.join() !== String(out)) {
      const got = `${formatDims(weight.dims)} and ${formatDims(bias.dims)}`
      say('wrong-shape', `${name}: expected [out, ${inner}] and a bias [out], got ${got}.`, name)
      break
    }
    for (const [tensor, { data }] of [
      [name, weight],
      [biasName, bias],
    ] as const) {
      const bad = data.findIndex((value) => !Number.isFinite(value))
      if (bad >= 0) say('not-finite', `${tensor}: element ${bad} is ${data[bad]}.`, tensor)
      used.add(tensor)
    }
    layers.push({ in: inner, out, weight: weight.data, bias: bias.data })
    inner = out
  }
  for (const name of tensors.keys())
    if (!used.has(name)) say('unknown-tensor', `${name} is no part of a head of ${layers.length} layers.`, name)
  return { layers, matched: used.size }
}
