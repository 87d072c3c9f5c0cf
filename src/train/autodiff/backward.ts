/**
 * The backward walk: nodes in reverse, each rule called once all uses of its outputs have given their gradients.
 *
 * @paper reverse accumulation: Griewank & Walther, Evaluating Derivatives (2008), ch. 3
 */

import type { Dim } from '../../core/dims.js'
import { M4Error } from '../../core/errors.js'
import {
  type GraphBuilder,
  type GraphNode,
  isOpen,
  type OpName,
  type Scope,
  sameDim,
  smallIntegers,
  unifyDims,
  type Value,
} from '../../graph/index.js'
import { FLOAT_DTYPES } from '../../graph/op-types.js'
import { resolveAttributes } from '../../graph/shapes.js'
import { reshapeLike } from './rules/like.js'
import { GRADIENT_RULES } from './rules.js'
import type { Tape } from './tape.js'
import type { Composite, Gradient, RuleContext } from './types.js'

export interface BackwardOptions {
  /** Scope of the gradient's nodes. Default `gradient`. */
  readonly scope?: string
  /** Gradient of the loss itself, e.g. a scale; default 1. */
  readonly seed?: Value
}

/**
 * Gradients of the scalar `loss` with respect to `parameters`, in order. A parameter that the loss does not depend on has none.
 * @throws M4Error `NOT_AVAILABLE` naming the node where an operator without a gradient lies between a parameter and the loss
 */
export function gradients(
  tape: Tape,
  loss: Value,
  parameters: readonly Value[],
  options: BackwardOptions = {},
): (Value | undefined)[] {
  const { g } = tape
  const scope = g.scope(options.scope ?? 'gradient')
  const nodes = [...g.nodes]
  const dependent = dependents(tape, nodes, parameters)
  const adjoints = new Adjoints(g, scope)
  adjoints.add(loss, options.seed ?? g.float32(1))
  const memo = new Map<string, Value>()
  const once = (key: string, make: () => Value) => {
    if (!memo.has(key)) memo.set(key, make())
    return memo.get(key)!
  }
  const recomputed = recomputation(tape, scope, nodes)
  for (const node of nodes.toReversed()) {
    const composite = compositeAt(tape, node)
    const dys = node.outputs.map((name) => (name === '' ? undefined : adjoints.take(name)))
    if (!dys.some(Boolean)) continue
    const inputs = composite ? composite.inputs : node.inputs.map((name) => (name ? g.value(name) : undefined))
    const wanted = inputs.map((input) => input !== undefined && dependent.has(input.name))
    if (!wanted.some(Boolean)) continue
    const inner = scope.scope(node.name)
    const results = composite
      ? composite.backward(inner, dys.find(Boolean)!, wanted)
      : applyRule(tape, node, { scope: inner, inputs, dys, wanted, once }, recomputed(node, dys.find(Boolean)!))
    inputs.forEach((input, i) => {
      const result = results[i]
      if (!input || !wanted[i]) return
      if (!result)
        throw new M4Error('NOT_AVAILABLE', `${node.op} ${node.name}: there is no gradient for its input ${input.name}.`)
      adjoints.add(input, result)
    })
  }
  return parameters.map(({ name }) => adjoints.take(name))
}

function applyRule(
  tape: Tape,
  node: GraphNode,
  given: Pick<RuleContext, 'scope' | 'inputs' | 'dys' | 'wanted' | 'once'>,
  kept: (value: Value) => Value,
): readonly (Gradient | undefined)[] {
  const { g } = tape
  const op = node.op as OpName
  const rule = GRADIENT_RULES[op]
  if (typeof rule !== 'function')
    throw new M4Error('NOT_AVAILABLE', `${op} ${node.name} has no gradient: ${rule.reason}.`, {
      hint: 'Train parameters behind it, or leave it out of the path to the loss.',
      details: { op, node: node.name },
    })
  const attributes = resolveAttributes({ op, name: node.name, attributes: node.attributes })
  const integers = (value: Value | undefined) => {
    const tensor = value && g.initializerOf(value.name)
    return tensor && smallIntegers(value.name, tensor)
  }
  const outputs = node.outputs.map((name) => (name ? kept(g.value(name)!) : undefined))
  const inputs = given.inputs.map((input) => input && kept(input))
  return rule({ ...given, inputs, node, outputs, attributes: attributes as never, integers })
}

/**
 * Where a rule finds the values of a node: in the forward pass, or, for nodes of a segment, in a second copy of the segment that
 * runs when the first gradient reaches it. What enters the copy is made to depend on that gradient (+ 0 · its maximum), or the
 * runtime would compute it early, or merge it with the first.
 */
