/** A sound file → what speech models read: mono, 16 kHz, float. */

import { M4Error } from '../core/errors.js'
import { resample } from './resample.js'
import { decodeWav } from './wav.js'

export const SPEECH_RATE_HZ = 16_000

/** Shorter sounds hold no word: a speech model answers them with an invention, so they are refused. */
export const MIN_SPEECH_S = 0.1

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
  const { samples: channels, sampleRateHz } = decodeWav(bytes)
  const mono = mixToMono(channels)
  const durationS = mono.length / sampleRateHz
  if (mono.length === 0)
    throw new M4Error('EMPTY_INPUT', 'The sound has no samples.', {
      hint: 'Record it again.',
      details: { sampleRateHz },
    })
  if (durationS < MIN_SPEECH_S)
    throw new M4Error(
      'AUDIO_INVALID',
      `The sound lasts ${durationS.toFixed(3)} s, expected ${MIN_SPEECH_S} s or more.`,
      {
        hint: 'Record a whole word.',
        details: { durationS, sampleRateHz },
      },
    )
  const bad = mono.findIndex((value) => !Number.isFinite(value))
  if (bad >= 0)
    throw new M4Error('AUDIO_INVALID', `Sample ${bad} of the sound is ${mono[bad]}, expected finite numbers.`, {
      hint: 'The file was written wrongly; make it again.',
    })
  return { samples: resample(mono, sampleRateHz, SPEECH_RATE_HZ), durationS }
}
