/**
 * Gradients of an operator case two ways: by the rules, and by central differences of the operator itself in the engine.
 * What is differentiated is a fixed weighted sum of the case's float32 outputs; constants of float32 become inputs.
 */

import { type Dim, elementCount } from '../../../../core/dims.js'
import { randomSource } from '../../../../core/random.js'
import type { Engine, Session } from '../../../../engine/types.js'
import { encodeModel, type Graph, GraphBuilder, type OpName, type Value } from '../../../../graph/index.js'
import { caseGraph } from '../../../../graph/testing/case-model.js'
import { type CaseTensor, type OpCase, outputMask, toHostTensor, wave } from '../../../../graph/testing/case-types.js'
import { gradients } from '../../backward.js'
import { differentiable } from '../../frozen.js'
import { Tape } from '../../tape.js'

export type DimsOf = (tensor: CaseTensor) => readonly Dim[]

/** float32 constants as inputs: their gradients are asked for too. */
export function opened(opCase: OpCase): OpCase {
  const inputs = opCase.inputs.map((tensor) => {
    if (tensor?.dtype !== 'float32') return tensor
    const { dtype, dims, values } = tensor
    return { dtype, dims, values }
  })
  return { ...opCase, inputs }
}

/** Places of the float32 inputs that have elements. */
export const floatInputs = ({ inputs }: OpCase): number[] =>
  inputs.flatMap((tensor, i) => (tensor?.dtype === 'float32' && elementCount(tensor.dims) > 0 ? [i] : []))

/** Places of the outputs that hold numbers of float32 and are asked for. */
export function floatOutputs(op: OpName, opCase: OpCase): number[] {
  const graph = caseGraph(op, opCase)
  return outputMask(opCase).flatMap((asked, i) => (asked && graph.values.get(`y${i}`)!.dtype === 'float32' ? [i] : []))
}

/** Weights of output `i`, in the order of its elements. */
const weightsOf = (i: number, count: number) => Float32Array.from(wave(count, 40 + i))

/**
 * Inputs `x0`, … and the weights `w0`, …; outputs `dx0`, … of the `asked` inputs.
 * @throws M4Error `NOT_AVAILABLE` from the rules
 */
export function gradientGraph(
  op: OpName,
  opCase: OpCase,
  asked: readonly number[],
  heard: readonly number[],
  dimsOf?: DimsOf,
): { readonly graph: Graph | undefined; readonly missing: readonly number[] } {
  const given = caseGraph(op, opCase, dimsOf)
  const g = new GraphBuilder('gradient')
  const tape = new Tape(g)
  const values = new Map(given.inputs.map(({ name, dtype, dims }) => [name, g.input(name, dtype, dims)]))
  const made = differentiable(tape, given, { values })
  const sums = heard.map((i) => {
    const y = made.get(`y${i}`)!
    return g.op('ReduceSum', [g.op('Mul', [y, g.input(`w${i}`, 'float32', y.dims)])], { keepdims: 0 })
  })
  const loss = sums.reduce((sum, each) => g.op('Add', [sum, each]))
  const found = gradients(
    tape,
    loss,
    asked.map((i) => values.get(`x${i}`) as Value),
  )
  found.forEach((gradient, i) => {
    if (gradient) g.output(`dx${asked[i]}`, gradient)
  })
  const missing = asked.filter((_, i) => !found[i])
  return { graph: missing.length === asked.length ? undefined : g.build({ dropIdle: true }), missing }
}

const openSession = async (engine: Engine, graph: Graph): Promise<Session> =>
  engine.createSession({ bytes: await encodeModel(graph) })

