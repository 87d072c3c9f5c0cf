/**
 * The backbone as a training program: the device's own graphs (`embed`, `decode`), an adapter where its inputs are, and the
 * cross-entropy of the answer's tokens. Only the rows whose logits the loss needs pass the head.
 *
 *   inputs   ids int64 [B, T] (shorter rows padded behind)
 *            without a prefix: seqlens_k int32 [B] = n + T − 1 · total int32 [] = n + T · past float32 [B, K, 0, D] (empty)
 *            positions int64 [N]: rows of [B·(n + T)] whose next token is predicted, each once
 *            targets int64 [N] · weights float32 [N] (mask and normaliser)
 *            with n = virtual tokens of prompt tuning, else 0
 *   outputs  loss
 */

import { loraScale } from '../../adapters/trained.js'
import type { Abi } from '../../firmware/manifest.js'
import { type Graph, type GraphNode, type Scope, type Value, withoutZeros } from '../../graph/index.js'
import { differentiable, type FrozenWeights } from '../autodiff/frozen.js'
import type { Tape } from '../autodiff/tape.js'
import type { FullTraining } from '../full.js'
import { crossEntropy } from '../losses/cross-entropy.js'
import { headCrossEntropy } from '../losses/head-cross-entropy.js'
import type { ParameterShape, Program, ProgramResult } from '../step-graph.js'
import { plainAttention } from './plain-attention.js'
import { type SoftTokens, withProjected, withSoftTokens } from './soft-tokens.js'

export interface BackboneGraphs {
  readonly embed: Graph
  readonly decode: Graph
}

/** One trained pair: y += scale · x·A·B with A [in, r], B [r, out]; the scale is that of `loraScale`. */
export interface LoraPlace {
  readonly layer: number
  readonly site: string
  readonly part: string
  readonly rank: number
  readonly alpha: number
}

export type Trained =
  /** Nothing of an adapter: the model itself, or a projection alone (see `BackboneProgramOptions`). */
  | { readonly kind: 'full' }
  | { readonly kind: 'lora'; readonly rsLora: boolean; readonly places: readonly LoraPlace[] }
  | { readonly kind: 'prompt'; readonly tokens: number }
  | { readonly kind: 'prefix'; readonly tokens: number }

/** Tokens that the adapter puts in front. */
export const virtualTokens = (trained: Trained): number => ('tokens' in trained ? trained.tokens : 0)

export interface BackboneProgramOptions {
  /** Needed for images with quantised weights. */
  readonly frozen?: FrozenWeights
  /** Training in full: what makes each graph read its trained weights, as `trainable` gives it. */
  readonly full?: { readonly embed: FullTraining; readonly decode: FullTraining }
  /** A projection of features is trained too: see soft-tokens.ts. */
  readonly soft?: SoftTokens
  /** The image's own projection stands in front: soft tokens of vectors are read as `describe` reads them, and stay as they are. */
  readonly project?: Graph
  /** Keep nothing inside a layer for the way back, but compute it again. */
  readonly recompute?: boolean
}

/** Path of the trained matrix: `lora/layers.3/attn/qkv/q/A`. */
export const loraName = (abi: Abi, { layer, site, part }: LoraPlace, matrix: 'A' | 'B'): string =>
  `lora/layers.${layer}/${abi.sites[site]!.path}/${part}/${matrix}`

/** What an adapter trains, with shapes. Places must be of the ABI. */
export function trainedShapes(abi: Abi, trained: Trained): ParameterShape[] {
  if (trained.kind === 'full') return []
  if (trained.kind === 'prompt') return [{ name: 'prompt', dims: [trained.tokens, abi.width] }]
  if (trained.kind === 'prefix') {
    const dims = [abi.kvHeads, trained.tokens, abi.headWidth]
    return Array.from({ length: abi.layers }, (_, l) =>
      ['key', 'value'].map((kind) => ({ name: `prefix/layers.${l}/${kind}`, dims })),
    ).flat()
  }
  return trained.places.flatMap((place) => {
    const site = abi.sites[place.site]!
    const out = site.parts.find(({ name }) => name === place.part)!.out
    return [
      { name: loraName(abi, place, 'A'), dims: [site.in, place.rank] },
      { name: loraName(abi, place, 'B'), dims: [place.rank, out] },
    ]
  })
}

