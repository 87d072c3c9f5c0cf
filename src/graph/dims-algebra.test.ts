import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Dim } from '../core/dims.js'
import {
  addDims,
  broadcastShapes,
  canonical,
  divideExactly,
  floorDivDims,
  mulDims,
  sameDim,
  subDims,
  unifyDims,
} from './dims-algebra.js'

const SIZES: Record<string, number> = { B: 3, P: 7, T: 5 }

const evaluate = (dim: Dim): number =>
  typeof dim === 'number'
    ? dim
    : (new Function(
        `return ${dim.replace(/[BPT]/g, (name) => String(SIZES[name])).replace(/floor/g, 'Math.floor')}`,
      )() as number)

/** A random expression and its value, both built step by step. */
const expression = fc
  .array(fc.tuple(fc.constantFrom('add', 'sub', 'mul', 'floor'), fc.constantFrom<Dim>('B', 'T', 'P', 1, 2, 4)), {
    maxLength: 5,
  })
  .map((steps) => {
    let [dim, value]: [Dim, number] = ['T', 5]
    for (const [step, operand] of steps) {
      const size = evaluate(operand)
      if (step === 'add') [dim, value] = [addDims(dim, operand), value + size]
      else if (step === 'sub') [dim, value] = [subDims(dim, operand), value - size]
      else if (step === 'mul') [dim, value] = [mulDims(dim, operand), value * size]
      else [dim, value] = [floorDivDims(dim, 2), Math.floor(value / 2)]
    }
    return { dim, value }
  })

describe('dims algebra', () => {
  test('sums and products have one spelling', () => {
    expect(addDims('T', 'P')).toBe('P+T')
    expect(addDims('P', 'T')).toBe('P+T')
    expect(mulDims('T', 2)).toBe('2*T')
    expect(mulDims(64, mulDims('T', 'B'))).toBe('64*B*T')
    expect(subDims(addDims('P', 'T'), 'P')).toBe('T')
    expect(subDims('T', 'T')).toBe(0)
    expect(subDims(1, 'T')).toBe('1-T')
    expect(canonical('T + P - 1')).toBe('P+T-1')
    expect(canonical('3+4')).toBe(7)
  })

  test('quotients are exact, or floors, or unknown', () => {
    expect(divideExactly('8*B*T', mulDims('T', 4))).toBe('2*B')
    expect(divideExactly(mulDims(addDims('P', 'T'), 64), addDims('T', 'P'))).toBe(64)
    expect(divideExactly('T', 2)).toBeUndefined()
    expect(divideExactly(7, 2)).toBeUndefined()
    expect(floorDivDims(subDims('T', 1), 2)).toBe('floor((T-1)/2)')
    expect(addDims(addDims(floorDivDims(subDims('T', 1), 2), 1), 0)).toBe('floor((T-1)/2)+1')
    expect(floorDivDims('4*T', 2)).toBe('2*T')
  })

  test('names of foreign files stay whole', () => {
    expect(canonical('Resizescores_dim-2/x')).toBe('Resizescores_dim-2/x')
    expect(sameDim('a b/c', 'a b/c')).toBe(true)
    expect(sameDim('?', '?')).toBe(false)
  })

  test('broadcasting: 1 gives way, equal symbols meet, different ones do not', () => {
    expect(broadcastShapes(['B', 'T', 1], [64])).toEqual(['B', 'T', 64])
    expect(broadcastShapes(['B', 1, 'P+T'], ['T', 'T+P'])).toEqual(['B', 'T', 'P+T'])
    expect(broadcastShapes(['B', 'T'], ['B', 'S'])).toBeUndefined()
    expect(broadcastShapes([3], ['T'])).toBeUndefined()
    expect(broadcastShapes(['_1'], ['T'])).toEqual(['T'])
    expect(unifyDims('?', 4)).toBe(4)
    expect(unifyDims('T', 4)).toBeUndefined()
  })

  test('every expression has the value of its steps, and prints canonically', () => {
    fc.assert(
      fc.property(expression, ({ dim, value }) => {
        expect(evaluate(dim)).toBe(value)
        expect(canonical(dim)).toBe(dim)
      }),
      { numRuns: 300, seed: 7 },
    )
  })
})
