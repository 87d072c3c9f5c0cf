/** Which samples make each step's batch: endless, seeded, and resumable from a cursor of two numbers. */

import { M4Error } from '../../core/errors.js'
import { randomSource } from '../../core/random.js'
import { shuffled } from './strata.js'

export interface BatchCursor {
  /** Passes over the data before this one. */
  readonly epoch: number
  /** Samples of this pass that were served. */
  readonly position: number
}

export interface Batch {
  /** [B], or fewer at the end of an epoch with `partial: 'keep'` */
  readonly indices: readonly number[]
  /** Of this batch. */
  readonly epoch: number
  /** Where the batch behind this one begins: record it with the step, and pass it as `from` to go on. */
  readonly next: BatchCursor
}

export interface BatchOptions {
  readonly size: number
  readonly seed: number
  /** Default true: another order each epoch. */
  readonly shuffle?: boolean
  /** What becomes of the last samples of an epoch, too few for a batch. Default keep: a shorter batch. Drop suits fixed shapes. */
  readonly partial?: 'keep' | 'drop'
  /** Default the start. */
  readonly from?: BatchCursor
  /**
   * Length of a sample: batches are then made of samples of about one length, so that little is padded. Neighbours of a few batches
   * of the seeded order are sorted, and the batches among them drawn again; asked only for samples that are about to be served.
   */
  readonly lengthOf?: (index: number) => number
}

export const FIRST_BATCH: BatchCursor = { epoch: 0, position: 0 }

/**
 * Every epoch's order depends on the seed and its number alone, so a resumed run serves what an uninterrupted one would have.
 * @throws M4Error `USAGE` for sizes, counts or cursors that are none
 */
export function batches(count: number, options: BatchOptions): Generator<Batch, never, void> {
  const { size, seed, shuffle = true, partial = 'keep', from = FIRST_BATCH } = options
  const isCount = (value: number) => Number.isInteger(value) && value >= 0
  if (!(isCount(count) && count > 0)) throw usage('a count of samples above 0', count)
  if (!(isCount(size) && size > 0)) throw usage('a batch size above 0', size)
  if (partial === 'drop' && size > count) throw usage(`a batch size up to the ${count} samples`, size)
  if (!isCount(from.epoch) || !isCount(from.position) || from.position > count)
    throw usage(`a cursor within ${count} samples`, JSON.stringify(from))
  if (!Number.isFinite(seed)) throw usage('a seed that is a number', seed)
  return serve(count, { size, seed, shuffle, partial, from, lengthOf: options.lengthOf })
}

/** Batches whose samples are sorted among each other. */
const SORTED_BATCHES = 8

interface Served extends Required<Omit<BatchOptions, 'lengthOf'>> {
  readonly lengthOf: BatchOptions['lengthOf']
}

function* serve(count: number, options: Served): Generator<Batch, never, void> {
  const { size, seed, shuffle, partial, from } = options
  const least = partial === 'drop' ? size : 1
  let { epoch, position } = from
  let order: ((position: number) => readonly number[]) | undefined
  for (;;) {
    if (count - position < least) {
      epoch++
      position = 0
      order = undefined
    }
    order ??= arranged(orderOf(count, shuffle ? epochSeed(seed, epoch) : undefined), epochSeed(seed, epoch), options)
    const indices = order(position)
    position += indices.length
    yield { indices, epoch, next: { epoch, position } }
  }
}

/** The batch at a position: as drawn, or among neighbours of one length. */
function arranged(
  order: readonly number[],
  seed: number,
  { size, lengthOf }: Served,
): (position: number) => readonly number[] {
  if (!lengthOf) return (position) => order.slice(position, position + size)
  const width = size * SORTED_BATCHES
  const windows = new Map<number, readonly number[]>()
  const window = (number: number) => {
    const sorted = order.slice(number * width, (number + 1) * width).sort((a, b) => lengthOf(a) - lengthOf(b) || a - b)
    const whole = Math.floor(sorted.length / size)
    const parts = Array.from({ length: whole }, (_, i) => sorted.slice(i * size, (i + 1) * size))
    // The short one stays last: positions count whole batches.
    return [...shuffled(parts, randomSource(epochSeed(seed, number + 1))).flat(), ...sorted.slice(whole * size)]
  }
  return (position) => {
    const number = Math.floor(position / width)
    if (!windows.has(number)) windows.set(number, window(number))
    const start = position - number * width
    return windows.get(number)!.slice(start, start + size)
  }
}

function orderOf(count: number, seed: number | undefined): readonly number[] {
  const inOrder = Array.from({ length: count }, (_, i) => i)
  return seed === undefined ? inOrder : shuffled(inOrder, randomSource(seed))
}

/** Mixes both numbers (the finaliser of MurmurHash3): neighbouring seeds and epochs must not share orders. */
function epochSeed(seed: number, epoch: number): number {
  let mixed = (seed ^ Math.imul(epoch, 0x9e3779b1)) >>> 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

const usage = (expected: string, got: unknown) => new M4Error('USAGE', `Batches: expected ${expected}, got ${got}.`)
