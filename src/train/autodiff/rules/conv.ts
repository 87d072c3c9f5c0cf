/** Gradients of convolutions. */

import type { OpName } from '../../../graph/index.js'
import type { GradientRule } from '../types.js'

export const CONV_GRADIENTS = {
  Conv: { reason: 'not written yet' },
  ConvTranspose: { reason: 'not written yet' },
} as const satisfies { [K in OpName]?: GradientRule<K> }
