/** A sound file → what speech models read: mono, 16 kHz, float. */

import { M4Error } from '../core/errors.js'
import { resample } from './resample.js'
import { checkSound, MIN_SOUND_S } from './sound.js'
import { decodeWav } from './wav.js'

export const SPEECH_RATE_HZ = 16_000

/** Shorter sounds hold no word: a speech model answers them with an invention, so they are refused. */
export const MIN_SPEECH_S = MIN_SOUND_S

export interface Speech {
  /** Mono, 16 kHz, full scale [-1, 1]. [N] */
  readonly samples: Float32Array
  /** Of the file, before resampling. */
  readonly durationS: number
}

/** Mean of the channels; one channel is returned as it is. [N] */
export function mixToMono(channels: readonly Float32Array[]): Float32Array {
  const [first, ...others] = channels
  if (!first) throw new M4Error('AUDIO_INVALID', 'A sound needs at least one channel, got none.')
  const different = others.find((channel) => channel.length !== first.length)
  if (different)
    throw new M4Error(
      'AUDIO_INVALID',
      `Channels of one sound have one length, got ${first.length} and ${different.length}.`,
    )
  if (others.length === 0) return first
  return first.map((value, i) => {
    let sum = value
    for (const channel of others) sum += channel[i]!
    return sum / channels.length
  })
}

/**
 * @param bytes a WAV file (see `decodeWav`)
 * @throws M4Error `EMPTY_INPUT` without samples; `AUDIO_INVALID` for other files, sounds shorter than `MIN_SPEECH_S`, and
 * samples that are NaN or infinite
 */
export function speechSamples(bytes: Uint8Array): Speech {
  const decoded = decodeWav(bytes)
  const durationS = checkSound(decoded)
  return { samples: resample(mixToMono(decoded.samples), decoded.sampleRateHz, SPEECH_RATE_HZ), durationS }
}