function recomputation(
  tape: Tape,
  scope: Scope,
  nodes: readonly GraphNode[],
): (node: GraphNode, dy: Value) => (value: Value) => Value {
  const { g } = tape
  const copies = new Map<string, ReadonlyMap<string, Value>>()
  const copyOf = (segment: string, dy: Value): ReadonlyMap<string, Value> => {
    const own = nodes.filter((node) => tape.segmentOf(node) === segment)
    const inside = new Set(own.flatMap(({ outputs }) => outputs))
    const produced = new Set(nodes.flatMap(({ outputs }) => outputs))
    const part = scope.scope(`again/${segment}`)
    const nothing = part.op('Mul', [part.op('ReduceMax', [dy], { keepdims: 0 }), part.float32(0)])
    const values = new Map<string, Value>()
    const input = (name: string): Value | undefined => {
      if (name === '') return undefined
      const known = values.get(name)
      if (known) return known
      const value = g.value(name)!
      const enters = produced.has(name) && !inside.has(name) && value.dtype === 'float32'
      const used = enters ? part.op('Add', [value, nothing]) : value
      values.set(name, used)
      return used
    }
    for (const node of own) {
      const names = node.outputs.map((name) => (name === '' ? undefined : `${part.prefix}${name}`))
      const outputs = g.addNode(node.op as OpName, node.inputs.map(input), node.attributes, names)
      node.outputs.forEach((name, i) => {
        if (name !== '') values.set(name, outputs[i]!)
      })
    }
    return values
  }
  return (node, dy) => {
    const segment = tape.segmentOf(node)
    if (segment === undefined) return (value) => value
    let copy = copies.get(segment)
    if (!copy) {
      copy = copyOf(segment, dy)
      copies.set(segment, copy)
    }
    const values = copy
    return (value) => values.get(value.name) ?? value
  }
}

const compositeAt = (tape: Tape, node: GraphNode): Composite | undefined => {
  for (const output of node.outputs) {
    const found = output && tape.compositeOf(output)
    if (found) return found
  }
  return undefined
}

/** Names of the values that depend on a parameter and carry numbers. */
function dependents(tape: Tape, nodes: readonly GraphNode[], parameters: readonly Value[]): ReadonlySet<string> {
  const found = new Set(parameters.map(({ name }) => name))
  for (const node of nodes) {
    const composite = compositeAt(tape, node)
    const inputs = composite ? composite.inputs.map(({ name }) => name) : node.inputs
    if (!inputs.some((name) => found.has(name))) continue
    for (const name of node.outputs) if (carriesNumbers(tape.g.value(name))) found.add(name)
  }
  return found
}

/** Halves too: their rules say that they have no gradient, instead of silently none. */
const carriesNumbers = (value: Value | undefined): boolean => value !== undefined && FLOAT_DTYPES.includes(value.dtype)

/** Gradients gathered for each value, added up when the value's own node is reached. */
class Adjoints {
  readonly #gathered = new Map<string, Gradient[]>()

  constructor(
    readonly g: GraphBuilder,
    readonly scope: Scope,
  ) {}

  add({ name }: Value, given: Gradient): void {
    const gradient = typeof given === 'function' ? given : this.#typed(name, given)
    const list = this.#gathered.get(name)
    if (list) list.push(gradient)
    else this.#gathered.set(name, [gradient])
  }

  /** The sum; what is a function goes last, to add into the rest. */
  take(name: string): Value | undefined {
    const list = this.#gathered.get(name)
    if (!list) return undefined
    const plain = list.filter((gradient) => typeof gradient !== 'function')
    let sum: Value | undefined = plain.length ? this.#sum(plain) : undefined
    for (const gradient of list) if (typeof gradient === 'function') sum = this.#typed(name, gradient(sum))
    this.#gathered.set(name, [sum!])
    return sum
  }

  #sum(values: readonly Value[]): Value {
    return values.reduce((sum, value) => this.scope.op('Add', [sum, value]))
  }

  /** A gradient has the shape of its value: sizes that the rules left to the run get their names back, and mistakes show here. */
  #typed(name: string, gradient: Value): Value {
    const value = this.g.value(name)!
    const fits = (of: (a: Dim, b: Dim) => boolean) =>
      gradient.dims.length === value.dims.length && gradient.dims.every((dim, i) => of(dim, value.dims[i]!))
    if (fits(sameDim)) return gradient
    const dims = value.dims.map((dim, i) => (isOpen(dim) ? (gradient.dims[i] ?? dim) : dim))
    // Equal in every run, but not by the algebra of sizes: floor((2*T-1)/2)+1 is T.
    const mayBe = fits((a, b) => typeof a !== 'number' || typeof b !== 'number' || a === b)
    const proven = fits((a, b) => unifyDims(a, b) !== undefined)
    return mayBe && !proven ? reshapeLike(this.scope, gradient, value) : this.g.refine(gradient, dims)
  }
}