/** Gradients of the asked inputs by the rules, or undefined where the sum does not depend on one. */
export async function ruleGradients(
  engine: Engine,
  graph: Graph,
  opCase: OpCase,
  outputs: ReadonlyMap<number, readonly number[]>,
): Promise<Map<number, Float32Array>> {
  using session = await openSession(engine, graph)
  const feeds = Object.fromEntries(
    session.inputs.map(({ name }) => {
      const i = Number(name.slice(1))
      if (name.startsWith('w')) {
        const dims = outputs.get(i)!
        return [name, engine.tensor('float32', dims, weightsOf(i, elementCount(dims)))]
      }
      const { dtype, dims, data } = toHostTensor(opCase.inputs[i]!)
      return [name, engine.tensor(dtype, dims, data)]
    }),
  )
  const results = await session.run(feeds)
  const found = new Map<number, Float32Array>()
  for (const [name, tensor] of Object.entries(results)) {
    const i = Number(name.slice(2))
    const { dims } = opCase.inputs[i]!
    if (tensor.dims.join() !== dims.join()) throw new Error(`${name} is [${tensor.dims}], its input [${dims}].`)
    found.set(i, (tensor.data as Float32Array).slice())
    tensor.dispose()
  }
  for (const tensor of Object.values(feeds)) tensor.dispose()
  return found
}

export interface Differences {
  /** By input: element → slope. */
  readonly gradients: ReadonlyMap<number, ReadonlyMap<number, number>>
  /** Shapes of the outputs by place. */
  readonly outputs: ReadonlyMap<number, readonly number[]>
}

export interface DifferenceOptions {
  readonly asked: readonly number[]
  readonly heard: readonly number[]
  readonly step: number
  /** Of what is smooth: two steps, and the error of the second order taken out. */
  readonly richardson: boolean
}

/** Elements of an input that are looked at: all, or as many as this drawn from it. */
const ELEMENTS = 32

function elementsOf(count: number, seed: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i)
  if (count <= ELEMENTS) return all
  const random = randomSource(seed)
  return Array.from({ length: ELEMENTS }, () => all.splice(Math.floor(random() * all.length), 1)[0]!)
}

/** Gradients by central differences: 2 runs an element, or 4. */
export async function differences(
  engine: Engine,
  op: OpName,
  opCase: OpCase,
  { asked, heard, step, richardson }: DifferenceOptions,
): Promise<Differences> {
  using session = await openSession(engine, caseGraph(op, opCase))
  const tensors = new Map(
    session.inputs.map(({ name }) => {
      const { dtype, dims, data } = toHostTensor(opCase.inputs[Number(name.slice(1))]!)
      return [name, engine.tensor(dtype, dims, data)]
    }),
  )
  const feeds = Object.fromEntries(tensors)
  const names = heard.map((i) => `y${i}`)
  const outputs = new Map<number, readonly number[]>()
  const weighted = async () => {
    const results = await session.run(feeds, names)
    let sum = 0
    for (const i of heard) {
      const { data, dims } = results[`y${i}`]!
      if (!outputs.has(i)) outputs.set(i, [...dims])
      const weights = weightsOf(i, data.length)
      for (let j = 0; j < data.length; j++) sum += Number(data[j]) * weights[j]!
    }
    for (const result of Object.values(results)) result.dispose()
    return sum
  }
  await weighted()
  const found = new Map<number, ReadonlyMap<number, number>>()
  for (const i of asked) {
    const data = tensors.get(`x${i}`)!.data as Float32Array
    const slopes = new Map<number, number>()
    for (const j of elementsOf(data.length, i)) {
      const at = data[j]!
      const slope = async (width: number) => {
        data[j] = at + width
        const [high, above] = [data[j]!, await weighted()]
        data[j] = at - width
        const [low, below] = [data[j]!, await weighted()]
        data[j] = at
        return (above - below) / (high - low)
      }
      const near = await slope(step)
      slopes.set(j, richardson ? (4 * near - (await slope(2 * step))) / 3 : near)
    }
    found.set(i, slopes)
  }
  for (const tensor of tensors.values()) tensor.dispose()
  return { gradients: found, outputs }
}

/** Smallest gradient that errors are measured by. */
const FLOOR = 1e-2

/** Largest |got - expected| as a share of the largest |expected|; NaN where one is not a number. */
export function relativeError(got: Float32Array, expected: ReadonlyMap<number, number>): number {
  let [worst, largest] = [0, FLOOR]
  for (const [i, slope] of expected) {
    const error = Math.abs(got[i]! - slope)
    if (Number.isNaN(error)) return error
    worst = Math.max(worst, error)
    largest = Math.max(largest, Math.abs(slope))
  }
  return worst / largest
}
