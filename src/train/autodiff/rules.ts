/** One gradient rule an operator, in one total table: an operator without one does not compile. */

import type { OpName } from '../../graph/index.js'
import { ATTENTION_GRADIENTS } from './rules/attention.js'
import { CONV_GRADIENTS } from './rules/conv.js'
import { ELEMENTWISE_GRADIENTS } from './rules/elementwise.js'
import { MOVEMENT_GRADIENTS } from './rules/movement.js'
import { NORM_GRADIENTS } from './rules/norms.js'
import { PRODUCT_GRADIENTS } from './rules/products.js'
import { QUANTISED_GRADIENTS } from './rules/quantised.js'
import type { GradientRule } from './types.js'

export const GRADIENT_RULES: { readonly [K in OpName]: GradientRule<K> } = Object.freeze({
  ...ELEMENTWISE_GRADIENTS,
  ...MOVEMENT_GRADIENTS,
  ...PRODUCT_GRADIENTS,
  ...NORM_GRADIENTS,
  ...CONV_GRADIENTS,
  ...ATTENTION_GRADIENTS,
  ...QUANTISED_GRADIENTS,
})
