/** A place in a space where what belongs together lies together: one matrix, length 1, InfoNCE against the other side. */

import { fixedScale, infoNce, learnedScale, unitLength } from '../losses/index.js'
import { itemRows, requireSizes } from './checks.js'
import type { HeadParameter, TaskHead } from './types.js'

export interface RetrievalConfig {
  readonly in: number
  /** Width of the space. Left out: features are compared as they are, for encoders that are trained themselves. */
  readonly out?: number
  /** Fixed. Left out: learned, from 0.07 on, as CLIP's. */
  readonly temperature?: number
  /** Largest learned scale (CLIP: 100). Default: none. */
  readonly largestScale?: number
}

/** arXiv:2103.00020 §2.5 */
const FIRST_TEMPERATURE = 0.07

/**
 *   features [B, C] → embedding [B, E] of length 1
 *   target   pair float32 [B, E]: of item i the other side's item i (its text, say); needs no length of 1
 * @throws M4Error `USAGE`
 */
export function retrievalHead(config: RetrievalConfig): TaskHead<'embedding', 'pair', Float32Array> {
  const { in: width, out = width, temperature, largestScale } = config
  const name = 'retrieval'
  requireSizes(name, { in: width, out })
  const projected = config.out !== undefined
  const projection: HeadParameter[] = projected
    ? [{ name: 'projection', dims: [out, width], start: { fanIn: width } }]
    : []
  const scale: HeadParameter[] =
    temperature === undefined
      ? [{ name: 'logScale', dims: [], start: { constant: Math.log(1 / FIRST_TEMPERATURE) } }]
      : []
  return {
    name,
    takes: 'vector',
    in: width,
    out,
    parameters: [...projection, ...scale],
    targets: { pair: { dtype: 'float32', dims: ['B', out] } },
    program: ({ tape, scope, parameter }, features) => {
      const x = projected
        ? scope.op('FusedMatMul', [features, parameter('projection')], { transB: 1 }, 'projected')
        : features
      return { embedding: unitLength(tape, scope, x) }
    },
    loss: ({ tape, scope, parameter }, { embedding }, { pair }) => {
      const by =
        temperature === undefined
          ? learnedScale(scope, parameter('logScale'), largestScale)
          : fixedScale(scope, temperature)
      return infoNce(tape, scope, embedding, unitLength(tape, scope.scope('pair'), pair), by)
    },
    decode: ({ embedding }) => itemRows(name, 'embedding', embedding, [out]).map((row) => row.slice()),
  }
}
