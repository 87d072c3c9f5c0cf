/** Trains a head on one batch, for tests. */

import { type HostTensor, hostTensor } from '../../../core/tensor.js'
import { openEngine } from '../../../engine/index.js'
import { encodeModel, type Graph } from '../../../graph/index.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from '../../schedule.js'
import { StepSession, TrainingState } from '../../state.js'
import { type ParameterShape, type Program, stepGraph } from '../../step-graph.js'
import { headGraph, headProgram, initialValues, type TaskHead } from '../index.js'

export interface Learned {
  /** Before each step. */
  readonly losses: readonly number[]
  readonly parameters: ReadonlyMap<string, Float32Array>
}

export interface LearnOptions {
  readonly steps: number
  readonly lr: number
  /** Default 1. */
  readonly seed?: number
}

export async function openTestGraph(graph: Graph) {
  const engine = await openEngine()
  const session = await engine.createSession({ bytes: await encodeModel(graph) }, { memoryPattern: false })
  return { engine, session }
}

/** All outputs for these feeds; of a step graph, parameters by `p/<name>`. */
export async function runGraph(
  graph: Graph,
  feeds: Readonly<Record<string, HostTensor>>,
): Promise<Record<string, Float32Array>> {
  const { engine, session } = await openTestGraph(graph)
  using _ = session
  const tensors = Object.entries(feeds).map(
    ([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data)] as const,
  )
  const results = Object.entries(await session.run(Object.fromEntries(tensors)))
  for (const [, tensor] of tensors) tensor.dispose()
  return Object.fromEntries(
    results.map(([name, tensor]) => {
      using result = tensor
      return [name, (result.data as Float32Array).slice()]
    }),
  )
}

/** AdamW on the same batch, step by step. */
export async function learnProgram(
  program: Program,
  shapes: readonly ParameterShape[],
  initial: ReadonlyMap<string, Float32Array>,
  batch: Readonly<Record<string, HostTensor>>,
  { steps, lr }: LearnOptions,
): Promise<Learned> {
  const { engine, session } = await openTestGraph(stepGraph('test', shapes, program, 'adamw'))
  using state = new TrainingState(engine, shapes, initial)
  using stepper = new StepSession(engine, session, state)
  const options = { ...OPTIMISER_DEFAULTS, lr, decay: 0 }
  const losses: number[] = []
  for (let step = 0; step < steps; step++) losses.push((await stepper.run(batch, scalarsAt(options, step, steps))).loss)
  return { losses, parameters: new Map(shapes.map(({ name }) => [name, state.parameter(name).slice()])) }
}

/** @param batch `features` and the head's targets by their own names */
export function learn(
  head: TaskHead,
  batch: Readonly<Record<string, HostTensor>>,
  options: LearnOptions,
): Promise<Learned> {
  const inputs = Object.fromEntries(
    Object.entries(batch).map(([name, tensor]) => [name === 'features' ? name : `target/${name}`, tensor]),
  )
  return learnProgram(
    headProgram(head),
    head.parameters,
    initialValues(head.parameters, options.seed ?? 1),
    inputs,
    options,
  )
}

/** What the head answers to these features. */
export async function answer<O extends string, T extends string, D>(
  head: TaskHead<O, T, D>,
  parameters: ReadonlyMap<string, Float32Array>,
  features: HostTensor,
): Promise<D[]> {
  const { engine, session } = await openTestGraph(headGraph(head as TaskHead))
  using _ = session
  const feeds = new Map([['features', engine.tensor(features.dtype, features.dims, features.data)]])
  const read = new Set(session.inputs.map(({ name }) => name))
  for (const { name, dims } of head.parameters)
    if (read.has(`p/${name}`))
      feeds.set(`p/${name}`, engine.tensor('float32', dims, parameters.get(name)!.slice() as never))
  const results = Object.entries(await session.run(Object.fromEntries(feeds)))
  const outputs = results.map(([name, tensor]): [string, HostTensor] => {
    using result = tensor
    return [name, hostTensor(result.dtype, result.dims, result.data.slice() as never)]
  })
  for (const tensor of feeds.values()) tensor.dispose()
  return head.decode(Object.fromEntries(outputs) as Record<O, HostTensor>)
}

/** float32 of these dims, element by element. */
export const made = (dims: readonly number[], element: (i: number) => number): HostTensor<'float32'> =>
  hostTensor(
    'float32',
    dims,
    Float32Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => element(i)),
  )
