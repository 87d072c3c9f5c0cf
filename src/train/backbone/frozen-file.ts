/**
 * The int8 matrices of a decoder's quantised products, in one file a direction, made once per image. Offsets are known before
 * the first matrix is made, so several threads write at once.
 */

import { existsSync } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { requireFreeBytes, temporaryBeside } from '../../core/files.js'
import { type LongOperation, yieldToEventLoop } from '../../core/progress.js'
import type { Graph, GraphNode } from '../../graph/index.js'
import { matrixSize } from './dequantise.js'
import { type Direction, type FrozenEntry, type FrozenIndex, type FrozenTask, makeMatrices } from './frozen-task.js'

/** Raised when files of before would be read wrongly: they are then made again. */
const FORMAT = 2

export const dataName = (direction: Direction) => `${direction}-${FORMAT}.bin`

/** The head's gradient stays in float: int8 logit gradients point elsewhere (cosine 0.5 with the true ones). */
const isHead = ({ name }: GraphNode) => name === 'head' || name.startsWith('head/')

/**
 * Queries, keys and values are run forwards as the device runs them: their inputs have outliers that one scale a row cannot hold.
 * With them in int8 the gradients of TinyLlama have a cosine of 0.89 with those of float32, without 0.96; leaving out others as
 * well brings nothing (bench/results).
 */
const isAttentionInput = ({ name }: GraphNode) => /\/attn\/(?:qkv|q|k|v)(?:\/|$)/.test(name)

/** Products that stay as they are where the others run in int8. */
const staysForward = (node: GraphNode) => isHead(node) || isAttentionInput(node)

/** The decoder's products with a quantised weight. */
export const isQuantised = ({ op }: GraphNode) => op === 'MatMulNBits' || op === 'DynamicQuantizeMatMul'

const ALIGNMENT = 64

/** Where every matrix of a direction goes. */
function layoutOf(graph: Graph, direction: Direction): { index: FrozenIndex; bytes: number } {
  let end = 0
  const place = (bytes: number) => {
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT
    end = offset + bytes
    return offset
  }
  const nodes = graph.nodes.filter((node) => isQuantised(node) && !(direction === 'forward' && staysForward(node)))
  const entries = nodes.map((node): [string, FrozenEntry] => {
    const { rows: N, columns: K } = matrixSize(graph, node)
    if (isHead(node)) return [node.name, { rows: N, columns: K, offset: place(N * K * 4) }]
    const [rows, columns, count] = direction === 'forward' ? [K, N, N] : [N, K, K]
    return [node.name, { rows, columns, offset: place(rows * columns), scales: { offset: place(count * 4), count } }]
  })
  return { index: Object.fromEntries(entries), bytes: end }
}

/** The same without making anything: a graph can be written, and measured, before its matrices are there. */
export const frozenIndex = (graph: Graph, direction: Direction): FrozenIndex => layoutOf(graph, direction).index

/** Threads are worth their start only for models of some size. */
const THREADED_BYTES = 50e6
const WORKER = fileURLToPath(new URL('./frozen-worker.js', import.meta.url))

/**
 * Makes the files that are not there yet, whole or not at all.
 * @param model path of the decoder's model file
 * @throws M4Error `NOT_AVAILABLE` for weights that cannot be read, `DISK_FULL`, `IO`, `ABORTED`
 */
export async function makeFrozenFiles(
  folder: string,
  model: string,
  graph: Graph,
  directions: readonly Direction[],
  options: LongOperation = {},
): Promise<void> {
  const missing = directions
    .filter((direction) => !existsSync(join(folder, dataName(direction))))
    .map((direction) => ({
      direction,
      ...layoutOf(graph, direction),
      path: temporaryBeside(join(folder, dataName(direction))),
    }))
  if (!missing.length) return
  const doing = 'Making the matrices of training'
  const bytes = missing.reduce((sum, each) => sum + each.bytes, 0)
  await requireFreeBytes(folder, bytes * 1.05, doing)
  const files: FileHandle[] = []
  try {
    await mkdir(folder, { recursive: true })
    for (const { path, bytes: size } of missing) {
      const file = await open(path, 'wx')
      files.push(file)
      await file.truncate(size)
    }
    const targets = missing.map(({ direction, path, index }) => ({ direction, path, index }))
    const next = new Int32Array(new SharedArrayBuffer(4))
    const disk = flushing(files)
    await inThreads({ model, targets, names: largestFirst(targets), next }, graph, bytes, disk.begin, options)
    await disk.finish()
    for (const file of files.splice(0)) await file.close()
    for (const { direction, path } of missing) await rename(path, join(folder, dataName(direction)))
  } catch (error) {
    throw wrapSystemError(error, doing)
  } finally {
    for (const file of files) await file.close()
    for (const { path } of missing) await rm(path, { force: true })
  }
}

/** The disk works while matrices are made: little is left to wait for at the end. */
function flushing(files: readonly FileHandle[]): { begin(): void; finish(): Promise<void> } {
  let isBusy = false
  let all: Promise<unknown> = Promise.resolve()
  const flush = () => Promise.all(files.map((file) => file.sync()))
  return {
    begin: () => {
      if (isBusy) return
      isBusy = true
      all = all.then(flush).finally(() => {
        isBusy = false
      })
      // A failure is told once for a file: it stays in `all` until the end.
      all.catch(() => undefined)
    },
    finish: async () => {
      await all
      await flush()
    },
  }
}

/** So that no thread begins a large one when the others have nothing left. */
function largestFirst(targets: FrozenTask['targets']): string[] {
  const sizes = new Map<string, number>()
  for (const { index } of targets)
    for (const [name, { rows, columns }] of Object.entries(index)) sizes.set(name, rows * columns)
  return [...sizes.keys()].sort((a, b) => sizes.get(b)! - sizes.get(a)!)
}

async function inThreads(
  task: FrozenTask,
  graph: Graph,
  bytes: number,
  onMade: () => void,
  { onProgress, signal }: LongOperation,
): Promise<void> {
  let count = 0
  const done = async () => {
    onMade()
    onProgress?.({ task: 'matrices of training', done: ++count, total: task.names.length, unit: 'items' })
    await yieldToEventLoop()
    throwIfAborted(signal)
  }
  const threads = Math.min(availableParallelism(), 4)
  // Sources that were not compiled (tests) have no file for a thread to start from.
  if (bytes < THREADED_BYTES || threads < 2 || !existsSync(WORKER)) return makeMatrices(task, graph, done)
  const workers = Array.from({ length: threads }, () => new Worker(WORKER, { workerData: task }))
  try {
    await Promise.all(workers.map((worker) => finished(worker, done)))
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()))
  }
}

/** A worker sends `null` for each matrix and, should it fail, its error as data. */
function finished(worker: Worker, done: () => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    worker.on('message', (failure: { code: 'IO'; message: string } | null) => {
      if (failure) reject(new M4Error(failure.code, failure.message))
      else done().catch(reject)
    })
    worker.on('error', reject)
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new M4Error('IO', `A thread ended with ${code}.`))))
  })
}
