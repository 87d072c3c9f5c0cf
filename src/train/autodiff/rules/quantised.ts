/** Quantised operators: their weights are frozen. Where activations must be differentiated through, ../frozen.ts gives the way. */

import type { OpName } from '../../../graph/index.js'
import type { GradientRule } from '../types.js'

const viaFrozen = {
  reason:
    'its weight is quantised; a frozen linear (autodiff/frozen.ts) gives the gradient of its input by the transposed weight',
}
const codes = { reason: 'its result is made of codes' }

export const QUANTISED_GRADIENTS = {
  DynamicQuantizeLinear: codes,
  DequantizeLinear: { reason: 'the codes that it reads are frozen' },
  MatMulInteger: codes,
  DynamicQuantizeMatMul: viaFrozen,
  MatMulNBits: viaFrozen,
  GatherBlockQuantized: { reason: 'the table that it reads is frozen' },
} as const satisfies { [K in OpName]?: GradientRule<K> }
