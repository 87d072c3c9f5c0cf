/**
 * The projection from an encoder's features into the backbone, trained: each item becomes a few soft tokens that stand in its row's
 * prompt in place of ids. One linear layer as PandaGPT has it, or two with a GELU between (LLaVA 1.5).
 *
 * @paper arXiv:2305.16355 §2 · arXiv:2310.03744 §3
 */

import type { Abi } from '../../firmware/manifest.js'
import type { Graph, GraphBuilder, Scope, Value } from '../../graph/index.js'
import { differentiable } from '../autodiff/frozen.js'
import type { Tape } from '../autodiff/tape.js'
import type { ParameterShape } from '../step-graph.js'

export interface SoftTokens {
  /** Width of the features, E. */
  readonly features: number
  /** Rows that an item takes in its prompt. */
  readonly tokens: number
  /** Width between the two layers; absent: one layer. */
  readonly hidden?: number
}

interface Layer {
  readonly name: string
  readonly in: number
  readonly out: number
}

function layersOf(abi: Abi, { features, tokens, hidden }: SoftTokens): Layer[] {
  const out = tokens * abi.width
  if (hidden === undefined) return [{ name: 'projection', in: features, out }]
  return [
    { name: 'projection/first', in: features, out: hidden },
    { name: 'projection/second', in: hidden, out },
  ]
}

/** `projection/weight` [n·C, E] and `/bias`: with one token the shape of PandaGPT's `llama_proj`. */
export const softTokenShapes = (abi: Abi, soft: SoftTokens): ParameterShape[] =>
  layersOf(abi, soft).flatMap(({ name, in: inner, out }) => [
    { name: `${name}/weight`, dims: [out, inner] },
    { name: `${name}/bias`, dims: [out] },
  ])

/** features [B, E] → the soft tokens of each item side by side, [B, n·C] */
export function projectedTokens(
  scope: Scope,
  abi: Abi,
  soft: SoftTokens,
  features: Value,
  parameter: (name: string) => Value,
): Value {
  const layers = layersOf(abi, soft)
  return layers.reduce((x, { name }, i) => {
    const y = affine(scope, x, parameter(`${name}/weight`), parameter(`${name}/bias`))
    return i < layers.length - 1 ? scope.op('Gelu', [y]) : y
  }, features)
}

/**
 * Inputs `features` float32 [B, E] and `slots` int64 [B·n], the rows of [B·T] that they take, item by item.
 * @param embedded [B, T, C]
 */
export function withSoftTokens(
  { g }: Tape,
  abi: Abi,
  soft: SoftTokens,
  embedded: Value,
  parameter: (name: string) => Value,
): Value {
  const scope = g.scope('soft')
  const features = g.input('features', 'float32', ['B', soft.features])
  return placed(g, embedded, projectedTokens(scope, abi, soft, features, parameter), soft.tokens)
}

/**
 * The same through the image's own graph `project`, as a device runs it: inputs `head` float32 [B, 1, E], vectors of the joint space,
 * and `slots`.
 * @param embedded [B, T, C]
 */
export function withProjected(tape: Tape, project: Graph, embedded: Value): Value {
  const { g } = tape
  const joint = project.inputs.find(({ name }) => name === 'head')!.dims[2]!
  const head = g.input('head', 'float32', ['B', 1, joint])
  const wanted = ['softToken']
  const tokens = differentiable(tape, project, { values: new Map([['head', head]]), prefix: 'project/', wanted })
  const found = tokens.get('softToken')! // [B, n, C]
  return placed(g, embedded, found, softTokensOf(project))
}

/** How many soft tokens a graph `project` gives for an item. */
export const softTokensOf = (project: Graph): number =>
  Number(project.outputs.find(({ name }) => name === 'softToken')!.dims[1])

/** Soft tokens [B·n·C in any form] at the rows `slots` of the embeddings [B, T, C]. */
function placed(g: GraphBuilder, embedded: Value, tokens: Value, count: number): Value {
  const width = Number(embedded.dims.at(-1))
  const scope = g.scope('soft')
  const slots = g.input('slots', 'int64', [count === 1 ? 'B' : `${count}*B`])
  const rows = scope.op('Reshape', [tokens, scope.int64([-1, width])], {}, 'tokens') // [B·n, C]
  const flat = scope.op('Reshape', [embedded, scope.int64([-1, width])], {}, 'flat')
  const places = scope.op('Unsqueeze', [slots, scope.int64([1])], {}, 'places')
  const filled = scope.op('ScatterND', [flat, places, rows], {}, 'placed')
  return scope.op('Reshape', [filled, scope.op('Shape', [embedded])], {}, 'embeddings')
}

const affine = (scope: Scope, x: Value, weight: Value, bias: Value): Value =>
  scope.op('Add', [scope.op('FusedMatMul', [x, weight], { transB: 1 }), bias])
