/** What a training step will need, told from its graph before anything is loaded. */

import { readFileSync } from 'node:fs'
import { freemem, totalmem } from 'node:os'
import type { Dim } from '../core/dims.js'
import { DTYPES } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import type { Graph } from '../graph/index.js'

/** What AdamW keeps of each parameter during a step: value, two moments, their new values, and a gradient. */
export const STATE_COPIES = 7

export interface MemoryEstimate {
  /** Weights as the runtime keeps them: packed copies of matrices, the rest mapped. */
  readonly weightBytes: number
  /** The most that is alive at once between two nodes. */
  readonly activationBytes: number
  /** Trained tensors, moments and their new values. */
  readonly stateBytes: number
  /** The process itself: runtime, tokenizer, data. */
  readonly processBytes: number
  /** All of the above: what must be there. */
  readonly totalBytes: number
  /** Weights that are read from files: they count as resident on top while the system has room, and are dropped when it has not. */
  readonly mappedBytes: number
}

/** Node.js with the libraries loaded, measured. */
const PROCESS_BYTES = 150e6

/** Operators that keep a packed copy of their weight beside the mapped file. */
const PACKING = new Set(['DynamicQuantizeMatMul', 'MatMulNBits', 'MatMul'])
/** Results that are views of their input. */
const VIEWS = new Set(['Reshape', 'Squeeze', 'Unsqueeze', 'Identity'])

/**
 * Walks the graph in its order and adds up what is alive: the runtime frees a value after its last use. An estimate: the arena
 * keeps a little more, and orders may differ.
 * @param options.packs false where the session maps its weights as they are: then they are the system's to drop
 * @param sizes what the symbols of the inputs stand for, e.g. `{ B: 16, T: 64, N: 16 }`
 */
export function estimateMemory(
  graph: Graph,
  sizes: Readonly<Record<string, number>>,
  stateBytes: number,
  { packs = true }: { readonly packs?: boolean } = {},
): MemoryEstimate {
  const evaluate = sizeEvaluator(sizes)
  const bytesOf = (name: string): number => {
    const value = graph.values.get(name)
    if (!value) return 0
    return value.dims.reduce<number>((product, dim) => product * evaluate(dim), 1) * DTYPES[value.dtype].bytes
  }
  const root = new Map<string, string>()
  const rootOf = (name: string): string => root.get(name) ?? name
  const lastUse = new Map<string, number>()
  graph.nodes.forEach((node, i) => {
    if (VIEWS.has(node.op)) root.set(node.outputs[0]!, rootOf(node.inputs[0]!))
    for (const name of node.inputs) lastUse.set(rootOf(name), i)
  })
  const kept = new Set([...graph.inputs, ...graph.outputs].map(({ name }) => name))
  const alive = new Map<string, number>()
  const ending = new Map<number, string[]>()
  for (const [name, i] of lastUse) ending.set(i, [...(ending.get(i) ?? []), name])
  let [now, most] = [0, 0]
  graph.nodes.forEach((node, i) => {
    if (!VIEWS.has(node.op))
      for (const output of node.outputs) {
        if (output === '' || kept.has(output)) continue
        const bytes = bytesOf(output)
        alive.set(output, bytes)
        now += bytes
      }
    most = Math.max(most, now)
    for (const name of ending.get(i) ?? []) {
      now -= alive.get(name) ?? 0
      alive.delete(name)
    }
  })
  const weightBytes = packs ? packedBytes(graph) : 0
  const totalBytes = weightBytes + most + stateBytes + PROCESS_BYTES
  const mappedBytes = [...graph.initializers.values()].reduce(
    (sum, { place, byteLength }) => sum + (place ? byteLength : 0),
    0,
  )
  return { weightBytes, activationBytes: most, stateBytes, processBytes: PROCESS_BYTES, totalBytes, mappedBytes }
}

function packedBytes(graph: Graph): number {
  let bytes = 0
  const counted = new Set<string>()
  for (const { op, inputs } of graph.nodes) {
    if (!PACKING.has(op)) continue
    const weight = graph.initializers.get(inputs[1] ?? '')
    if (!weight || counted.has(inputs[1]!)) continue
    counted.add(inputs[1]!)
    bytes += weight.byteLength
  }
  return bytes
}

/** Symbols that only the run can tell count as 1: the sizes that matter are those of the inputs. */
export function sizeEvaluator(sizes: Readonly<Record<string, number>>): (dim: Dim) => number {
  const known = new Map<string, number>()
  return (dim) => {
    if (typeof dim === 'number') return dim
    const before = known.get(dim)
    if (before !== undefined) return before
    const value = dim
      .split('+')
      .map((term) => term.split('*').reduce((product, factor) => product * (sizes[factor] ?? (Number(factor) || 1)), 1))
      .reduce((sum, term) => sum + term, 0)
    known.set(dim, value)
    return value
  }
}

/** Bytes that a process may still take: what the system calls available, within the limit of its control group. */
export function availableBytes(): number {
  const system = /MemAvailable:\s+(\d+) kB/.exec(textOf('/proc/meminfo'))?.[1]
  const free = system === undefined ? freemem() : Number(system) * 1024
  const limit = Number(textOf('/sys/fs/cgroup/memory.max').trim())
  const used = Number(textOf('/sys/fs/cgroup/memory.current').trim())
  return Number.isFinite(limit) && limit > 0 && limit < totalmem() ? Math.min(free, limit - used) : free
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/**
 * Refuses what will not fit, before it is tried.
 * @param alternatives estimates of gentler settings, best first
 * @throws M4Error `OUT_OF_MEMORY` with what would fit
 */
export function requireMemory(
  estimate: MemoryEstimate,
  available: number,
  alternatives: readonly { readonly what: string; readonly totalBytes: number }[],
): void {
  if (estimate.totalBytes <= available) return
  const fitting = alternatives.find(({ totalBytes }) => totalBytes <= available)
  const gb = (bytes: number) => `${(bytes / 1e9).toFixed(1)} GB`
  throw new M4Error(
    'OUT_OF_MEMORY',
    `Training would need about ${gb(estimate.totalBytes)} of memory; ${gb(available)} are available.`,
    {
      hint: fitting
        ? `${fitting.what} would need about ${gb(fitting.totalBytes)}.`
        : 'No setting of this model fits: free memory, or train on a larger machine.',
      details: { estimate, availableBytes: available, alternatives },
    },
  )
}