export function backboneProgram(
  graphs: BackboneGraphs,
  abi: Abi,
  trained: Trained,
  options: BackboneProgramOptions = {},
): Program {
  const used = new Set(trained.kind === 'lora' ? trained.places.map((place) => sitePath(abi, place)) : [])
  const idle = graphs.decode.inputs.filter(({ name }) => {
    const path = /^lora\/(.+)\/[AB]$/.exec(name)?.[1]
    return path !== undefined && !used.has(path)
  })
  const decode = withoutZeros(graphs.decode, new Set(idle.map(({ name }) => name)))
  return (tape, parameter) => {
    const { g } = tape
    if (options.recompute) tape.segmentOf = ({ name }) => /^decode\/(layers\.\d+)\//.exec(name)?.[1]
    const ids = g.input('ids', 'int64', ['B', 'T'])
    const inFull = (graph: 'embed' | 'decode') => options.full?.[graph].substitutes(tape, parameter, `${graph}/`)
    const [embedFull, decodeFull] = [inFull('embed'), inFull('decode')]
    const embedded = differentiable(tape, graphs.embed, {
      ...embedFull,
      values: new Map([...(embedFull?.values ?? []), ['ids', ids]]),
      prefix: 'embed/',
    }).get('embeddings')!
    const { soft, project } = options
    const filled = soft
      ? withSoftTokens(tape, abi, soft, embedded, parameter)
      : project
        ? withProjected(tape, project, embedded)
        : embedded
    const x = trained.kind === 'prompt' ? withPrompt(g.scope('prompt'), parameter('prompt'), filled, ids) : filled
    const values = new Map<string, Value>([
      ...(decodeFull?.values ?? []),
      ['inputs_embeds', x],
      ['seqlens_k', g.input('seqlens_k', 'int32', ['B'])],
      ['total_sequence_length', g.input('total', 'int32', [])],
      ['logit_idx', g.input('positions', 'int64', ['N'])],
      ...pastValues(tape, abi, trained, parameter, ids),
      ...(trained.kind === 'lora' ? loraValues(g.scope('packed'), abi, trained, parameter) : []),
    ])
    // A head that is trained is one with its loss; a frozen one is run as it is.
    const head = decodeFull?.values.get(HEAD_WEIGHT)
    const wanted = head ? NORMED : 'logits'
    const found = differentiable(tape, decode, {
      values,
      prefix: 'decode/',
      wanted: [wanted],
      ...(options.frozen ? { frozen: options.frozen } : {}),
      replace: (node, inputs) => {
        if (isRowChoice(node)) return [chosenRows(tape, inputs[0]!, inputs[1]!)]
        if (trained.kind === 'prefix' && node.op === 'GroupQueryAttention')
          return [plainAttention(g.scope(`decode/${node.outputs[0]}`), node, inputs)]
        return decodeFull?.replace(node, inputs)
      },
    }).get(wanted)!
    return answerLoss(tape, found, head)
  }
}

/** Names in the decoder's graph: the normed rows before the head, and the head's weight. */
const [NORMED, HEAD_WEIGHT] = ['normed', 'head/weight']

/** The mean (by its weights) loss of the wanted rows: logits, or what the head is applied to. */
function answerLoss(tape: Tape, found: Value, head: Value | undefined): ProgramResult {
  const { g } = tape
  const scope = g.scope('loss')
  const rows = scope.op('Reshape', [found, scope.int64([-1, Number(found.dims.at(-1))])], {}, 'rows') // [N, V] or [N, C]
  const targets = g.input('targets', 'int64', ['N'])
  const weights = g.input('weights', 'float32', ['N'])
  const loss = head
    ? headCrossEntropy(tape, scope, rows, head, targets, weights)
    : crossEntropy(tape, scope, rows, targets, weights)
  return { loss }
}

const sitePath = (abi: Abi, { layer, site }: LoraPlace) => `layers.${layer}/${abi.sites[site]!.path}`

