/** Gradients of arithmetic and activations. y = f(x): dx = dy · f'(x). */

import type { OpName, Scope, Value } from '../../../graph/index.js'
import type { Backward, GradientRule, RuleContext } from '../types.js'
import { filled, sumTo } from './like.js'

type Unary = (scope: Scope, dy: Value, x: Value, y: Value) => Value

/** dx from dy, x and y. */
const unary =
  (derive: Unary): Backward<never> =>
  ({ scope, inputs, outputs, dys }: RuleContext) => [derive(scope, dys[0]!, inputs[0]!, outputs[0]!)]

type Binary = (scope: Scope, dy: Value, a: Value, b: Value, y: Value) => Value

/** da and db before the sums over broadcast axes. */
const binary =
  (forA: Binary, forB: Binary): Backward<never> =>
  ({ scope, inputs, outputs, dys, wanted }: RuleContext) => {
    const [a, b] = inputs as readonly [Value, Value]
    const one = (derive: Binary, of: Value, asked: boolean) =>
      asked ? sumTo(scope, derive(scope, dys[0]!, a, b, outputs[0]!), of) : undefined
    return [one(forA, a, wanted[0]!), one(forB, b, wanted[1]!)]
  }

const mul = (scope: Scope, a: Value, b: Value) => scope.op('Mul', [a, b])
const sub = (scope: Scope, a: Value, b: Value) => scope.op('Sub', [a, b])
const add = (scope: Scope, a: Value, b: Value) => scope.op('Add', [a, b])
const neg = (scope: Scope, x: Value) => scope.op('Neg', [x])
const scaled = (scope: Scope, x: Value, by: number) => mul(scope, x, scope.float32(by))
const oneMinus = (scope: Scope, x: Value) => sub(scope, scope.float32(1), x)
/** dy where `condition` holds, 0 elsewhere. */
const where = (scope: Scope, condition: Value, dy: Value) => scope.op('Where', [condition, dy, scope.float32(0)])

/** Shares of dy for each operand: all of it goes to the first that is the extreme, as in PyTorch's binary form where none are equal. */
const extreme: Backward<never> = ({ scope, inputs, outputs, dys, wanted }: RuleContext) => {
  const y = outputs[0]!
  const chosen = inputs.map((x) => scope.op('Cast', [scope.op('Equal', [x, y])], { to: 1 }))
  // Equal operands share the gradient, as PyTorch's maximum and minimum do.
  const count = chosen.length > 1 ? chosen.reduce((sum, each) => add(scope, sum, each)) : undefined
  return inputs.map((x, i) => {
    if (!wanted[i]) return undefined
    const share = count ? scope.op('Div', [chosen[i], count]) : chosen[i]!
    return sumTo(scope, mul(scope, dys[0]!, share), x!)
  })
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI)

/**
 * Gelu, exact: Φ(x) + x·φ(x), where Φ(x) = y/x is not used (0/0): Φ is 1 - the op itself at... so it is made from the forward:
 * y(x) - y(-x) = x and y(x) + y(-x) = x·erf(x/√2), hence Φ(x) is read from Gelu(1·x)/x only where |x| is large enough.
 */
const geluExact: Unary = (scope, dy, x, y) => {
  // φ(x) = exp(-x²/2)/√(2π)
  const density = scaled(scope, scope.op('Exp', [scaled(scope, mul(scope, x, x), -0.5)]), 1 / Math.sqrt(2 * Math.PI))
  // Φ(x) = y/x; around 0 its series: 1/2 + x/√(2π).
  const small = scope.op('Less', [scope.op('Abs', [x]), scope.float32(1e-3)])
  const safe = scope.op('Where', [small, scope.float32(1), x])
  const series = add(scope, scaled(scope, x, 1 / Math.sqrt(2 * Math.PI)), scope.float32(0.5))
  const cumulative = scope.op('Where', [small, series, scope.op('Div', [y, safe])])
  return mul(scope, dy, add(scope, cumulative, mul(scope, x, density)))
}

