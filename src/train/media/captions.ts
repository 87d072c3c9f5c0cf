/** Captions as the other side of a retrieval head: one vector a picture, in the space of the image's encoder of text. */

import { throwIfAborted } from '../../core/errors.js'
import type { Firmware } from '../../runtime/index.js'
import type { FeatureCache } from '../encoders/features.js'
import type { MediaSample } from './task.js'

/**
 * The mean of a picture's captions: what they share is what the picture shows, and a picture that stood twice in a batch would be its
 * own wrong answer.
 * @throws M4Error as `embed`
 */
export async function captionVectors(
  firmware: Firmware,
  samples: readonly MediaSample[],
  signal?: AbortSignal,
): Promise<FeatureCache> {
  let data: Float32Array | undefined
  let width = 0
  for (const [i, sample] of samples.entries()) {
    throwIfAborted(signal)
    const texts = sample.kind === 'image-caption' ? sample.captions : []
    const { embeddings } = (await firmware.ask({ task: 'embed', texts, window: 'mean', signal })).output
    width ||= embeddings[0]!.length
    data ??= new Float32Array(samples.length * width)
    for (const vector of embeddings)
      for (let c = 0; c < width; c++) data[i * width + c]! += vector[c]! / embeddings.length
  }
  return { count: samples.length, dims: [width], data: data ?? new Float32Array(0) }
}