/** The decoder's Gather of the rows whose logits are wanted. */
const isRowChoice = ({ op, inputs }: GraphNode) => op === 'Gather' && inputs[1] === 'logit_idx'

/** Rows of [B, T, C] by their number in [B·T]: [1, N, C]. No row twice, so its gradient is a plain scatter. */
function chosenRows(tape: Tape, x: Value, positions: Value): Value {
  const scope = tape.g.scope('chosen')
  const width = Number(x.dims.at(-1))
  const flat = scope.op('Reshape', [x, scope.int64([-1, width])], {}, 'flat') // [B·T, C]
  const rows = scope.op('Gather', [flat, positions], { axis: 0 }, 'rows')
  tape.composite({
    output: rows,
    inputs: [flat],
    backward: (inner, dy) => {
      const zeros = inner.op('Expand', [inner.float32(0), inner.op('Shape', [flat])])
      return [inner.op('ScatterND', [zeros, inner.op('Unsqueeze', [positions, inner.int64([1])]), dy])]
    },
  })
  return scope.op('Unsqueeze', [rows, scope.int64([0])], {}, 'batch')
}

/** Virtual embeddings in front of every row. [B, n + T, C] */
function withPrompt(scope: Scope, prompt: Value, embedded: Value, ids: Value): Value {
  return scope.op('Concat', [repeated(scope, prompt, ids), embedded], { axis: 1 }, 'embeddings')
}

/** [..] → [B, ..] */
function repeated(scope: Scope, x: Value, ids: Value): Value {
  const batch = scope.op('Shape', [ids], { start: 0, end: 1 })
  const shape = scope.op('Concat', [batch, scope.int64(x.dims as number[])], { axis: 0 })
  return scope.op('Expand', [x, shape])
}

function pastValues(
  { g }: Tape,
  abi: Abi,
  trained: Trained,
  parameter: (name: string) => Value,
  ids: Value,
): [string, Value][] {
  const scope = g.scope('prefix')
  const empty = trained.kind === 'prefix' ? undefined : g.input('past', 'float32', ['B', abi.kvHeads, 0, abi.headWidth])
  return Array.from({ length: abi.layers }, (_, l) =>
    ['key', 'value'].map((kind): [string, Value] => {
      const name = `past/layers.${l}/${kind}`
      return [name, empty ?? repeated(scope, parameter(`prefix/layers.${l}/${kind}`), ids)]
    }),
  ).flat()
}

/** The parts of each site packed as the decoder takes them: A side by side [in, R], B block-diagonal [R, out], scales in B. */
function loraValues(
  scope: Scope,
  abi: Abi,
  { places, rsLora }: Extract<Trained, { kind: 'lora' }>,
  parameter: (name: string) => Value,
): [string, Value][] {
  const bySite = new Map<string, LoraPlace[]>()
  for (const place of places) bySite.set(sitePath(abi, place), [...(bySite.get(sitePath(abi, place)) ?? []), place])
  return [...bySite].flatMap(([path, group]) => {
    const { parts } = abi.sites[group[0]!.site]!
    const width = parts.reduce((sum, { out }) => sum + out, 0)
    const ordered = parts.flatMap(({ name }) => group.filter(({ part }) => part === name))
    const a = ordered.map((place) => parameter(loraName(abi, place, 'A')))
    const b = ordered.map((place) => {
      const scaled = scope.op('Mul', [parameter(loraName(abi, place, 'B')), scope.float32(loraScale(place, rsLora))])
      const before = parts
        .slice(
          0,
          parts.findIndex(({ name }) => name === place.part),
        )
        .reduce((sum, { out }) => sum + out, 0)
      const own = parts.find(({ name }) => name === place.part)!.out
      if (own === width) return scaled
      return scope.op('Pad', [scaled, scope.int64([before, width - before - own]), undefined, scope.int64([1])])
    })
    const join = (values: readonly Value[], axis: number, name: string) =>
      values.length === 1 ? values[0]! : scope.op('Concat', values, { axis }, `${path}/${name}`)
    return [
      [`lora/${path}/A`, join(a, 1, 'A')],
      [`lora/${path}/B`, join(b, 0, 'B')],
    ] as [string, Value][]
  })
}
