/**
 * An encoder as part of a training program: the device's own graph, frozen but for what is asked for — LoRA at its adapter inputs,
 * or weights of its table (full.ts) — and the features that a head reads.
 */

import { M4Error } from '../../core/errors.js'
import { type Graph, type Scope, type Value, withoutZeros } from '../../graph/index.js'
import { differentiable, type FrozenWeights } from '../autodiff/frozen.js'
import type { Tape } from '../autodiff/tape.js'
import type { FullTraining } from '../full.js'
import { firstValues } from '../heads/initialise.js'
import { attachHead } from '../heads/program.js'
import type { HeadParameter, TaskHead } from '../heads/types.js'
import type { ParameterShape, Program } from '../step-graph.js'

export interface FeatureSource {
  readonly graph: Graph
  /** An output of the graph, or a value inside: `embedding`, `token`, `norm`. */
  readonly value: string
  /** Tokens left out in front, where the value is [B, T, C]: 1 for a class token. Default 0. */
  readonly skipTokens?: number
}

export interface EncoderTraining extends FeatureSource {
  /** Rank of the pairs at all of the graph's inputs `lora/<path>/A|B`, or at those whose path is chosen. Default: none are trained. */
  readonly lora?: { readonly rank: number; readonly select?: (path: string) => boolean }
  /** Weights of the table that are trained, of this very graph. */
  readonly full?: FullTraining
  /** Needed for graphs with quantised weights. */
  readonly frozen?: FrozenWeights
}

/** In front of the names of the encoder's values: constants of two graphs may share a name. */
export const ENCODER_PREFIX = 'encoder/'

const LORA_INPUT = /^lora\/(.+)\/([AB])$/

/** Whether anything inside the encoder is trained; if not, its features may be computed once (features.ts). */
export const trainsInside = ({ lora, full }: EncoderTraining): boolean => lora !== undefined || full !== undefined

/**
 * Pairs A [in, R], B [R, out], named as the inputs are. B begins at 0: the encoder begins as it is.
 * @throws M4Error `NOT_AVAILABLE` for a graph without adapter inputs, `USAGE` for a rank that is no whole number of 1 or more
 */
export function loraParameters({ graph, lora }: EncoderTraining): HeadParameter[] {
  if (!lora) return []
  const { rank } = lora
  if (!Number.isSafeInteger(rank) || rank < 1)
    throw new M4Error('USAGE', `LoRA: expected a rank of 1 or more, got ${rank}.`)
  const trained = graph.inputs.filter(({ name }) => isTrained(name, lora))
  if (!trained.length)
    throw new M4Error('NOT_AVAILABLE', `Graph ${graph.name} has no adapter inputs that were chosen.`, {
      hint: 'Build the image with adapters of encoders, or add places with withLoraSites.',
    })
  return trained.map(({ name, dims }) => {
    const isA = name.endsWith('/A')
    const size = Number(isA ? dims[1] : dims[2])
    return isA
      ? { name, dims: [size, rank], start: { fanIn: size } }
      : { name, dims: [rank, size], start: { constant: 0 } }
  })
}

function isTrained(input: string, lora: EncoderTraining['lora']): boolean {
  const path = LORA_INPUT.exec(input)?.[1]
  return path !== undefined && lora !== undefined && (lora.select?.(path) ?? true)
}

/** The graph without the adapter inputs that nobody trains: their rank is 0. */
export function withoutIdleLora(graph: Graph, lora?: EncoderTraining['lora']): Graph {
  const idle = graph.inputs.filter(({ name }) => LORA_INPUT.test(name) && !isTrained(name, lora))
  if (!idle.length) return graph
  return withoutZeros(graph, new Set(idle.map(({ name }) => name)))
}

/**
 * Adds the encoder to the tape and gives the features. Its inputs keep their names.
 * @throws M4Error as `differentiable`; `SHAPE_MISMATCH` where tokens are to be left out of what has none
 */
export function encoderFeatures(tape: Tape, training: EncoderTraining, parameter: (name: string) => Value): Value {
  const { g } = tape
  const { value, skipTokens, full, frozen } = training
  const graph = withoutIdleLora(training.graph, training.lora)
  const substitutes = full?.substitutes(tape, parameter, ENCODER_PREFIX)
  const values = new Map<string, Value>(substitutes?.values)
  for (const { name, dtype, dims } of graph.inputs)
    values.set(
      name,
      LORA_INPUT.test(name) ? g.op('Unsqueeze', [parameter(name), g.int64([0])]) : g.input(name, dtype, dims),
    )
  const found = differentiable(tape, graph, {
    values,
    prefix: ENCODER_PREFIX,
    wanted: [value],
    ...(frozen ? { frozen } : {}),
    ...(substitutes ? { replace: substitutes.replace } : {}),
  }).get(value)!
  return skipTokens ? behind(g, found, skipTokens) : found
}

/** Tokens from `first` on. [B, T, C] → [B, T − first, C] */
export function behind(scope: Scope, tokens: Value, first: number): Value {
  if (tokens.dims.length !== 3)
    throw new M4Error('SHAPE_MISMATCH', `${tokens.name} has no tokens to leave out: expected [B, T, C].`)
  const end = Number.MAX_SAFE_INTEGER
  return scope.op('Slice', [tokens, scope.int64([first]), scope.int64([end]), scope.int64([1])], {}, 'patchesOnly')
}

export interface EncoderProgram {
  /** Of the encoder, then of the head. */
  readonly parameters: readonly ParameterShape[]
  /** First values: those of the checkpoint, and seeded ones. */
  initial(seed: number): Map<string, Float32Array>
  /** Inputs: the encoder's, and `target/<name>`. Outputs: loss, and the head's. */
  readonly program: Program
}

const headName = (name: string) => `head/${name}`

/** An encoder and a head that are trained together. Parameters of the head are named `head/<name>`. @throws M4Error as `loraParameters` */
export function encoderProgram(training: EncoderTraining, head: TaskHead): EncoderProgram {
  const lora = loraParameters(training)
  const full = training.full?.parameters ?? []
  const ofHead = head.parameters.map((parameter) => ({ ...parameter, name: headName(parameter.name) }))
  return {
    parameters: [...lora, ...full, ...ofHead],
    initial: (seed) =>
      new Map([
        ...[...lora, ...ofHead].map((each): [string, Float32Array] => [each.name, firstValues(each, seed)]),
        ...full.map((each): [string, Float32Array] => [each.name, each.initial()]),
      ]),
    program: (tape, parameter) =>
      attachHead(head, tape, encoderFeatures(tape, training, parameter), (name) => parameter(headName(name))),
  }
}

/** The head's part of trained parameters, by its own names. */
export const headPart = (parameters: ReadonlyMap<string, Float32Array>): Map<string, Float32Array> =>
  new Map([...parameters].flatMap(([name, data]) => (name.startsWith('head/') ? [[name.slice(5), data] as const] : [])))
