/** A sound file → what sound models read: all channels, at one rate. */

import { M4Error } from '../core/errors.js'
import { resample } from './resample.js'
import { type DecodedAudio, decodeWav } from './wav.js'

/** Shorter sounds hold nothing that a model could name: they are refused. */
export const MIN_SOUND_S = 0.1

export interface Sound {
  /** Full scale [-1, 1]. [N] each */
  readonly channels: readonly Float32Array[]
  /** Of the file, before resampling. */
  readonly durationS: number
}

/**
 * @param bytes a WAV file (see `decodeWav`)
 * @throws M4Error as `decodeWav` and `checkSound`
 */
export function soundChannels(bytes: Uint8Array, rateHz = 16_000): Sound {
  const decoded = decodeWav(bytes)
  const durationS = checkSound(decoded)
  return { channels: decoded.samples.map((channel) => resample(channel, decoded.sampleRateHz, rateHz)), durationS }
}

/**
 * Duration in s of a sound that can be used.
 * @throws M4Error `EMPTY_INPUT` without samples; `AUDIO_INVALID` below `MIN_SOUND_S`, and for samples that are NaN or infinite
 */
export function checkSound({ samples, sampleRateHz }: DecodedAudio): number {
  const count = samples[0]?.length ?? 0
  const durationS = count / sampleRateHz
  if (count === 0)
    throw new M4Error('EMPTY_INPUT', 'The sound has no samples.', {
      hint: 'Record it again.',
      details: { sampleRateHz },
    })
  if (durationS < MIN_SOUND_S)
    throw new M4Error(
      'AUDIO_INVALID',
      `The sound lasts ${durationS.toFixed(3)} s, expected ${MIN_SOUND_S} s or more.`,
      {
        hint: 'Record for longer.',
        details: { durationS, sampleRateHz },
      },
    )
  for (const [i, channel] of samples.entries()) {
    const bad = channel.findIndex((value) => !Number.isFinite(value))
    if (bad >= 0)
      throw new M4Error('AUDIO_INVALID', `Sample ${bad} of channel ${i} is ${channel[bad]}, expected finite numbers.`, {
        hint: 'The file was written wrongly; make it again.',
      })
  }
  return durationS
}