/** Gelu, tanh form: with u = √(2/π)(x + 0.044715 x³) and t = tanh u, y' = (1+t)/2 + x(1-t²)u'/2. */
const geluTanh: Unary = (scope, dy, x) => {
  const square = mul(scope, x, x)
  const inner = mul(
    scope,
    x,
    add(scope, scaled(scope, square, 0.044715 * SQRT_2_OVER_PI), scope.float32(SQRT_2_OVER_PI)),
  )
  const t = scope.op('Tanh', [inner])
  const slope = add(scope, scaled(scope, square, 3 * 0.044715 * SQRT_2_OVER_PI), scope.float32(SQRT_2_OVER_PI))
  const curved = mul(scope, mul(scope, x, oneMinus(scope, mul(scope, t, t))), slope)
  return mul(scope, dy, scaled(scope, add(scope, add(scope, t, scope.float32(1)), curved), 0.5))
}

const softmax: Backward<'Softmax'> = ({ scope, attributes, outputs, dys }) => {
  const [y, dy] = [outputs[0]!, dys[0]!]
  const product = mul(scope, dy, y)
  const sum = scope.op('ReduceSum', [product, scope.int64([attributes.axis!])], { keepdims: 1 })
  return [sub(scope, product, mul(scope, y, sum))]
}

const clip: Backward<'Clip'> = ({ scope, inputs, dys, wanted }) => {
  const [x, low, high] = inputs
  if (wanted[1] || wanted[2]) return []
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
  // (x·σ(αx))' = σ + α·y·(1 - σ)
  const slope = add(scope, gate, scaled(scope, mul(scope, outputs[0]!, oneMinus(scope, gate)), alpha))
  return [mul(scope, dys[0]!, slope)]
}

const pow = binary(
  // b·a^(b-1)
  (scope, dy, a, b) => mul(scope, dy, mul(scope, b, scope.op('Pow', [a, sub(scope, b, scope.float32(1))]))),
  (scope, dy, a, _b, y) => mul(scope, dy, mul(scope, y, scope.op('Log', [a]))),
)

/** Axes of a reduction as a list, and the gradient with the reduced axes back as 1. */
function reduction({ scope, inputs, attributes, dys, integers }: RuleContext<'ReduceSum'>) {
  const [x, axesInput] = inputs as [Value, Value | undefined]
  const all = x.dims.map((_, i) => i)
  const axes = axesInput ? integers(axesInput) : attributes.noop_with_empty_axes ? [] : all
  if (!axes) throw new TypeError('The axes of a reduction are known when the graph is built.')
  const back = (value: Value) =>
    attributes.keepdims || !axes.length ? value : scope.op('Unsqueeze', [value, scope.int64(positive(axes, x))])
  return { x, axes: positive(axes, x), dy: back(dys[0]!), back }
}

const positive = (axes: readonly number[], x: Value) =>
  axes.map((axis) => (axis < 0 ? axis + x.dims.length : axis)).sort((a, b) => a - b)

const spread = (scope: Scope, value: Value, like: Value) => scope.op('Expand', [value, scope.op('Shape', [like])])

const reduceSum: Backward<'ReduceSum'> = (context) => {
  const { x, dy } = reduction(context)
  return [spread(context.scope, dy, x)]
}

const reduceMean: Backward<'ReduceMean'> = (context) => {
  const { scope } = context
  const { x, axes, dy } = reduction(context as RuleContext<'ReduceSum'>)
  const known = axes.every((axis) => typeof x.dims[axis] === 'number')
  const count = known
    ? scope.float32(axes.reduce((product, axis) => product * (x.dims[axis] as number), 1))
    : scope.op('ReduceSum', [filled(scope, x, 1), scope.int64(axes)], { keepdims: 1 })
  return [spread(scope, scope.op('Div', [dy, count]), x)]
}

/** To every element that is the largest, in equal shares. */
const reduceMax: Backward<'ReduceMax'> = (context) => {
  const { scope, outputs } = context
  const { x, axes, dy, back } = reduction(context as RuleContext<'ReduceSum'>)
  const chosen = scope.op('Cast', [scope.op('Equal', [x, back(outputs[0]!)])], { to: 1 })
  const count = axes.length ? scope.op('ReduceSum', [chosen, scope.int64(axes)], { keepdims: 1 }) : scope.float32(1)
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
    (scope, dy) => neg(scope, dy),
  ),
  Mul: binary(
    (scope, dy, _a, b) => mul(scope, dy, b),
    (scope, dy, a) => mul(scope, dy, a),
  ),
  Div: binary(
    (scope, dy, _a, b) => scope.op('Div', [dy, b]),
    (scope, dy, _a, b, y) => neg(scope, scope.op('Div', [mul(scope, dy, y), b])),
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
