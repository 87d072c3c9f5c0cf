/** One small, deterministic run of any graph: inputs made from its declared types, all outputs kept. */

import { type Dim, elementCount } from '../core/dims.js'
import { allocate, type DataOf, floatToHalf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { randomSource } from '../core/random.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Engine, Session, Tensor, ValueInfo } from '../engine/types.js'

const PROBE_TOKENS = 2
const OTHER_SIZE = 2

/**
 * Size of each symbolic dimension (letters of core/dims); others get `OTHER_SIZE`. S, the capacity of a KV cache, is exactly T:
 * attention leaves what lies beyond the step unwritten in a cache that is not bound in place. N holds a few windows of a front end.
 */
const PROBE_SIZES: Readonly<Record<string, number>> = Object.freeze({
  B: 1,
  T: PROBE_TOKENS,
  S: PROBE_TOKENS,
  J: 1,
  P: 4,
  M: 80,
  N: 16_000,
  // Halved three times and more.
  Y: 16,
  X: 16,
  // Sizes that have to be equal, or 1.
  '?': 1,
})

/**
 * Inputs whose values depend on the sizes, or divide others. All other integers get 1, 0, 1, 0, … (token ids, masks, positions,
 * indices), floats small numbers around 0.
 */
const PROBE_VALUES: Readonly<Record<string, number>> = Object.freeze({
  seqlens_k: PROBE_TOKENS - 1,
  total_sequence_length: PROBE_TOKENS,
  logit_idx: 0,
  speed: 1,
  length_scale: 1,
  // Clips of a sound of N samples.
  starts: 0,
  ends: 16_000,
})

/**
 * Runs `session` once; the same graph gets the same inputs each time.
 * @throws M4Error `FORMAT_UNSUPPORTED` for an input whose size cannot be chosen, and as `Session.run`
 */
export async function probeRun(
  engine: Engine,
  session: Session,
  signal?: AbortSignal,
): Promise<Record<string, HostTensor>> {
  const feeds: Record<string, Tensor> = {}
  let results: Record<string, Tensor> = {}
  try {
    for (const input of session.inputs) feeds[input.name] = probeTensor(engine, input)
    results = await session.run(feeds, undefined, { signal })
    return Object.fromEntries(
      Object.entries(results).map(([name, { dtype, dims, data }]) => [name, hostTensor(dtype, dims, data.slice())]),
    )
  } finally {
    for (const tensor of [...Object.values(feeds), ...Object.values(results)]) tensor.dispose()
  }
}

function probeTensor(engine: Engine, { name, dtype, dims }: ValueInfo): Tensor {
  const sizes = dims.map((dim) => probeSize(dim, name))
  const data = allocate(dtype, elementCount(sizes))
  if (dtype === 'float32' || dtype === 'float64' || dtype === 'float16') {
    const uniform = randomSource(1)
    for (let i = 0; i < data.length; i++) {
      const value = PROBE_VALUES[name] ?? uniform() * 0.2 - 0.1
      data[i] = dtype === 'float16' ? floatToHalf(value) : value
    }
  } else if (dtype === 'int64') {
    for (let i = 0; i < data.length; i++) (data as DataOf<'int64'>)[i] = BigInt(PROBE_VALUES[name] ?? (i + 1) % 2)
  } else for (let i = 0; i < data.length; i++) data[i] = PROBE_VALUES[name] ?? (i + 1) % 2
  return engine.tensor(dtype, sizes, data)
}

/** Sums of products such as `T`, `2*T`, `P+T`. */
function probeSize(dim: Dim, input: string): number {
  if (typeof dim === 'number') return dim
  let sum = 0
  for (const term of dim.split('+')) {
    let product = 1
    for (const factor of term.split('*')) {
      if (!/^(\d+|\?|[A-Za-z_]\w*)$/.test(factor))
        throw new M4Error(
          'FORMAT_UNSUPPORTED',
          `Input ${input} has the size "${dim}", which no probe can be made for.`,
          {
            hint: 'Inputs take sizes such as T, 2*T or P+T.',
          },
        )
      product *= /^\d/.test(factor) ? Number(factor) : (PROBE_SIZES[factor] ?? OTHER_SIZE)
    }
    sum += product
  }
  return sum
}
