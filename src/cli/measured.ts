/** Measured values for people. */

import type { EvaluateReport } from '../train/index.js'
import { plural } from './print.js'

interface Value {
  readonly value: number
  readonly stderr: number
}

/** `0.912 ± 0.020` */
export const formatMeasured = ({ value, stderr }: Value): string => `${value.toFixed(3)} ± ${stderr.toFixed(3)}`

/** An evaluation, a row a fact. */
export function evaluationRows({ adapter, image, fit, recorded, measured, base, sameOutput }: EvaluateReport) {
  return [
    ['adapter', adapter],
    ['image', `${image.name} (${image.digest.slice(0, 12)}), fit: ${fit}`],
    [measured.name, `${formatMeasured(measured)} on ${plural(measured.count, 'sample')}`],
    ...(base ? [['base alone', formatMeasured(base)]] : []),
    [
      'recorded',
      recorded ? `${recorded.name} ${formatMeasured(recorded)} on ${plural(recorded.count, 'sample')}` : 'none',
    ],
    ...(sameOutput ? [['effect', 'none: with it, every answer is that of the base']] : []),
  ]
}
