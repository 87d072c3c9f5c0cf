/** The rule of the goldens: |got - expected| <= atol + rtol·|expected| at every element; integers other than dots of pictures exact; bits where a case says so. */

import { elementCount, formatDims } from '../core/dims.js'
import { type DType, toFloat32 } from '../core/dtypes.js'
import { bytesOf, type HostTensor } from '../core/tensor.js'
import type { OutputSpec } from './case.js'
import type { OutputReport } from './types.js'

const REAL: ReadonlySet<DType> = new Set(['float32', 'float64', 'float16', 'bfloat16'])

/** Dots of pictures are graded like real numbers; other integers are right or wrong. */
const isGraded = (dtype: DType) => REAL.has(dtype) || dtype === 'uint8'

/** JSON has no infinity: what stands for a difference that is not finite, or cannot be told. */
const BEYOND = Number.MAX_VALUE

/** @param alwaysExact bit for bit, dtype included, for cases that do not say so of each output */
export function compareTensor(
  spec: OutputSpec,
  expected: HostTensor,
  got: HostTensor,
  alwaysExact = false,
): OutputReport {
  const { name } = spec
  const exact = alwaysExact || spec.bitPattern
  const fail = (note: string): OutputReport => ({ name, maxAbs: BEYOND, maxRel: BEYOND, pass: false, note })
  if (got.dims.join() !== expected.dims.join() || got.dims.length !== expected.dims.length)
    return fail(`expected shape ${formatDims(expected.dims)}, got ${formatDims(got.dims)}`)
  if (exact && got.dtype !== expected.dtype) return fail(`expected ${expected.dtype}, got ${got.dtype}`)
  if (REAL.has(got.dtype) !== REAL.has(expected.dtype)) return fail(`expected ${expected.dtype}, got ${got.dtype}`)
  const differences = measure(expected, got, isGraded(expected.dtype) ? spec : { atol: 0, rtol: 0 })
  const { maxAbs, maxRel, meanAbs, outside, firstOutside } = differences
  if (exact) {
    const bad = differentElement(expected, got)
    return {
      name,
      maxAbs,
      maxRel,
      pass: bad < 0,
      ...(bad < 0 ? {} : { note: `element ${bad} has other bits than the reference` }),
    }
  }
  const tooFar = spec.meanAbs !== undefined && !(meanAbs <= spec.meanAbs)
  const note = outside
    ? `${outside} of ${elementCount(got.dims)} elements out of tolerance, the first at ${firstOutside}`
    : tooFar
      ? `mean difference ${meanAbs}, at most ${spec.meanAbs} allowed`
      : undefined
  return { name, maxAbs, maxRel, pass: note === undefined, ...(note ? { note } : {}) }
}

interface Differences {
  readonly maxAbs: number
  readonly maxRel: number
  readonly meanAbs: number
  /** Elements out of tolerance. */
  readonly outside: number
  readonly firstOutside: number
}

function measure(expected: HostTensor, got: HostTensor, { atol, rtol }: { atol: number; rtol: number }): Differences {
  const [a, b] = [numbers(expected), numbers(got)]
  let [maxAbs, maxRel, sum, outside, firstOutside] = [0, 0, 0, 0, -1]
  for (let i = 0; i < a.length; i++) {
    const [want, have] = [a[i]!, b[i]!]
    // Equal infinities and NaN where NaN is expected are equal; integers beyond 2^53 are compared as they are.
    const same = Object.is(want, have) || want === have
    const abs = same ? 0 : Math.abs(Number(have) - Number(want))
    const difference = Number.isNaN(abs) || abs === Number.POSITIVE_INFINITY ? BEYOND : same ? 0 : abs
    const size = Math.abs(Number(want))
    maxAbs = Math.max(maxAbs, difference)
    if (difference && size > 0) maxRel = Math.max(maxRel, Math.min(difference / size, BEYOND))
    sum += difference
    const limit = atol + rtol * size
    if (same || (difference < BEYOND && typeof want === 'number' && difference <= limit)) continue
    if (outside++ === 0) firstOutside = i
  }
  return { maxAbs, maxRel, meanAbs: a.length ? sum / a.length : 0, outside, firstOutside }
}

function numbers({ dtype, data }: HostTensor): ArrayLike<number | bigint> {
  return dtype === 'float16' || dtype === 'bfloat16' ? toFloat32(dtype, data) : data
}

/** The first element whose bytes differ, or -1. */
function differentElement(expected: HostTensor, got: HostTensor): number {
  const [a, b] = [bytesOf(expected.data), bytesOf(got.data)]
  const at = a.findIndex((byte, i) => byte !== b[i])
  return at < 0 ? -1 : Math.floor(at / expected.data.BYTES_PER_ELEMENT)
}

/** A check of things that are right or wrong: texts, refusals, scalars. */
export function countReport(name: string, wrong: readonly string[]): OutputReport {
  const count = wrong.length
  return {
    name,
    maxAbs: count,
    maxRel: count ? 1 : 0,
    pass: count === 0,
    ...(count ? { note: `${count} differ; first: ${wrong[0]}` } : {}),
  }
}
