/**
 * Features of samples: what `embed` gives with `of: 'features'`, so that training sees what `match` will see. Each sample is embedded
 * once and its vector kept; epochs then run the head alone.
 */

import { isM4Error, M4Error } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import type { Firmware, Item } from '../../runtime/index.js'
import type { DataSet } from '../data/index.js'
import { type FeatureCache, featureBatch } from '../encoders/features.js'
import { featureKey, mediaItems, sampleName } from './items.js'
import { isMediaSample, type MediaSample } from './task.js'

export interface MediaFinding {
  readonly code: 'unreadable-sample'
  readonly severity: 'warning'
  readonly message: string
  /** Absolute. */
  readonly file?: string
  /** How many more there are, in the one line that stands for them. */
  readonly more?: number
}

export type MediaSet = Omit<DataSet, 'samples'> & { readonly samples: readonly MediaSample[] }

export interface EmbeddedSet {
  /** The set without what could not be read. */
  readonly set: MediaSet
  /** Of those samples, in their order. */
  readonly features: FeatureCache
}

/** Vectors by `featureKey`: both sides of a split, and what was looked at before, are embedded once. */
export type FeatureMemory = Map<string, Float32Array>

export interface EmbedOptions extends LongOperation {
  readonly memory?: FeatureMemory
  /** More is refused as soon as the width is known. Default 2 GiB. */
  readonly limitBytes?: number
  /** Refuse a set of which a class cannot be read at all: for what is trained on. */
  readonly everyClass?: boolean
  readonly onFinding?: (finding: MediaFinding) => void
}

const LIMIT_BYTES = 2 ** 31

/** Up to this share of a set may be unreadable, and one sample of a small set. */
const UNREADABLE_SHARE = 0.1

/** A thousand bad files must not become a thousand lines; as for data (data/findings.ts). */
const LISTED = 20

/** What is wrong with one file and not with the whole. */
const UNREADABLE = ['PICTURE_INVALID', 'AUDIO_INVALID', 'MOTION_INVALID', 'EMPTY_INPUT'] as const

/**
 * Embeds every sample through the runtime.
 *
 * A file that cannot be decoded, a sound below 0.1 s, a recording shorter than the encoder's window: each is a finding that names the
 * file, and the sample is left out, since one broken picture of a thousand should not cost a night of work. Where more than a tenth
 * of the set is like that, the set itself is at fault and nothing is trained.
 *
 * @throws M4Error `FORMAT_INVALID` where too many samples cannot be read (`details.files`), or a class loses all of its samples;
 * `OUT_OF_MEMORY` over the limit; `NOT_AVAILABLE`, `ABORTED`, `IO`, `ENGINE`
 */
export async function embedSamples(firmware: Firmware, set: DataSet, options: EmbedOptions = {}): Promise<EmbeddedSet> {
  const { memory = new Map(), limitBytes = LIMIT_BYTES, signal, onProgress, onFinding } = options
  const total = set.samples.length
  const kept: MediaSample[] = []
  const unreadable: MediaFinding[] = []
  let data: Float32Array | undefined
  let width = 0
  let done = 0
  for await (const { sample, item } of mediaItems(set, signal)) {
    const vector = memory.get(featureKey(sample)) ?? (await embedded(firmware, item, sample, signal))
    done++
    if (vector instanceof Float32Array) {
      memory.set(featureKey(sample), vector)
      width ||= vector.length
      data ??= allocated(total, width, limitBytes)
      data.set(vector, kept.length * width)
      kept.push(sample)
    } else {
      unreadable.push(vector)
      if (unreadable.length > Math.max(1, UNREADABLE_SHARE * total)) throw tooMany(set, unreadable, done)
      if (unreadable.length <= LISTED) onFinding?.(vector)
    }
    onProgress?.({ task: 'features', done, total, unit: 'items' })
  }
  if (!data) throw tooMany(set, unreadable, done)
  const more = unreadable.length - LISTED
  if (more > 0)
    onFinding?.({
      code: 'unreadable-sample',
      severity: 'warning',
      message: `… and ${more} more that are left out.`,
      more,
    })
  if (options.everyClass) requireClasses(set, kept, unreadable)
  return {
    set: { ...set, samples: kept },
    features: { count: kept.length, dims: [width], data: data.subarray(0, kept.length * width) },
  }
}

