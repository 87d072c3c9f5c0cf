/** Several cases of every operator, as plain data. Total: an operator without cases does not compile. */

import type { OpName } from '../ops.js'
import type { OpCase } from './case-types.js'
import { ATTENTION_CASES } from './cases/attention.js'
import { ELEMENTWISE_CASES } from './cases/elementwise.js'
import { MOVEMENT_CASES } from './cases/movement.js'
import { PRODUCT_CASES } from './cases/products.js'
import { QUANTISED_CASES } from './cases/quantised.js'
import { GRADIENT_CASES, TRAINING_CASES } from './cases/training.js'

export { type CaseTensor, type OpCase, outputMask, toHostTensor } from './case-types.js'

export const OP_CASES: { readonly [K in OpName]: readonly OpCase<K>[] } = Object.freeze({
  ...ELEMENTWISE_CASES,
  ...MOVEMENT_CASES,
  ...PRODUCT_CASES,
  ...ATTENTION_CASES,
  ...QUANTISED_CASES,
  ...TRAINING_CASES,
})

const listed = (table: object) =>
  Object.entries(table).flatMap(([op, cases]) =>
    (cases as readonly OpCase[]).map((each) => ({ op: op as OpName, case: each })),
  )

/** The same as one list, each case with its operator; those that were written for gradients too. */
export const ALL_OP_CASES: readonly { readonly op: OpName; readonly case: OpCase }[] = [
  ...listed(OP_CASES),
  ...listed(GRADIENT_CASES),
]
