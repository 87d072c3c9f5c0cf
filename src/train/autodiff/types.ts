/** What a gradient rule sees and gives. */

import type { GraphNode, OpName, Scope, Value } from '../../graph/index.js'
import type { ResolvedAttributes } from '../../graph/shapes/context.js'

export interface RuleContext<K extends OpName = OpName> {
  /** For the nodes of the gradient. */
  readonly scope: Scope
  readonly node: GraphNode
  /** undefined where an optional one is absent. */
  readonly inputs: readonly (Value | undefined)[]
  readonly outputs: readonly (Value | undefined)[]
  /** With defaults filled in. */
  readonly attributes: ResolvedAttributes<K>
  /** Gradient of each output; undefined where the loss does not depend on it. */
  readonly dys: readonly (Value | undefined)[]
  /** Which inputs' gradients are asked for; a rule may leave the others undefined. */
  readonly wanted: readonly boolean[]
  /** The elements of a small integer constant, such as axes; undefined when only the run knows them. */
  readonly integers: (value: Value | undefined) => readonly number[] | undefined
  /** Emitted once per key in the whole backward pass: masks, positions. */
  readonly once: (key: string, make: () => Value) => Value
}

/**
 * Gradient of one input. A function adds to what other uses of the input gave (undefined: nothing yet): a scatter into it costs
 * no pass over the whole tensor.
 */
export type Gradient = Value | ((accumulated: Value | undefined) => Value)

/** One gradient an input, in order; undefined for those not asked for. */
export type Backward<K extends OpName = OpName> = (context: RuleContext<K>) => readonly (Gradient | undefined)[]

/** Why there is none: an explicit value, so that the table stays total. */
export interface NoGradient {
  readonly reason: string
}

export type GradientRule<K extends OpName = OpName> = Backward<K> | NoGradient

/** Several nodes whose gradient is known as a whole (a loss, a quantised product): it replaces theirs. */
export interface Composite {
  readonly output: Value
  /** The values that the composite is a function of. */
  readonly inputs: readonly Value[]
  readonly backward: (scope: Scope, dy: Value, wanted: readonly boolean[]) => readonly (Gradient | undefined)[]
}
