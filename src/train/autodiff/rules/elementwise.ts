/** Gradients of arithmetic and activations. y = f(x): dx = dy · f'(x). */

import { DTYPES } from '../../../core/dtypes.js'
import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { countOf, fromFront, noGradient, sumTo } from './like.js'

type Unary = (scope: Scope, dy: Value, x: Value, y: Value) => Value

/** dx from dy, x and y. */
const unary =
  (derive: Unary): Backward<never> =>
  ({ scope, inputs, outputs, dys }: RuleContext) => [derive(scope, dys[0]!, inputs[0]!, outputs[0]!)]

type Binary = (scope: Scope, dy: Value, a: Value, b: Value, y: Value) => Value

/** da and db before the sums over broadcast axes; the sign of db is turned behind them, where there is less to turn. */
const binary =
  (forA: Binary, forB: Binary, negativeB = false): Backward<never> =>
  ({ scope, inputs, outputs, dys, wanted }: RuleContext) => {
    const [a, b] = inputs as readonly [Value, Value]
    const one = (derive: Binary, of: Value) => sumTo(scope, derive(scope, dys[0]!, a, b, outputs[0]!), of)
    const second = wanted[1] ? one(forB, b) : undefined
    return [wanted[0] ? one(forA, a) : undefined, second && negativeB ? neg(scope, second) : second]
  }

const mul = (scope: Scope, a: Value, b: Value) => scope.op('Mul', [a, b])
const sub = (scope: Scope, a: Value, b: Value) => scope.op('Sub', [a, b])
const add = (scope: Scope, a: Value, b: Value) => scope.op('Add', [a, b])
const neg = (scope: Scope, x: Value) => scope.op('Neg', [x])
const scaled = (scope: Scope, x: Value, by: number) => (by === 1 ? x : mul(scope, x, scope.float32(by)))
const asNumbers = (scope: Scope, truth: Value) => scope.op('Cast', [truth], { to: DTYPES.float32.onnx })
const oneMinus = (scope: Scope, x: Value) => sub(scope, scope.float32(1), x)
/** dy where `condition` holds, 0 elsewhere. */
const where = (scope: Scope, condition: Value, dy: Value) => scope.op('Where', [condition, dy, scope.float32(0)])

/** dy goes to the operand that is the extreme; equal ones share it, as PyTorch's maximum and minimum do. */
const extreme: Backward<never> = ({ scope, inputs, outputs, dys, wanted }: RuleContext) => {
  const chosen = inputs.map((x) => asNumbers(scope, scope.op('Equal', [x, outputs[0]])))
  const count = chosen.length > 1 ? chosen.reduce((sum, each) => add(scope, sum, each)) : undefined
  return inputs.map((x, i) => {
    if (!wanted[i]) return undefined
    const share = count ? scope.op('Div', [chosen[i], count]) : chosen[i]!
    return sumTo(scope, mul(scope, dys[0]!, share), x!)
  })
}

/** So small that it changes no number of use; of no round value, so that no x is its negative. */
const TINY = 3.1415927e-25

/**
 * Φ(x) + x·φ(x), exact. Φ(x) = y/x would be 0/0 at 0: (y + ε/2)/(x + ε) is 1/2 there, and y/x elsewhere.
 * @paper arXiv:1606.08415
 */
const geluExact: Unary = (scope, dy, x, y) => {
  const cumulative = scope.op('Div', [add(scope, y, scope.float32(TINY / 2)), add(scope, x, scope.float32(TINY))])
  const bell = scope.op('Exp', [mul(scope, scaled(scope, x, -0.5), x)]) // √(2π)·φ(x)
  return mul(scope, dy, add(scope, cumulative, mul(scope, scaled(scope, x, 1 / Math.sqrt(2 * Math.PI)), bell)))
}

/**
 * y = x·σ(2u) with u = √(2/π)·(x + 0.044715·x³), since (1 + tanh u)/2 = σ(2u): y' = σ + y·(1 - σ)·2u'.
 * @paper arXiv:1606.08415, section 2
 */
