/**
 * The self-test of a flashed image: every graph opens, has the inputs and outputs that the manifest declares, and gives finite
 * numbers for one small input. It finds what digests cannot: an operator that this ONNX Runtime or this CPU does not run.
 */

import type { Dim } from '../core/dims.js'
import { elementCount } from '../core/dims.js'
import { allocate, type DataOf, type DType, floatToHalf, toFloat32 } from '../core/dtypes.js'
import { isM4Error, M4Error, throwIfAborted } from '../core/errors.js'
import type { LongOperation } from '../core/progress.js'
import { randomSource } from '../core/random.js'
import type { Engine, Session, Tensor, ValueInfo } from '../engine/types.js'
import type { Image } from './image.js'
import type { Role } from './manifest.js'
import { graphsOf } from './prepack.js'

const PROBE_TOKENS = 2
/**
 * Size of each symbolic dimension in the probe (letters of core/dims). Others get `OTHER_SIZE`.
 * S is the capacity of the KV cache: exactly T, because attention leaves what lies beyond the step unwritten in a cache that is
 * not bound in place. N must hold a few windows of a front end.
 */
const PROBE_SIZES: Readonly<Record<string, number>> = Object.freeze({
  B: 1,
  T: PROBE_TOKENS,
  S: PROBE_TOKENS,
  J: 1,
  P: 4,
  M: 80,
  N: 16_000,
})
const OTHER_SIZE = 2

/** Integer inputs whose values depend on the sizes; all others get 1, 0, 1, 0, … (token ids, masks, positions, indices). */
const PROBE_VALUES: Readonly<Record<string, number>> = Object.freeze({
  seqlens_k: PROBE_TOKENS - 1,
  total_sequence_length: PROBE_TOKENS,
  logit_idx: 0,
})

export interface SelfTestReport {
  readonly graphs: readonly { readonly name: string; readonly inputs: number; readonly outputs: number }[]
}

/**
 * Opens and runs each graph of `image` once.
 * @throws M4Error `SELF_TEST_FAILED` naming the graph and what is wrong with it, `ABORTED`
 */
export async function selfTest(
  image: Image,
  options: LongOperation & { readonly engine: Engine },
): Promise<SelfTestReport> {
  const graphs = graphsOf(image.manifest)
  const passed: SelfTestReport['graphs'][number][] = []
  for (const [i, { role, graph }] of graphs.entries()) {
    const name = `${role}.${graph}`
    options.onProgress?.({ task: `self-test ${name}`, done: i, total: graphs.length, unit: 'items' })
    throwIfAborted(options.signal)
    try {
      passed.push({ name, ...(await testGraph(image, role, graph, options)) })
    } catch (error) {
      if (isM4Error(error, 'ABORTED')) throw error
      throw new M4Error('SELF_TEST_FAILED', `Self-test of ${name}: ${(error as Error).message}`, {
        hint: 'The slot stays bad and is never run. Build the image for this ONNX Runtime version and flash again.',
        details: { graph: name, ...(isM4Error(error) ? error.details : {}) },
        cause: error,
      })
    }
  }
  options.onProgress?.({ task: 'self-test', done: graphs.length, total: graphs.length, unit: 'items' })
  return { graphs: passed }
}

async function testGraph(
  image: Image,
  role: Role,
  graph: string,
  { engine, signal }: { readonly engine: Engine; readonly signal?: AbortSignal },
): Promise<{ inputs: number; outputs: number }> {
  const entry = image.manifest.modules[role]!.graphs[graph]!
  const session = await engine.createSession({ path: image.graphPath(role, graph) })
  const feeds: Record<string, Tensor> = {}
  let results: Record<string, Tensor> = {}
  try {
    requirePorts('input', entry.inputs, session.inputs)
    requirePorts('output', entry.outputs, session.outputs)
    for (const input of session.inputs) feeds[input.name] = probeTensor(engine, input)
    results = await session.run(feeds, undefined, { signal })
    for (const [name, tensor] of Object.entries(results)) requireFinite(name, tensor)
    return countPorts(session)
  } finally {
    for (const tensor of [...Object.values(feeds), ...Object.values(results)]) tensor.dispose()
    session.dispose()
  }
}

const countPorts = ({ inputs, outputs }: Session) => ({ inputs: inputs.length, outputs: outputs.length })

/** The manifest writes a port as its name, maybe followed by type and shape: `ids int64 [B, T]`. */
const portName = (declared: string): string => declared.split(/[\s:]/, 1)[0]!

function requirePorts(kind: 'input' | 'output', declared: readonly string[], found: readonly ValueInfo[]): void {
  const expected = new Set(declared.map(portName))
  const got = new Set(found.map(({ name }) => name))
  const missing = [...expected].filter((name) => !got.has(name))
  const extra = [...got].filter((name) => !expected.has(name))
  if (missing.length || extra.length)
    throw new M4Error(
      'IMAGE_INVALID',
      `the manifest declares other ${kind}s than the graph has` +
        `${missing.length ? `; missing: ${missing.join(', ')}` : ''}${extra.length ? `; not declared: ${extra.join(', ')}` : ''}.`,
      { details: { kind, missing, extra } },
    )
}

function probeTensor(engine: Engine, { name, dtype, dims }: ValueInfo): Tensor {
  const sizes = dims.map((dim) => probeSize(dim, name))
  const data = allocate(dtype, elementCount(sizes))
  if (dtype === 'float32' || dtype === 'float64' || dtype === 'float16') {
    const uniform = randomSource(1)
    for (let i = 0; i < data.length; i++) {
      const value = uniform() * 0.2 - 0.1
      data[i] = dtype === 'float16' ? floatToHalf(value) : value
    }
  } else if (dtype === 'int64') {
    for (let i = 0; i < data.length; i++) (data as DataOf<'int64'>)[i] = BigInt(PROBE_VALUES[name] ?? (i + 1) % 2)
  } else for (let i = 0; i < data.length; i++) data[i] = PROBE_VALUES[name] ?? (i + 1) % 2
  return engine.tensor(dtype, sizes, data)
}

/** A size of the probe: sums of products such as `T`, `2*T`, `P+T`. */
function probeSize(dim: Dim, input: string): number {
  if (typeof dim === 'number') return dim
  let sum = 0
  for (const term of dim.split('+')) {
    let product = 1
    for (const factor of term.split('*')) {
      if (!/^(\d+|\?|[A-Za-z_]\w*)$/.test(factor))
        throw new M4Error(
          'FORMAT_UNSUPPORTED',
          `input ${input} has the size "${dim}", which no probe can be made for.`,
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

const REAL: ReadonlySet<DType> = new Set(['float32', 'float64', 'float16', 'bfloat16'])

function requireFinite(name: string, { dtype, data, dims }: Tensor): void {
  if (!REAL.has(dtype)) return
  const at = toFloat32(dtype, data).findIndex((value) => !Number.isFinite(value))
  if (at >= 0)
    throw new M4Error(
      'ENGINE',
      `output ${name} [${dims.join(', ')}] holds a value that is not finite at element ${at}.`,
      {
        details: { output: name, element: at },
      },
    )
}