/**
 * Width of the features, told by embedding the first sample that can be read; its vector is kept in `memory`.
 * @throws M4Error as `embedSamples`
 */
export async function featureWidth(
  firmware: Firmware,
  set: DataSet,
  memory: FeatureMemory,
  signal?: AbortSignal,
): Promise<number> {
  const unreadable: MediaFinding[] = []
  for await (const { sample, item } of mediaItems(set, signal)) {
    const vector = await embedded(firmware, item, sample, signal)
    if (vector instanceof Float32Array) {
      memory.set(featureKey(sample), vector)
      return vector.length
    }
    unreadable.push(vector)
    if (unreadable.length > Math.max(1, UNREADABLE_SHARE * set.samples.length)) break
  }
  throw tooMany(set, unreadable, unreadable.length)
}

/** The vector, or what is wrong with the sample. */
async function embedded(
  firmware: Firmware,
  item: Item,
  sample: MediaSample,
  signal: AbortSignal | undefined,
): Promise<Float32Array | MediaFinding> {
  try {
    const vector = await embedOne(firmware, item, signal)
    if (vector.every(Number.isFinite)) return vector
  } catch (error) {
    if (!UNREADABLE.some((code) => isM4Error(error, code))) throw error
    const message = `${sampleName(sample)} is left out: ${(error as M4Error).message}`
    return { code: 'unreadable-sample', severity: 'warning', message, file: sample.path }
  }
  throw new M4Error('ENGINE', `${sampleName(sample)}: its features are no numbers.`, {
    hint: 'Run `m4fm verify` on the image.',
  })
}

const embedOne = async (firmware: Firmware, item: Item, signal: AbortSignal | undefined): Promise<Float32Array> =>
  (await firmware.ask({ task: 'embed', of: 'features', items: [item], signal })).output.embeddings[0]!

function allocated(count: number, width: number, limitBytes: number): Float32Array {
  const bytes = featureBytes(count, width)
  if (bytes <= limitBytes) return new Float32Array(count * width)
  throw new M4Error('OUT_OF_MEMORY', `Features of ${count} samples need ${bytes} bytes, ${limitBytes} are allowed.`, {
    hint: 'Train on fewer samples (--fraction).',
    details: { bytes, limitBytes },
  })
}

export const featureBytes = (count: number, width: number): number => count * width * Float32Array.BYTES_PER_ELEMENT

function requireClasses(set: DataSet, kept: readonly MediaSample[], unreadable: readonly MediaFinding[]): void {
  if (set.kind === 'image-caption') return
  const left = new Set(kept.map(expectedOf))
  const lost = set.samples
    .filter(isMediaSample)
    .map(expectedOf)
    .find((label) => !left.has(label))
  if (lost === undefined) return
  throw new M4Error('FORMAT_INVALID', `${set.path}: no sample of "${lost}" can be read. ${unreadable[0]!.message}`, {
    hint: 'Mend or replace its files.',
    details: { label: lost, files: unreadable.map(({ file }) => file) },
  })
}

function tooMany({ path, samples }: DataSet, unreadable: readonly MediaFinding[], done: number): M4Error {
  const shown = unreadable.slice(0, 3).map(({ message }) => message)
  return new M4Error(
    'FORMAT_INVALID',
    `${path}: ${unreadable.length} of the first ${done} samples of ${samples.length} cannot be read. ${shown.join(' ')}`,
    { hint: 'Mend the data, or leave these files out.', details: { files: unreadable.map(({ file }) => file) } },
  )
}

/** The right answer: a label, or the first caption. */
export const expectedOf = (sample: MediaSample): string =>
  sample.kind === 'image-caption' ? sample.captions[0]! : sample.label

/** Samples spread over the whole set, which may be in the order of its classes. */
export function spread({ set, features }: EmbeddedSet, most: number): EmbeddedSet {
  const all = set.samples.length
  if (all <= most) return { set, features }
  const indices = Array.from({ length: most }, (_, i) => Math.floor(((i + 0.5) * all) / most))
  const data = featureBatch(features, indices).data as Float32Array
  return {
    set: { ...set, samples: indices.map((i) => set.samples[i]!) },
    features: { count: most, dims: features.dims, data },
  }
}
