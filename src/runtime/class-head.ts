/**
 * The other ways of `match`: a head that learned its classes reads the features of an encoder. It stands beside the encoder in the image
 * (the paper's GEN_dec), or an app brings it as an adapter of kind `head`. No text wakes.
 */

import { M4Error } from '../core/errors.js'
import type { Role } from '../firmware/manifest.js'
import {
  assertEncoder,
  ENCODER_ROLES,
  embedRead,
  featuresOf,
  featuresRead,
  isSensed,
  type ReadItem,
  type SensedItem,
  senseOne,
} from './items.js'
import { readText } from './module-config.js'
import type { MatchOutput } from './requests.js'
import type { EmbedOptions } from './text-embedding.js'
import { toUnitLength } from './tower.js'
import type { Work } from './work.js'

/** Names in a module (`head` is ImageBind's own): the graph, `features` [B, C] → `probabilities` [B, classes], and the JSON list of its classes. */
const CLASSIFY = 'classify'
const LABELS = 'labels'

/** What a head gives: a logit for each label, or a vector in the space of texts. */
export const HEAD_TYPES = ['classifier', 'retrieval'] as const
export type HeadType = (typeof HEAD_TYPES)[number]

/** y = W·x + b, row-major. */
export interface HeadLayer {
  readonly in: number
  readonly out: number
  readonly weight: Float32Array // [out, in]
  readonly bias: Float32Array // [out]
}

/** An adapter of kind `head`, ready to run: see `readHeadAdapter`. */
export interface HeadAdapter {
  readonly kind: 'head'
  readonly name: string
  readonly type: HeadType
  /** The module whose vectors it reads. */
  readonly module: Role
  /** Width of those vectors, C. */
  readonly in: number
  readonly out: number
  /** Of a classifier, in the order of its outputs; else none. */
  readonly labels: readonly string[]
  /** First to last, ReLU between them. */
  readonly layers: readonly HeadLayer[]
}

/**
 * Outputs of a head: logits, or a vector that is not normalised. A product of 512 × 100 is done before a session would have been
 * entered, so it is plain arithmetic; sums are in double precision.
 * @param features [C] of length 1 → [out]
 * @throws M4Error `SHAPE_MISMATCH` for features of another width
 */
