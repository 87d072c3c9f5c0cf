/**
 * One training step as one graph: a program (forward pass and loss) with its gradients and, where asked for, the optimiser.
 *
 *   inputs   what the program declares · p/<parameter> · state/m|v/<parameter>, hyper/<name> with the optimiser
 *   outputs  loss · what the program gives out ·
 *            'adamw'      next/p|m|v/<parameter>, gradientNorm
 *            'gradients'  gradient/<parameter>
 *            'accumulate' next/sum/<parameter> = state/sum/<parameter> + gradient
 *            'none'       nothing more: evaluation
 */

import { M4Error } from '../core/errors.js'
import { type Graph, GraphBuilder, type Scope, type Value } from '../graph/index.js'
import { gradients } from './autodiff/backward.js'
import { Tape } from './autodiff/tape.js'
import { adamW, type TrainedTensor } from './optimiser.js'

export interface ParameterShape {
  /** Path-like: `lora/layers.3/attn/qkv/q/A`. */
  readonly name: string
  readonly dims: readonly number[]
}

export interface ProgramResult {
  /** Scalar. */
  readonly loss: Value
  readonly outputs?: Readonly<Record<string, Value>>
}

/** Emits forward pass and loss. `parameter` gives the value of a trained tensor. */
export type Program = (tape: Tape, parameter: (name: string) => Value) => ProgramResult

export type StepKind = 'adamw' | 'gradients' | 'accumulate' | 'none'

/** @throws M4Error `NOT_AVAILABLE` where a gradient is missing or the loss does not depend on a parameter */
export function stepGraph(name: string, shapes: readonly ParameterShape[], program: Program, kind: StepKind): Graph {
  const g = new GraphBuilder(name)
  const tape = new Tape(g)
  const parameters = new Map(shapes.map((shape) => [shape.name, g.input(`p/${shape.name}`, 'float32', shape.dims)]))
  const parameter = (wanted: string): Value => {
    const value = parameters.get(wanted)
    if (!value) throw new M4Error('USAGE', `The program asks for the parameter "${wanted}", which is not declared.`)
    return value
  }
  const { loss, outputs = {} } = program(tape, parameter)
  g.output('loss', loss)
  for (const [output, value] of Object.entries(outputs)) g.output(output, value)
  if (kind !== 'none') addGradients(g, tape, loss, parameters, kind)
  return g.build({ dropIdle: true })
}

function addGradients(
  g: GraphBuilder,
  tape: Tape,
  loss: Value,
  parameters: ReadonlyMap<string, Value>,
  kind: Exclude<StepKind, 'none'>,
): void {
  const found = gradients(tape, loss, [...parameters.values()])
  const tensors: TrainedTensor[] = [...parameters].map(([name, parameter], i) => {
    const gradient = found[i]
    if (!gradient)
      throw new M4Error('NOT_AVAILABLE', `The loss does not depend on the parameter "${name}".`, {
        hint: 'It would never change: leave it out.',
      })
    return { name, parameter, gradient }
  })
  if (kind === 'adamw') {
    adamW(g, tensors)
    return
  }
  const scope: Scope = g.scope('sum')
  for (const { name, parameter, gradient } of tensors) {
    if (kind === 'gradients') g.output(`gradient/${name}`, gradient)
    else {
      const sum = g.input(`state/sum/${name}`, 'float32', parameter.dims)
      g.output(`next/sum/${name}`, scope.op('Add', [sum, gradient], {}, name))
    }
  }
}

/** The optimiser alone, over gradients that were gathered: inputs `gradient/<parameter>`, else as 'adamw'. */
export function optimiserGraph(name: string, shapes: readonly ParameterShape[]): Graph {
  const g = new GraphBuilder(name)
  const tensors = shapes.map((shape) => ({
    name: shape.name,
    parameter: g.input(`p/${shape.name}`, 'float32', shape.dims),
    gradient: g.input(`gradient/${shape.name}`, 'float32', shape.dims),
  }))
  adamW(g, tensors)
  return g.build({ dropIdle: true })
}
