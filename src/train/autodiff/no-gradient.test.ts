/** What cannot be differentiated says so, with the reason, when its gradient is asked for; it is never silently zero. */

import { describe, expect, test } from 'vitest'
import { DTYPES } from '../../core/dtypes.js'
import { isM4Error } from '../../core/errors.js'
import { GraphBuilder, type OpName } from '../../graph/index.js'
import { gradients } from './backward.js'
import { floatInputs, floatOutputs, gradientGraph, opened } from './rules/testing/finite-differences.js'
import { CASES, CONSTANT_INPUTS, heardOf, REFUSED } from './rules/testing/gradient-cases.js'
import { GRADIENT_RULES } from './rules.js'
import { Tape } from './tape.js'

/** The message of the NOT_AVAILABLE that `run` throws. */
function refusal(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (!isM4Error(error, 'NOT_AVAILABLE')) throw error
    return error.message
  }
  return 'no error'
}

describe('operators without a gradient', () => {
  const without = CASES.filter(({ op }) => typeof GRADIENT_RULES[op] !== 'function')
  const passing = without.filter(
    ({ op, case: each }) => floatInputs(each).length && floatOutputs(op, opened(each)).length,
  )

  test.each(passing.map((each) => [each.name, each] as const))('%s: says why', (_, { op, case: opCase }) => {
    const asked = floatInputs(opCase)
    const message = refusal(() => gradientGraph(op, opened(opCase), asked, floatOutputs(op, opened(opCase))))
    expect(message).toContain((GRADIENT_RULES[op] as { reason: string }).reason)
    expect(message).toContain(op)
  })

  test('these take or give no float32 numbers: the loss cannot depend on anything through them', () => {
    const names = new Set(without.map(({ op }) => op))
    for (const { op } of passing) names.delete(op)
    expect([...names].sort()).toEqual(['Equal', 'Less', 'MatMulInteger', 'Not', 'Shape', 'Unique'])
  })
})

describe('settings that a rule refuses', () => {
  test.each(Object.entries(REFUSED))('%s: %s', (name, why) => {
    const each = CASES.find((one) => one.name === name)!
    expect(refusal(() => gradientGraph(each.op, opened(each.case), [0], [0]))).toContain(why)
  })

  test('an input that is a constant of the model', () => {
    let count = 0
    for (const each of CASES) {
      if (REFUSED[each.name]) continue
      for (const input of CONSTANT_INPUTS[each.op] ?? []) {
        if (each.case.inputs[input]?.dtype !== 'float32') continue
        expect(
          refusal(() => gradientGraph(each.op, opened(each.case), [input], heardOf(each))),
          each.name,
        ).toMatch(/gradient/)
        count++
      }
    }
    expect(count).toBeGreaterThan(8)
  })

  test('statistics of a norm', () => {
    const each = CASES.find(({ name }) => name === 'LayerNormalization: statistics')!
    expect(refusal(() => gradientGraph(each.op, opened(each.case), [0], [0, 1]))).toMatch(/statistics/)
  })
})

test('halves are frozen: nothing is trained through them', () => {
  const g = new GraphBuilder('half')
  const x = g.input('x', 'float32', [2])
  const half = g.op('Cast', [x], { to: DTYPES.float16.onnx })
  const loss = g.op('ReduceSum', [g.op('Cast', [half], { to: DTYPES.float32.onnx })], { keepdims: 0 })
  expect(refusal(() => gradients(new Tape(g), loss, [x]))).toContain('float16 to float32')
})

test('the error names the operator and its node', () => {
  const g = new GraphBuilder('floor')
  const x = g.input('x', 'float32', [2])
  const loss = g.op('ReduceSum', [g.op('Floor', [x], {}, 'layers.3/steps')], { keepdims: 0 })
  const op: OpName = 'Floor'
  expect(() => gradients(new Tape(g), loss, [x])).toThrow(`${op} layers.3/steps has no gradient`)
})

test('what the loss does not depend on has none', () => {
  const g = new GraphBuilder('apart')
  const [x, y] = [g.input('x', 'float32', [2]), g.input('y', 'float32', [2])]
  const loss = g.op('ReduceSum', [g.op('Mul', [x, x])], { keepdims: 0 })
  const [dx, dy] = gradients(new Tape(g), loss, [x, y])
  expect(dx?.dims).toEqual([2])
  expect(dy).toBeUndefined()
})