export function applyHead({ name, layers, module, in: width }: HeadAdapter, features: Float32Array): Float32Array {
  if (features.length !== width)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Adapter ${name} reads vectors of ${width} numbers, module ${module} gives ${features.length}.`,
      {
        hint: 'Use the image that it was trained on, or train it again on this one.',
        details: { adapter: name, module, expected: width, got: features.length },
      },
    )
  return layers.reduce((x, layer, i) => linear(layer, i > 0 ? x.map((value) => Math.max(value, 0)) : x), features)
}

function linear({ in: inner, out, weight, bias }: HeadLayer, x: Float32Array): Float32Array {
  const y = new Float32Array(out)
  for (let o = 0; o < out; o++) {
    let sum = bias[o]!
    for (let i = 0; i < inner; i++) sum += weight[o * inner + i]! * x[i]!
    y[o] = sum
  }
  return y
}

/** Softmax of logits, in double precision. */
export function probabilitiesOf(logits: ArrayLike<number>): number[] {
  const all = Array.from(logits)
  const largest = all.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  const raised = all.map((value) => Math.exp(value - largest))
  const sum = raised.reduce((a, b) => a + b, 0)
  return raised.map((value) => value / sum)
}

/**
 * All labels of the adapter for each item, most probable first.
 * @throws M4Error `INVALID_REQUEST` for items that another module reads or a head without labels, `NOT_AVAILABLE`, `SHAPE_MISMATCH`
 */
export async function matchByAdapter(
  items: readonly ReadItem[],
  adapter: HeadAdapter,
  options: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<MatchOutput> {
  requireType(adapter, 'classifier')
  const stranger = items.find((item) => item.kind !== 'vector' && roleOf(item) !== adapter.module)
  if (stranger)
    throw new M4Error(
      'INVALID_REQUEST',
      `Adapter ${adapter.name} reads what the module ${adapter.module} embeds, got a ${stranger.kind}.`,
      {
        hint: 'Give items of the kind that it was trained on.',
        details: { module: adapter.module, got: stranger.kind },
      },
    )
  const vectors = await featuresRead(items, options, work)
  return work.stage('classify', async () => ({
    matches: vectors.map((vector) => ranked(adapter.labels, probabilitiesOf(applyHead(adapter, vector)))),
  }))
}

/**
 * Vectors for comparison: those of the adapter's own items go through its projection, all others are as `embed` gives them.
 * @throws M4Error as `embedRead`; `INVALID_REQUEST` for a head that does not project
 */
export async function embedProjected(
  items: readonly ReadItem[],
  adapter: HeadAdapter,
  options: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<Float32Array[]> {
  requireType(adapter, 'retrieval')
  const out: Float32Array[] = new Array(items.length)
  const own = [...items.keys()].filter((i) => roleOf(items[i]!) === adapter.module)
  const others = [...items.keys()].filter((i) => roleOf(items[i]!) !== adapter.module)
  // One space is made of two: the sides are not compared before the projection.
  for (const indices of [own, others]) {
    if (!indices.length) continue
    const chosen = indices.map((i) => items[i]!)
    const read = indices === own ? featuresRead : embedRead
    const vectors = await read(chosen, options, work)
    for (const [k, i] of indices.entries())
      out[i] = indices === own ? toUnitLength(applyHead(adapter, vectors[k]!)) : vectors[k]!
  }
  const odd = out.find(({ length }) => length !== adapter.out)
  if (odd)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `Adapter ${adapter.name} projects to ${adapter.out} numbers, it is compared with vectors of ${odd.length}.`,
      { hint: 'Use the image that it was trained on.', details: { expected: adapter.out, got: odd.length } },
    )
  return out
}

const roleOf = (item: ReadItem): Role | undefined =>
  item.kind === 'text' ? 'TXT' : isSensed(item) ? ENCODER_ROLES[item.kind] : undefined

function requireType({ name, kind, type }: HeadAdapter, wanted: HeadType): void {
  if (kind !== 'head')
    throw new M4Error('INVALID_REQUEST', `Adapter ${name} is one of the backbone, expected a head.`, {
      hint: 'It serves generate, classify and the like.',
    })
  if (type === wanted) return
  const tasks = { classifier: 'match', retrieval: 'embed, similarity and retrieve' }
  throw new M4Error('INVALID_REQUEST', `Adapter ${name} is a head of type ${type}, expected ${wanted}.`, {
    hint: `${type} serves ${tasks[type]}.`,
    details: { expected: wanted, got: type },
  })
}

function ranked(labels: readonly string[], probabilities: ArrayLike<number>): MatchOutput['matches'][number] {
  const scores = labels
    .map((label, k) => ({ label, probability: probabilities[k]! }))
    .sort((a, b) => b.probability - a.probability)
  return { label: scores[0]!.label, scores }
}

/**
 * All classes of the module's head for each item, most probable first. Features as `embed` gives them with `of: 'features'`.
 * @throws M4Error `INVALID_REQUEST` where an item's module has no head, `NOT_AVAILABLE`, `IMAGE_INVALID`
 */
export async function matchByHead(items: readonly ReadItem[], work: Work): Promise<MatchOutput> {
  const sensed = items.map((item) => withHead(item, work))
  const matches: MatchOutput['matches'][number][] = new Array(items.length)
  for (const role of new Set(sensed.map(({ kind }) => ENCODER_ROLES[kind]))) {
    const labels = await labelsOf(role, work)
    for (const [i, item] of sensed.entries()) {
      if (ENCODER_ROLES[item.kind] !== role) continue
      const seen = await senseOne(item, work)
      const encoder = await work.use(role)
      const features = featuresOf(seen)
      const probabilities = await work.stage('classify', () => encoder.classify(features, work.signal))
      if (probabilities.length !== labels.length)
        throw badLabels(role, `a list of ${probabilities.length}, got ${labels.length}`)
      matches[i] = ranked(labels, probabilities)
    }
    work.done(role)
  }
  return { matches }
}

function withHead(item: ReadItem, work: Work): SensedItem {
  if (isSensed(item)) {
    assertEncoder(item, work)
    const { files, graphs } = work.image.manifest.modules[ENCODER_ROLES[item.kind]]!
    if (Object.hasOwn(files, LABELS) && Object.hasOwn(graphs, CLASSIFY)) return item
  }
  throw new M4Error(
    'INVALID_REQUEST',
    `labels: expected two or more, got none; the module of a ${item.kind} has no head of its own.`,
    {
      hint: 'Give labels or an adapter; or use an image whose encoder carries the graph classify and the file labels.',
      details: { kind: item.kind },
    },
  )
}

async function labelsOf(role: Role, { image }: Work): Promise<readonly string[]> {
  let labels: unknown
  try {
    labels = JSON.parse(await readText(image, role, LABELS))
  } catch (cause) {
    if (cause instanceof SyntaxError) throw badLabels(role, 'JSON', cause)
    throw cause
  }
  if (Array.isArray(labels) && labels.every((label) => typeof label === 'string')) return labels
  throw badLabels(role, 'a list of texts')
}

const badLabels = (role: Role, expected: string, cause?: unknown) =>
  new M4Error('IMAGE_INVALID', `The labels of module ${role}: expected ${expected}.`, {
    hint: 'Correct the file labels of the recipe, then build the image again.',
    details: { role },
    cause,
  })
