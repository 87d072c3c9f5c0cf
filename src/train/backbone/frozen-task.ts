/** What threads share: which matrices are to be made, from what, and where in the files each belongs. */

import { type FileHandle, open } from 'node:fs/promises'
import { bytesOf } from '../../core/tensor.js'
import type { Graph } from '../../graph/index.js'
import { type QuantisedRows, quantisedRows } from './dequantise.js'
import { backwardMatrix, bothMatrices, floatMatrix, forwardMatrix, type Int8Matrix } from './int8-matrices.js'

export type Direction = 'backward' | 'forward'

export interface FrozenEntry {
  readonly rows: number
  readonly columns: number
  readonly offset: number
  /** Absent: float32 [rows, columns]. */
  readonly scales?: { readonly offset: number; readonly count: number }
}

/** Node name → where its matrix lies. */
export type FrozenIndex = Readonly<Record<string, FrozenEntry>>

/** What a thread is to make. */
export interface FrozenTask {
  /** Model file of the decoder. */
  readonly model: string
  readonly targets: readonly { readonly direction: Direction; readonly path: string; readonly index: FrozenIndex }[]
  readonly names: readonly string[]
  /** Shared by all threads: the first of `names` that nobody has begun. */
  readonly next: Int32Array<SharedArrayBuffer>
}

/** Makes matrices of a task until none is left; one call of `done` for each node. */
export async function makeMatrices(task: FrozenTask, graph: Graph, done: () => void | Promise<void>): Promise<void> {
  const nodes = new Map(graph.nodes.map((node) => [node.name, node]))
  const files: FileHandle[] = []
  try {
    for (const { path } of task.targets) files.push(await open(path, 'r+'))
    const rooms = { backward: new Int8Array(), forward: new Int8Array() }
    for (let i = claim(task); i < task.names.length; i = claim(task)) {
      const name = task.names[i]!
      const weight = quantisedRows(graph, nodes.get(name)!)
      const count = weight.rows * weight.columns
      const wanted = task.targets.flatMap(({ direction, index }, t) => {
        const entry = index[name]
        const put = (data: ArrayBufferView, at: number) => files[t]!.write(bytesOf(data), 0, data.byteLength, at)
        return entry ? [{ direction, entry, put }] : []
      })
      for (const { entry, put } of wanted)
        if (!entry.scales) await putFloats(weight, (values, at) => put(values, entry.offset + at))
      const quantised = wanted.filter(({ entry }) => entry.scales)
      for (const { direction } of quantised)
        if (rooms[direction].length < count) rooms[direction] = new Int8Array(count)
      const room = (direction: Direction) => rooms[direction].subarray(0, count)
      const made: Partial<Record<Direction, Int8Matrix>> =
        quantised.length === 2
          ? bothMatrices(weight, room('backward'), room('forward'))
          : Object.fromEntries(quantised.map(({ direction }) => [direction, MAKE[direction](weight, room(direction))]))
      for (const { direction, entry, put } of quantised) {
        const { codes, scales } = made[direction]!
        await put(codes, entry.offset)
        await put(scales, entry.scales!.offset)
      }
      await done()
    }
  } finally {
    for (const file of files) await file.close()
  }
}

const MAKE = { backward: backwardMatrix, forward: forwardMatrix } as const satisfies Record<Direction, unknown>

const claim = ({ next }: FrozenTask): number => Atomics.add(next, 0, 1)

const FLOATS_AT_ONCE = 2 ** 20

async function putFloats(
  weight: QuantisedRows,
  put: (values: Float32Array, at: number) => Promise<unknown>,
): Promise<void> {
  const { rows, columns } = weight
  const count = Math.ceil(FLOATS_AT_ONCE / columns)
  for (let n = 0; n < rows; n += count) await put(floatMatrix(weight, n, Math.min(count, rows - n)), 4 * n * columns)
}
