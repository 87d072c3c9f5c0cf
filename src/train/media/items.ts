/** Samples → items that the runtime takes, read one after the other: a set of pictures does not fit into memory, its features do. */

import { readFile } from 'node:fs/promises'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import type { MotionRecording } from '../../media/index.js'
import type { Item } from '../../runtime/index.js'
import { type DataSet, readMotionSamples } from '../data/index.js'
import { isMediaSample, type MediaSample } from './task.js'

export interface SampleItem {
  readonly sample: MediaSample
  readonly item: Item
}

/**
 * The items of a set, in its order. Files are read, not decoded: what is wrong inside shows when they are embedded.
 * @throws M4Error `FILE_NOT_FOUND`, `IO`, `INVALID_REQUEST` for motion without times and sample rate, `ABORTED`
 */
export async function* mediaItems(set: DataSet, signal?: AbortSignal): AsyncGenerator<SampleItem, void> {
  // A table of motion holds many samples: it is parsed once, for those that follow each other.
  let table: { readonly path: string; readonly recordings: ReadonlyMap<number, MotionRecording> } | undefined
  for (const [i, sample] of set.samples.entries()) {
    throwIfAborted(signal)
    if (!isMediaSample(sample)) throw new M4Error('INVALID_REQUEST', `Sample ${i} is ${sample.kind}, expected media.`)
    if (sample.kind !== 'motion-label') {
      yield { sample, item: await fileItem(sample) }
      continue
    }
    if (table?.path !== sample.path || !table.recordings.has(i)) table = await readTable(set, i)
    yield { sample, item: { motion: motionOf(table.recordings.get(i)!) } }
  }
}

async function fileItem({ kind, path }: MediaSample): Promise<Item> {
  try {
    const bytes = await readFile(path)
    return kind === 'sound-label' ? { sound: { wav: bytes } } : { picture: { file: bytes } }
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
}

/** The samples from `from` on that lie in the same file. */
async function readTable(set: DataSet, from: number) {
  const pathAt = (i: number) => (set.samples[i] as MediaSample | undefined)?.path
  const indices = [from]
  for (let i = from + 1; pathAt(i) === pathAt(from); i++) indices.push(i)
  const recordings = await readMotionSamples(set, indices)
  return { path: pathAt(from)!, recordings: new Map(indices.map((index, k) => [index, recordings[k]!])) }
}

/** One array a channel → one row a measurement. */
function motionOf({ channels, sampleRateHz, timesS }: MotionRecording) {
  const rows = Array.from({ length: channels[0]?.length ?? 0 }, (_, n) => channels.map((channel) => channel[n]!))
  return { rows, ...(timesS ? { timesS: Array.from(timesS) } : { sampleRateHz: sampleRateHz! }) }
}

/** What a sample is called in messages: its file, for motion with its measurements. */
export const sampleName = (sample: MediaSample): string =>
  sample.kind === 'motion-label' ? `${sample.path}, measurements ${sample.start} to ${sample.end}` : sample.path

/** Equal for samples that give one vector. */
export const featureKey = (sample: MediaSample): string =>
  sample.kind === 'motion-label' ? `${sample.path}\0${sample.start}\0${sample.end}` : sample.path
