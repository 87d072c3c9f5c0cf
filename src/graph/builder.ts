/**
 * Writes graphs: every call checks its types at once and gives a value with a known shape and a path-like name.
 *
 *   const g = new GraphBuilder('backbone')
 *   const x = g.input('x', 'float32', ['B', 'T', 64])
 *   const attn = g.scope('layers.3').scope('attn')
 *   const q = attn.op('MatMul', [x, attn.initializer('q/weight', weight)], {}, 'q') // layers.3/attn/q [B, T, 64]
 *   g.output('q', q)
 *   const graph = g.build()
 */

import { type Dim, formatDims } from '../core/dims.js'
import { allocate, type DataOf, type DType } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type AssembleOptions, assembleGraph } from './build-graph.js'
import { canonical, freshSymbol, unifyDims } from './dims-algebra.js'
import { type AttributesOf, OPS, type OpName } from './ops.js'
import { graphAttributes, inferNode, type Typed } from './shapes.js'
import { smallIntegers, tensorFrom } from './tensors.js'
import type { Graph, GraphNode, GraphTensor, Value } from './types.js'

/** Operands of an operator; undefined where an optional one is absent. */
export type Operands = readonly (Value | undefined)[]

/** One value for each name, nothing for an absent output. */
export type OutputsOf<N extends readonly (string | undefined)[]> = {
  -readonly [I in keyof N]: N[I] extends string ? Value : N[I] extends undefined ? undefined : Value | undefined
}

/** Adds nodes and weights whose names start with one path. */
export interface Scope {
  /** '' or `layers.3/attn/`. */
  readonly prefix: string
  scope(name: string): Scope
  /** A weight. @throws M4Error `USAGE` for a name that is taken. */
  initializer(name: string, tensor: GraphTensor): Value
  /**
   * One node, its first output. Without a name: the operator's type and a running number.
   * @throws M4Error `SHAPE_MISMATCH`, `USAGE`, `UNKNOWN_NAME`
   */
  op<K extends OpName>(op: K, inputs: Operands, attributes?: AttributesOf<K>, name?: string): Value
  /** One node and all outputs that have a name; undefined skips an optional one. The first name is also the node's. */
  ops<K extends OpName, const N extends readonly (string | undefined)[]>(
    op: K,
    inputs: Operands,
    attributes: AttributesOf<K>,
    names: N,
  ): OutputsOf<N>
  /** Constants: equal ones are one. A bare number is a scalar; without dims a list has one dimension. */
  float32(values: number | ArrayLike<number>, dims?: readonly number[]): Value
  int64(values: number | ArrayLike<number>, dims?: readonly number[]): Value
  int32(values: number | ArrayLike<number>, dims?: readonly number[]): Value
}

/** Elements above which a constant is named by number, not by content. */
const NAMED_ELEMENTS = 8
/** Results up to this many elements are followed through shape arithmetic. */
const TRACKED_ELEMENTS = 64

export class GraphBuilder implements Scope {
  readonly prefix = ''
  readonly #opsets: Readonly<Record<string, number>>
  readonly #inputs: Value[] = []
  readonly #outputs: { readonly name: string; readonly value: Value }[] = []
  readonly #nodes: GraphNode[] = []
  readonly #initializers = new Map<string, GraphTensor>()
  readonly #values = new Map<string, Value>()
  readonly #contents = new Map<string, readonly Dim[]>()
  readonly #constants = new Map<string, Value>()
  readonly #counters = new Map<string, number>()
  #symbols = 0

  constructor(
    readonly name: string,
    opsets: Readonly<Record<string, number>> = { '': 21, 'com.microsoft': 1 },
  ) {
    this.#opsets = { ...opsets }
  }

  /** A graph input; symbolic sizes by the letters of core/dims. */
  input(name: string, dtype: DType, dims: readonly Dim[]): Value {
    const value = this.#define({ name, dtype, dims: dims.map(canonical) })
    this.#inputs.push(value)
    return value
  }

