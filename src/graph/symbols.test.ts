/** Symbolic shapes: whatever a rule says of symbols must be what it says of numbers, once the symbols have their sizes. */

import { describe, expect, test } from 'vitest'
import type { Dim } from '../core/dims.js'
import { isM4Error } from '../core/errors.js'
import { isOpen, type OpName } from './index.js'
import { caseGraph } from './testing/case-model.js'
import { ALL_OP_CASES, type CaseTensor, type OpCase } from './testing/op-cases.js'

/** `n5` stands for 5. */
const symbolOf = (size: number): Dim => (size > 1 ? `n${size}` : size)

function sizeOf(dim: Dim): number {
  if (typeof dim === 'number') return dim
  const code = dim.replace(/\bn(\d+)/g, '$1').replace(/floor/g, 'Math.floor')
  return new Function(`return ${code}`)() as number
}

/** Compares the shapes of a case with and without symbols. */
function compareShapes(op: OpName, opCase: OpCase, dimsOf: (tensor: CaseTensor) => readonly Dim[]): void {
  const known = caseGraph(op, opCase)
  caseGraph(op, opCase, dimsOf).outputs.forEach(({ dims }, i) => {
    const sizes = dims.map((dim, axis) => (isOpen(dim) ? known.outputs[i]!.dims[axis] : sizeOf(dim)))
    expect(sizes.map(String), `${op}: ${opCase.name}`).toEqual(known.outputs[i]!.dims.map(String))
  })
}

/** Operators that meet their weights' known widths, or count heads in them, and so refuse a symbol there. */
const MEETS_WEIGHTS = [
  'MatMul',
  'Conv',
  'ConvTranspose',
  'ScatterND',
  'LayerNormalization',
  'SimplifiedLayerNormalization',
  'SkipSimplifiedLayerNormalization',
  'GroupQueryAttention',
  'MultiHeadAttention',
  'MatMulInteger',
  'DynamicQuantizeMatMul',
  'MatMulNBits',
]

/** Cases whose first axis meets a known size elsewhere, and must be refused. */
const FIRST_AXIS_IS_KNOWN = [
  'Where: three shapes',
  'Div: wider divisor',
  'FusedMatMul: both transposed, plain',
  'Conv: one by one',
]

describe('symbolic shapes agree with known ones', () => {
  test('first axis open', () => {
    const refused: string[] = []
    for (const { op, case: opCase } of ALL_OP_CASES) {
      const first = opCase.inputs.find((tensor) => tensor && !tensor.constant)?.dims ?? []
      const isBatch = ({ dims }: CaseTensor) => dims.length >= 2 && dims.length >= first.length && dims[0] === first[0]
      const open = (tensor: CaseTensor) =>
        isBatch(tensor) ? [symbolOf(first[0]!), ...tensor.dims.slice(1)] : tensor.dims
      try {
        compareShapes(op, opCase, open)
      } catch (error) {
        if (!isM4Error(error, 'SHAPE_MISMATCH')) throw error
        refused.push(`${op}: ${opCase.name}`)
      }
    }
    expect(refused).toEqual(FIRST_AXIS_IS_KNOWN)
  })

  test('every axis open: only sizes that meet known ones are refused', () => {
    const refused = new Set<string>()
    for (const { op, case: opCase } of ALL_OP_CASES) {
      try {
        compareShapes(op, opCase, ({ dims }) => dims.map(symbolOf))
      } catch (error) {
        if (!isM4Error(error, 'SHAPE_MISMATCH')) throw error
        refused.add(opCase.name === 'run-time shape' ? 'a shape tensor of unknown length' : op)
      }
    }
    expect([...refused].sort()).toEqual([...MEETS_WEIGHTS, 'a shape tensor of unknown length'].sort())
  })
})