const geluTanh: Unary = (scope, dy, x, y) => {
  const [first, third] = [2 * Math.sqrt(2 / Math.PI), 2 * Math.sqrt(2 / Math.PI) * 0.044715]
  const square = mul(scope, x, x)
  const inner = mul(scope, x, add(scope, scaled(scope, square, third), scope.float32(first))) // 2u
  const slope = add(scope, scaled(scope, square, 3 * third), scope.float32(first)) // 2u'
  return mul(scope, dy, gated(scope, y, scope.op('Sigmoid', [inner]), slope))
}

/** σ + y·(1 - σ)·slope: the derivative of y = x·σ(u) with respect to x, u' = slope. */
const gated = (scope: Scope, y: Value, gate: Value, slope: Value | undefined) => {
  const rest = mul(scope, y, oneMinus(scope, gate))
  return add(scope, gate, slope ? mul(scope, rest, slope) : rest)
}

const softmax: Backward<'Softmax'> = ({ scope, attributes, outputs, dys }) => {
  const [y, dy] = [outputs[0]!, dys[0]!]
  const product = mul(scope, dy, y)
  const sum = scope.op('ReduceSum', [product, scope.int64([attributes.axis!])], { keepdims: 1 })
  return [sub(scope, product, mul(scope, y, sum))]
}

const clip: Backward<'Clip'> = ({ scope, node, inputs, dys, wanted }) => {
  const [x, low, high] = inputs
  if (wanted[1] || wanted[2]) throw noGradient(node, 'its limits are constants')
  let dx = dys[0]!
  // At the limits themselves the gradient passes, as in PyTorch's clamp.
  if (low) dx = scope.op('Where', [scope.op('Less', [x, low]), scope.float32(0), dx])
  if (high) dx = scope.op('Where', [scope.op('Less', [high, x]), scope.float32(0), dx])
  return [dx]
}

const choose: Backward<'Where'> = ({ scope, inputs, dys, wanted }) => {
  const [condition, x, y] = inputs as [Value, Value, Value]
  const dx = () => sumTo(scope, where(scope, condition, dys[0]!), x)
  const dy = () => sumTo(scope, scope.op('Where', [condition, scope.float32(0), dys[0]!]), y)
  return [undefined, wanted[1] ? dx() : undefined, wanted[2] ? dy() : undefined]
}

const quickGelu: Backward<'QuickGelu'> = ({ scope, attributes, inputs, outputs, dys }) => {
  const alpha = attributes.alpha!
  const gate = scope.op('Sigmoid', [scaled(scope, inputs[0]!, alpha)])
  const slope = alpha === 1 ? undefined : scope.float32(alpha)
  return [mul(scope, dys[0]!, gated(scope, outputs[0]!, gate, slope))]
}

const pow = binary(
  // b·a^(b-1)
  (scope, dy, a, b) => mul(scope, dy, mul(scope, b, scope.op('Pow', [a, sub(scope, b, scope.float32(1))]))),
  (scope, dy, a, _b, y) => mul(scope, dy, mul(scope, y, scope.op('Log', [a]))),
)

interface Reduction {
  readonly x: Value
  readonly axes: readonly number[]
  /** With the reduced axes back as 1. */
  readonly dy: Value
  readonly back: (value: Value) => Value
}

function reduction(context: RuleContext<'ReduceSum' | 'ReduceMean' | 'ReduceMax'>): Reduction {
  const { scope, node, inputs, attributes, dys, integers } = context
  const [x, axesInput] = inputs as [Value, Value | undefined]
  const given = axesInput ? integers(axesInput) : []
  if (!given) throw noGradient(node, 'the axes of a reduction must be known when the graph is built')
  const all = given.length === 0 && !attributes.noop_with_empty_axes
  const axes = all ? x.dims.map((_, i) => i) : given.map((axis) => fromFront(axis, x.dims.length)).sort((a, b) => a - b)
  const back = (value: Value) =>
    attributes.keepdims || !axes.length ? value : scope.op('Unsqueeze', [value, scope.int64(axes)])
  return { x, axes, dy: back(dys[0]!), back }
}