  /** Gives `value` to the outside under `name`. @throws M4Error `USAGE` */
  output(name: string, value: Value): void {
    this.#assertOwn(value, `Output ${name}`)
    if (this.#outputs.some((output) => output.name === name)) throw duplicate(this.name, `output "${name}"`)
    this.#outputs.push({ name, value })
  }

  scope(name: string): Scope {
    return new PrefixedScope(this, `${pathPart(name)}/`)
  }

  initializer(name: string, tensor: GraphTensor): Value {
    const value = this.#define({ name, dtype: tensor.dtype, dims: tensor.dims })
    this.#initializers.set(name, tensor)
    const content = smallIntegers(name, tensor)
    if (content) this.#contents.set(name, content)
    return value
  }

  op<K extends OpName>(op: K, inputs: Operands, attributes?: AttributesOf<K>, name?: string): Value {
    return this.addNode(op, inputs, attributes ?? {}, [name ?? this.freeName('', op)])[0]!
  }

  ops<K extends OpName, const N extends readonly (string | undefined)[]>(
    op: K,
    inputs: Operands,
    attributes: AttributesOf<K>,
    names: N,
  ): OutputsOf<N> {
    return this.addNode(op, inputs, attributes, names) as unknown as OutputsOf<N>
  }

  float32(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.#constant('float32', values, dims)
  }

  int64(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.#constant('int64', values, dims)
  }

  int32(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.#constant('int32', values, dims)
  }

  /**
   * Names the sizes that only the run can tell, where the author knows better than the rule: `refine(present, ['B', K, 'S', D])`.
   * The value is retyped from here on. @throws M4Error `SHAPE_MISMATCH` when `dims` contradict what is known.
   */
  refine(value: Value, dims: readonly Dim[]): Value {
    this.#assertOwn(value, 'refine')
    const fits =
      dims.length === value.dims.length && dims.every((dim, i) => unifyDims(value.dims[i]!, dim) !== undefined)
    if (!fits)
      throw new M4Error(
        'SHAPE_MISMATCH',
        `refine ${value.name}: expected ${formatDims(value.dims)}, got ${formatDims(dims)}.`,
        {
          hint: 'Only sizes that the rules left open can be named.',
        },
      )
    const refined = { ...value, dims: dims.map(canonical) }
    this.#values.set(value.name, refined)
    return refined
  }

  /** The nodes so far, in the order in which they run: what the backward walk of training reads. */
  get nodes(): readonly GraphNode[] {
    return this.#nodes
  }

  /** The value called `name`, if there is one. */
  value(name: string): Value | undefined {
    return this.#values.get(name)
  }

  /** The weight or constant called `name`, if there is one. */
  initializerOf(name: string): GraphTensor | undefined {
    return this.#initializers.get(name)
  }

  /**
   * The finished graph. The builder can go on afterwards; the graph does not change.
   * @throws M4Error `USAGE` without outputs, and — unless they are to be dropped — for initializers and nodes that no output depends on
   */
  build(options: AssembleOptions = {}): Graph {
    const draft = {
      name: this.name,
      opsets: this.#opsets,
      inputs: this.#inputs,
      outputs: this.#outputs,
      nodes: this.#nodes,
      initializers: this.#initializers,
      values: this.#values,
    }
    return assembleGraph(draft, options)
  }

  /** For scopes. `names` are full names. */
  addNode(op: OpName, inputs: Operands, given: object, names: readonly (string | undefined)[]): (Value | undefined)[] {
    const name = names.find((each) => each !== undefined)
    if (name === undefined)
      throw new M4Error('USAGE', `${op} in graph ${this.name}: expected a name for at least one output.`)
    for (const input of inputs) if (input) this.#assertOwn(input, `${op} ${name}`)
    const attributes = graphAttributes(op, given as Readonly<Record<string, unknown>>)
    const types = inferNode({
      op,
      name,
      inputs: inputs.map((input) => input && this.#typed(input)),
      attributes,
      outputs: names.length,
      fresh: () => freshSymbol(++this.#symbols),
    })
    // All names are checked before the first is taken: a refused node leaves no trace.
    const taken = names.find((each, i) => each !== undefined && (this.#values.has(each) || names.indexOf(each) !== i))
    if (taken !== undefined) throw duplicate(this.name, `"${taken}"`)
    const values = names.map((each, i) =>
      each === undefined ? undefined : this.#define({ name: each, ...plain(types[i]!) }),
    )
    values.forEach((value, i) => {
      const { content } = types[i]!
      if (value && content && content.length <= TRACKED_ELEMENTS) this.#contents.set(value.name, content)
    })
    const trimmed = inputs.slice(0, inputs.findLastIndex((input) => input !== undefined) + 1)
    this.#nodes.push({
      name,
      op,
      domain: OPS[op].domain,
      inputs: trimmed.map((input) => input?.name ?? ''),
      outputs: names.map((each) => each ?? ''),
      attributes,
    })
    return values
  }

  /** For scopes: `layers.3/attn/matMul1`, a name that is free. */
  freeName(prefix: string, op: OpName): string {
    const stem = `${prefix}${op[0]!.toLowerCase()}${op.slice(1)}`
    let name: string
    do {
      const next = (this.#counters.get(stem) ?? 0) + 1
      this.#counters.set(stem, next)
      name = `${stem}${next}`
    } while (this.#values.has(name))
    return name
  }

  #constant(
    dtype: 'float32' | 'int64' | 'int32',
    values: number | ArrayLike<number>,
    given?: readonly number[],
  ): Value {
    const list = typeof values === 'number' ? [values] : Array.from(values)
    const dims = given ?? (typeof values === 'number' ? [] : [list.length])
    const data = allocate(dtype, list.length)
    for (let i = 0; i < list.length; i++) {
      if (dtype !== 'float32' && !Number.isSafeInteger(list[i]))
        throw new M4Error('USAGE', `Constant ${dtype} in graph ${this.name}: expected integers, got ${list[i]}.`)
      data[i] = (dtype === 'int64' ? BigInt(list[i]!) : list[i]!) as never
    }
    // -0 and 0 are different constants.
    const text = list.map((item) => (Object.is(item, -0) ? '-0' : String(item))).join(',')
    const key = `${dtype}|${dims.join('x')}|${Array.from(data as ArrayLike<number | bigint>, (item) => (Object.is(item, -0) ? '-0' : String(item))).join()}`
    const known = this.#constants.get(key)
    if (known) return known
    const shape = dims.length === 0 ? '' : dims.length === 1 ? `[${text}]` : `${dims.join('x')}[${text}]`
    const label =
      list.length > NAMED_ELEMENTS ? `${dims.join('x')}#${this.#constants.size}` : dims.length === 0 ? text : shape
    const value = this.initializer(`constants/${dtype}/${label}`, tensorFrom(dtype, dims, data as DataOf<typeof dtype>))
    this.#constants.set(key, value)
    return value
  }

  #define(value: Value): Value {
    if (value.name === '') throw new M4Error('USAGE', `Graph ${this.name}: expected a name, got ''.`)
    if (this.#values.has(value.name)) throw duplicate(this.name, `"${value.name}"`)
    this.#values.set(value.name, value)
    return value
  }

  #typed(value: Value): Typed {
    const { dtype, dims } = this.#values.get(value.name)!
    return { dtype, dims, content: this.#contents.get(value.name) }
  }

  #assertOwn(value: Value, place: string): void {
    if (this.#values.get(value.name)?.dtype !== value.dtype)
      throw new M4Error('USAGE', `${place}: the value "${value.name}" does not belong to graph ${this.name}.`, {
        hint: 'Values can be used only in the builder that made them.',
      })
  }
}

/** Names under one path; everything else is the builder's. */
class PrefixedScope implements Scope {
  constructor(
    readonly builder: GraphBuilder,
    readonly prefix: string,
  ) {}

  scope(name: string): Scope {
    return new PrefixedScope(this.builder, `${this.prefix}${pathPart(name)}/`)
  }

  initializer(name: string, tensor: GraphTensor): Value {
    return this.builder.initializer(`${this.prefix}${pathPart(name)}`, tensor)
  }

  op<K extends OpName>(op: K, inputs: Operands, attributes?: AttributesOf<K>, name?: string): Value {
    const full = name === undefined ? this.builder.freeName(this.prefix, op) : `${this.prefix}${pathPart(name)}`
    return this.builder.addNode(op, inputs, attributes ?? {}, [full])[0]!
  }

  ops<K extends OpName, const N extends readonly (string | undefined)[]>(
    op: K,
    inputs: Operands,
    attributes: AttributesOf<K>,
    names: N,
  ): OutputsOf<N> {
    const full = names.map((name) => (name === undefined ? undefined : `${this.prefix}${pathPart(name)}`))
    return this.builder.addNode(op, inputs, attributes, full) as unknown as OutputsOf<N>
  }

  float32(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.builder.float32(values, dims)
  }

  int64(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.builder.int64(values, dims)
  }

  int32(values: number | ArrayLike<number>, dims?: readonly number[]): Value {
    return this.builder.int32(values, dims)
  }
}

const plain = ({ dtype, dims }: Typed) => ({ dtype, dims })

function pathPart(name: string): string {
  if (name === '' || name.startsWith('/') || name.endsWith('/'))
    throw new M4Error('USAGE', `Expected a path-like name such as "attn/q", got "${name}".`)
  return name
}

const duplicate = (graph: string, what: string) =>
  new M4Error('USAGE', `Graph ${graph}: expected names that are used once, got ${what} again.`, {
    hint: 'Give the second one another name or scope.',
  })
