/** How good a head is: measured through the runtime, the way it will be served, and against what the image can do without it. */

import { M4Error } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import { applyHead, type HeadAdapter } from '../../runtime/class-head.js'
import { cosine, type Firmware, type Item } from '../../runtime/index.js'
import { toUnitLength } from '../../runtime/tower.js'
import { type EmbeddedSet, expectedOf, type MediaSet } from './features.js'
import { mediaItems } from './items.js'
import type { MediaSample, MediaTask } from './task.js'

export interface MediaMeasured {
  /** recall-at-1: captions whose own picture is the nearest of all that were measured. */
  readonly name: 'accuracy' | 'recall-at-1'
  readonly value: number
  readonly count: number
  /** Of the mean of `count` yes-or-no outcomes. */
  readonly stderr: number
  /** What came out, in the order of the samples: labels, or numbers of pictures. */
  readonly outputs: readonly string[]
}

export interface MediaBase extends MediaMeasured {
  /**
   * What stands against the adapter: the image's own choice among the labels by their names (or of captions by their vectors), where
   * it reads texts into the same space; else the most frequent class, or a draw.
   */
  readonly how: 'zero-shot' | 'majority-class' | 'chance'
}

/** What is asked, and the right answer: a label or a caption. */
export interface Measurable {
  readonly item: Item
  readonly expected: string
}

/**
 * A classifier through `match`, a projection through `embed` and `retrieve`.
 * @param total for the progress
 * @throws M4Error `EMPTY_INPUT` without samples; as the runtime
 */
export async function measureHead(
  firmware: Firmware,
  adapter: HeadAdapter,
  samples: AsyncIterable<Measurable> | Iterable<Measurable>,
  { signal, onProgress, total }: LongOperation & { readonly total?: number } = {},
): Promise<MediaMeasured> {
  const classes = adapter.type === 'classifier'
  const expected: string[] = []
  const labels: string[] = []
  const gallery: Float32Array[] = []
  for await (const sample of samples) {
    expected.push(sample.expected)
    const items = [sample.item]
    if (classes) labels.push((await firmware.ask({ task: 'match', items, adapter, signal })).output.matches[0]!.label)
    else gallery.push((await firmware.ask({ task: 'embed', items, adapter, signal })).output.embeddings[0]!)
    onProgress?.({
      task: 'measure',
      done: expected.length,
      ...(total === undefined ? {} : { total }),
      unit: 'items',
    })
  }
  if (!expected.length) throw new M4Error('EMPTY_INPUT', 'There are no samples to measure on.')
  if (classes) return measured('accuracy', labels, expected)
  return measured('recall-at-1', await nearest(firmware, expected, gallery, adapter, signal), places(expected))
}

/** The picture that each caption finds, by its number. */
async function nearest(
  firmware: Firmware,
  captions: readonly string[],
  gallery: readonly Float32Array[],
  adapter: HeadAdapter | undefined,
  signal: AbortSignal | undefined,
): Promise<string[]> {
  const items = gallery.map((embedding) => ({ embedding }))
  const { output } = await firmware.ask({
    task: 'retrieve',
    texts: captions,
    gallery: items,
    top: 1,
    window: 'mean',
    adapter,
    signal,
  })
  return output.results.map(([first]) => String(first!.index))
}

const places = (of: readonly unknown[]) => of.map((_, i) => String(i))

function measured(name: MediaMeasured['name'], outputs: readonly string[], expected: readonly string[]): MediaMeasured {
  const count = expected.length
  const value = outputs.filter((output, i) => output === expected[i]).length / count
  return { name, value, count, stderr: Math.sqrt((value * (1 - value)) / count), outputs }
}

/**
 * The image without the adapter, on the same samples.
 * @param train what the majority class is told from
 */
export async function measureBase(
  firmware: Firmware,
  task: MediaTask,
  { set }: Pick<EmbeddedSet, 'set'>,
  train: readonly MediaSample[],
  signal?: AbortSignal,
): Promise<MediaBase> {
  const expected = set.samples.map(expectedOf)
  if (task.head === 'retrieval') {
    if (task.joint) {
      const found = await nearest(firmware, expected, await jointVectors(firmware, set, signal), undefined, signal)
      return { ...measured('recall-at-1', found, places(expected)), how: 'zero-shot' }
    }
    const value = 1 / expected.length
    const stderr = Math.sqrt((value * (1 - value)) / expected.length)
    return { name: 'recall-at-1', value, count: expected.length, stderr, outputs: [], how: 'chance' }
  }
  if (!task.joint) {
    const majority = mostFrequent(train.map(expectedOf))
    return {
      ...measured(
        'accuracy',
        expected.map(() => majority),
        expected,
      ),
      how: 'majority-class',
    }
  }
  // As `match` with labels, but the labels are read once and not once a sample.
  const { embeddings } = (await firmware.ask({ task: 'embed', texts: task.labels, signal })).output
  const outputs = (await jointVectors(firmware, set, signal)).map((vector) => {
    const similarities = embeddings.map((label) => cosine(vector, label))
    return task.labels[similarities.indexOf(Math.max(...similarities))]!
  })
  return { ...measured('accuracy', outputs, expected), how: 'zero-shot' }
}

/** Not the features: those know more than the space does, and no text lies among them. */
async function jointVectors(firmware: Firmware, set: MediaSet, signal?: AbortSignal): Promise<Float32Array[]> {
  const vectors: Float32Array[] = []
  for await (const { item } of mediaItems(set, signal))
    vectors.push((await firmware.ask({ task: 'embed', items: [item], signal })).output.embeddings[0]!)
  return vectors
}

/** Of equals the first. */
function mostFrequent(labels: readonly string[]): string {
  const counts = new Map<string, number>()
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1)
  return [...counts].reduce((most, each) => (each[1] > most[1] ? each : most))[0]
}

/** A vector of the module, kept from before, as an item for `measureHead`. */
export function vectorItem(adapter: HeadAdapter, vector: Float32Array): Item {
  if (adapter.type === 'classifier') return { embedding: vector }
  return { embedding: toUnitLength(applyHead(adapter, vector)) }
}
