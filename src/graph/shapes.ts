/** Types of all outputs of a node from the types of its inputs: one rule an operator, in one total table. */

import type { Dim } from '../core/dims.js'
import { M4Error, unknownName } from '../core/errors.js'
import { type AttributeSpec, type AttributeType, arity, isRequired, type OpSignature } from './op-types.js'
import { OPS, type OpName } from './ops.js'
import { ATTENTION_RULES } from './shapes/attention.js'
import type { ShapeRule, Typed } from './shapes/context.js'
import { ELEMENTWISE_RULES } from './shapes/elementwise.js'
import { MOVEMENT_RULES } from './shapes/movement.js'
import { PRODUCT_RULES } from './shapes/products.js'
import { QUANTISED_RULES } from './shapes/quantised.js'
import { TRAINING_RULES } from './shapes/training.js'
import type { AttributeValue } from './types.js'

export type { Typed } from './shapes/context.js'

/** Total: an operator without a rule does not compile. */
export const SHAPE_RULES: { readonly [K in OpName]: ShapeRule<K> } = Object.freeze({
  ...ELEMENTWISE_RULES,
  ...MOVEMENT_RULES,
  ...PRODUCT_RULES,
  ...ATTENTION_RULES,
  ...QUANTISED_RULES,
  ...TRAINING_RULES,
})

/** What `inferNode` needs to know of a node. */
export interface NodeTypes {
  readonly op: OpName
  readonly name: string
  /** undefined where an optional input is absent. */
  readonly inputs: readonly (Typed | undefined)[]
  readonly attributes: Readonly<Record<string, AttributeValue>>
  readonly outputs: number
  /** A new symbol for a size that only the run can tell. */
  readonly fresh: () => Dim
}

/**
 * Types of the first `outputs` outputs of a node.
 * @throws M4Error `USAGE` for a wrong number of inputs or outputs, or a missing or ill-typed attribute; `UNKNOWN_NAME` for an
 * attribute that the operator does not have; `SHAPE_MISMATCH` when the operator does not take these types.
 */
export function inferNode(node: NodeTypes): readonly Typed[] {
  const signature: OpSignature = OPS[node.op]
  checkArity(node, signature)
  const attributes = resolveAttributes(node)
  const rule = SHAPE_RULES[node.op] as unknown as ShapeRule
  const types = rule({ ...node, attributes: attributes as never })
  return types.slice(0, node.outputs)
}

function checkArity(node: NodeTypes, signature: OpSignature): void {
  const counts = [
    ['input', node.inputs.length, signature.inputs],
    ['output', node.outputs, signature.outputs],
  ] as const
  for (const [what, got, names] of counts) {
    const { min, max } = arity(names)
    if (got < min || got > max)
      throw new M4Error(
        'USAGE',
        `${node.op} ${node.name}: expected ${range(min, max)} ${what}s (${names.join(', ')}), got ${got}.`,
      )
  }
  node.inputs.forEach((input, i) => {
    if (!input && isRequired(signature.inputs, i))
      throw new M4Error(
        'USAGE',
        `${node.op} ${node.name}: expected a value for input "${signature.inputs[i]}", got none.`,
      )
  })
}

const range = (min: number, max: number): string =>
  min === max ? String(min) : max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`

/** Attributes by name, checked, with defaults filled in and floats unwrapped. */
export function resolveAttributes(node: Pick<NodeTypes, 'op' | 'name' | 'attributes'>): Record<string, unknown> {
  const { attributes: specs }: OpSignature = OPS[node.op]
  for (const name of Object.keys(node.attributes))
    if (!Object.hasOwn(specs, name))
      throw unknownName(`attribute of ${node.op} (${node.name})`, name, Object.keys(specs))
  const out: Record<string, unknown> = {}
  for (const [name, spec] of Object.entries(specs)) {
    const value = node.attributes[name]
    if (value === undefined && spec.required)
      throw new M4Error('USAGE', `${node.op} ${node.name}: the attribute "${name}" (${spec.type}) is missing.`)
    out[name] = value === undefined ? spec.default : plainAttribute(node, name, spec, value)
  }
  return out
}

const isNumbers = (value: unknown): value is readonly number[] =>
  Array.isArray(value) && value.every((item) => typeof item === 'number')

/** For each type: the plain value of an attribute, or undefined when it is of another type. */
const PLAIN: { readonly [T in AttributeType]: (value: AttributeValue) => unknown } = {
  int: (value) => (Number.isSafeInteger(value) ? value : undefined),
  float: (value) => (typeof value === 'object' && 'float' in value ? value.float : undefined),
  string: (value) => (typeof value === 'string' ? value : undefined),
  ints: (value) => (isNumbers(value) && value.every(Number.isSafeInteger) ? value : undefined),
  floats: (value) => (typeof value === 'object' && 'floats' in value ? value.floats : undefined),
  strings: (value) => (Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined),
  tensor: (value) => (typeof value === 'object' && 'byteLength' in value ? value : undefined),
  graph: (value) => (typeof value === 'object' && 'nodes' in value ? value : undefined),
}

function plainAttribute(
  node: Pick<NodeTypes, 'op' | 'name'>,
  name: string,
  spec: AttributeSpec,
  value: AttributeValue,
): unknown {
  const plain = PLAIN[spec.type](value)
  if (plain === undefined)
    throw new M4Error(
      'USAGE',
      `${node.op} ${node.name}: expected the attribute "${name}" as ${spec.type}, got ${JSON.stringify(value)}.`,
    )
  return plain
}

/** Caller's attributes as graph data: numbers of float attributes are marked as such. */
export function graphAttributes(op: OpName, given: Readonly<Record<string, unknown>>): Record<string, AttributeValue> {
  const specs: OpSignature['attributes'] = OPS[op].attributes
  const out: Record<string, AttributeValue> = {}
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined) continue
    const type = Object.hasOwn(specs, name) ? specs[name]!.type : undefined
    if (type === 'float' && typeof value === 'number') out[name] = { float: value }
    else if (type === 'floats' && isNumbers(value)) out[name] = { floats: value }
    else out[name] = value as AttributeValue
  }
  return out
}