const spread = (scope: Scope, value: Value, { x, axes }: Reduction) =>
  axes.length ? scope.op('Expand', [value, scope.op('Shape', [x])]) : value

const reduceSum: Backward<'ReduceSum'> = (context) => {
  const parts = reduction(context)
  return [spread(context.scope, parts.dy, parts)]
}

const reduceMean: Backward<'ReduceMean'> = (context) => {
  const { scope } = context
  const parts = reduction(context)
  return [spread(scope, scope.op('Div', [parts.dy, countOf(scope, parts.x, parts.axes)]), parts)]
}

/** To every element that is the largest, in equal shares, as PyTorch's amax does. */
const reduceMax: Backward<'ReduceMax'> = (context) => {
  const { scope, outputs } = context
  const { x, axes, dy, back } = reduction(context)
  if (!axes.length) return [dy]
  const chosen = asNumbers(scope, scope.op('Equal', [x, back(outputs[0]!)]))
  const count = scope.op('ReduceSum', [chosen, scope.int64(axes)], { keepdims: 1 })
  return [mul(scope, chosen, scope.op('Div', [dy, count]))]
}

const steps = { reason: 'it is constant between its steps, so its derivative says nothing' }
const truth = { reason: 'its result is true or false' }

export const ELEMENTWISE_GRADIENTS = {
  Add: binary(
    (_, dy) => dy,
    (_, dy) => dy,
  ),
  Sub: binary(
    (_, dy) => dy,
    (_, dy) => dy,
    true,
  ),
  Mul: binary(
    (scope, dy, _a, b) => mul(scope, dy, b),
    (scope, dy, a) => mul(scope, dy, a),
  ),
  Div: binary(
    (scope, dy, _a, b) => scope.op('Div', [dy, b]),
    (scope, dy, _a, b, y) => mul(scope, scope.op('Div', [dy, b]), y),
    true,
  ),
  Pow: pow,
  Max: extreme,
  Min: extreme,
  Neg: unary((scope, dy) => neg(scope, dy)),
  Abs: unary((scope, dy, x, y) => {
    // sign(x), 0 at 0: x / max(|x|, smallest)
    const sign = scope.op('Div', [x, scope.op('Max', [y, scope.float32(1e-38)])])
    return mul(scope, dy, sign)
  }),
  Sqrt: unary((scope, dy, _x, y) => scaled(scope, scope.op('Div', [dy, y]), 0.5)),
  Exp: unary((scope, dy, _x, y) => mul(scope, dy, y)),
  Log: unary((scope, dy, x) => scope.op('Div', [dy, x])),
  Reciprocal: unary((scope, dy, _x, y) => neg(scope, mul(scope, dy, mul(scope, y, y)))),
  Round: steps,
  Floor: steps,
  Clip: clip,
  Equal: truth,
  Less: truth,
  Not: truth,
  Where: choose,
  ReduceMax: reduceMax,
  ReduceMean: reduceMean,
  ReduceSum: reduceSum,
  Sigmoid: unary((scope, dy, _x, y) => mul(scope, dy, mul(scope, y, oneMinus(scope, y)))),
  Tanh: unary((scope, dy, _x, y) => mul(scope, dy, oneMinus(scope, mul(scope, y, y)))),
  Relu: unary((scope, dy, _x, y) => where(scope, scope.op('Less', [scope.float32(0), y]), dy)),
  Gelu: (context) => {
    const derive = context.attributes.approximate === 'tanh' ? geluTanh : geluExact
    return [derive(context.scope, context.dys[0]!, context.inputs[0]!, context.outputs[0]!)]
  },
  QuickGelu: quickGelu,
  Softmax: softmax,
} as const satisfies { [K in OpName]?: GradientRule<K> }
