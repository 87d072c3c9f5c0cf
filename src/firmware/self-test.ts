/**
 * The self-test of a flashed image: every graph opens, has the inputs and outputs that the manifest declares, and gives finite
 * numbers for one small input. It finds what digests cannot: an operator that this ONNX Runtime or this CPU does not run.
 */

import { formatDims } from '../core/dims.js'
import { type DType, toFloat32 } from '../core/dtypes.js'
import { isM4Error, M4Error, throwIfAborted } from '../core/errors.js'
import type { LongOperation } from '../core/progress.js'
import type { HostTensor } from '../core/tensor.js'
import type { Engine, ValueInfo } from '../engine/types.js'
import { graphsOf, type Image } from './image.js'
import type { GraphEntry } from './manifest.js'
import { probeRun } from './probe.js'

export interface SelfTestReport {
  readonly graphs: readonly { readonly name: string; readonly inputs: number; readonly outputs: number }[]
}

export interface SelfTestOptions extends LongOperation {
  readonly engine: Engine
}

/**
 * Opens and runs each graph of `image` once.
 * @throws M4Error `SELF_TEST_FAILED` naming the graph and what is wrong with it, `ABORTED`
 */
export async function selfTest(image: Image, options: SelfTestOptions): Promise<SelfTestReport> {
  const graphs = graphsOf(image.manifest)
  const passed: SelfTestReport['graphs'][number][] = []
  for (const [i, { role, graph, entry }] of graphs.entries()) {
    const name = `${role}.${graph}`
    options.onProgress?.({ task: `self-test ${name}`, done: i, total: graphs.length, unit: 'items' })
    throwIfAborted(options.signal)
    try {
      passed.push({ name, ...(await testGraph(image.graphPath(role, graph), entry, options)) })
    } catch (error) {
      throw selfTestFailure(name, error)
    }
  }
  options.onProgress?.({ task: 'self-test', done: graphs.length, total: graphs.length, unit: 'items' })
  return { graphs: passed }
}

/** Faults of the disk and of the caller stay what they are; all others are the graph's. */
const NOT_THE_GRAPH = ['ABORTED', 'DISK_FULL', 'IO', 'OUT_OF_MEMORY'] as const

/** `SELF_TEST_FAILED` of graph `name`, with what happened as its cause. */
export function selfTestFailure(name: string, error: unknown): M4Error {
  for (const code of NOT_THE_GRAPH) if (isM4Error(error, code)) return error
  return new M4Error('SELF_TEST_FAILED', `Self-test of ${name}: ${(error as Error).message}`, {
    hint: 'The slot is never run. Build the image for this ONNX Runtime version and flash again.',
    details: { graph: name, ...(isM4Error(error) ? error.details : {}) },
    cause: error,
  })
}

async function testGraph(
  path: string,
  entry: GraphEntry,
  { engine, signal }: SelfTestOptions,
): Promise<{ inputs: number; outputs: number }> {
  const session = await engine.createSession({ path })
  try {
    requirePorts('input', entry.inputs, session.inputs)
    requirePorts('output', entry.outputs, session.outputs)
    for (const [name, tensor] of Object.entries(await probeRun(engine, session, signal))) requireFinite(name, tensor)
    return { inputs: session.inputs.length, outputs: session.outputs.length }
  } finally {
    session.dispose()
  }
}

/** The manifest writes a port as its name, then type and shape: `ids int64 [B, T]`. */
const portName = (declared: string): string => declared.split(' ', 1)[0]!

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

const REAL: ReadonlySet<DType> = new Set(['float32', 'float64', 'float16', 'bfloat16'])

function requireFinite(name: string, { dtype, data, dims }: HostTensor): void {
  if (!REAL.has(dtype)) return
  const at = toFloat32(dtype, data).findIndex((value) => !Number.isFinite(value))
  if (at >= 0)
    throw new M4Error(
      'ENGINE',
      `output ${name} ${formatDims(dims)} holds a value that is not finite at element ${at}.`,
      {
        details: { output: name, element: at },
      },
    )
}
