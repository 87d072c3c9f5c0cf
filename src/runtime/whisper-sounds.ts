/**
 * Sounds through the middle of Whisper's encoder: one channel, in clips of at most 30 s that are cut where it is quietest, each as
 * long as it is; features and vectors are means over the clips.
 */

import { mixToMono, SPEECH_RATE_HZ } from '../media/index.js'
import { audioWindows, peakOf, SILENT_PEAK } from './audio-windows.js'
import { type ClipHeads, joinClips, opener, Tower } from './tower.js'

/** What Whisper's table of places holds. */
const LONGEST_CLIP_S = 30
/** Samples of one encoder position: two mel frames of 160. */
const POSITION_SAMPLES = 320

export class WhisperSoundEncoder extends Tower {
  /** @param channels at 16 kHz, 0.1 s or more. [N] each */
  async encode(channels: readonly Float32Array[], signal?: AbortSignal): Promise<ClipHeads> {
    const samples = mixToMono(channels)
    const cuts = { sampleRateHz: SPEECH_RATE_HZ, maxSamples: LONGEST_CLIP_S * SPEECH_RATE_HZ, marginS: 0 }
    const heard: ClipHeads[] = []
    for (const { from, to } of audioWindows(samples, cuts))
      heard.push(await this.#hear(samples.subarray(from, to), signal))
    return joinClips(heard)
  }

  /** Whole positions: less than 20 ms of silence are added. The log-mel knows no loudness, so what nobody can hear is made silence. */
  async #hear(clip: Float32Array, signal: AbortSignal | undefined): Promise<ClipHeads> {
    const samples = new Float32Array(Math.ceil(clip.length / POSITION_SAMPLES) * POSITION_SAMPLES)
    if (peakOf(clip) >= SILENT_PEAK) samples.set(clip)
    const feeds = { samples: { dtype: 'float32', dims: [1, samples.length], data: samples } as const }
    const data = await this.runFrontEnd('frontEnd', feeds, 'mel', signal) // [1, M, 2P]
    const bands = this.inputDims('mel')[1] as number
    return this.runEncoder('mel', { dtype: 'float32', dims: [1, bands, data.length / bands], data }, signal)
  }
}

export const openWhisperSounds = opener(WhisperSoundEncoder, true)
