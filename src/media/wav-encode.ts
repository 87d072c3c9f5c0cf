/** Float samples → WAV with 16-bit PCM, one channel. */

import { M4Error } from '../core/errors.js'

const HEADER_BYTES = 44

/**
 * Values beyond [-1, 1] are clipped, as every 16-bit writer must; rounding is to nearest, the inverse of `decodeWav`.
 * @param samples mono, full scale [-1, 1]. [N]
 * @throws M4Error `AUDIO_INVALID` for NaN or infinite samples, `INVALID_REQUEST` for a sample rate that is no positive integer
 */
export function encodeWav16(samples: Float32Array, sampleRateHz: number): Uint8Array {
  if (!Number.isInteger(sampleRateHz) || sampleRateHz <= 0 || sampleRateHz > 0x7fffffff)
    throw new M4Error('INVALID_REQUEST', `A sample rate is a positive whole number of Hz, got ${sampleRateHz}.`)
  const dataBytes = samples.length * 2
  const bytes = new Uint8Array(HEADER_BYTES + dataBytes)
  const view = new DataView(bytes.buffer)
  const put = (at: number, tag: string) => {
    for (let i = 0; i < 4; i++) bytes[at + i] = tag.charCodeAt(i)
  }
  put(0, 'RIFF')
  view.setUint32(4, HEADER_BYTES - 8 + dataBytes, true)
  put(8, 'WAVE')
  put(12, 'fmt ')
  view.setUint32(16, 16, true)
  view.setUint16(20, 1, true) // PCM
  view.setUint16(22, 1, true) // channels
  view.setUint32(24, sampleRateHz, true)
  view.setUint32(28, sampleRateHz * 2, true) // bytes a second
  view.setUint16(32, 2, true) // bytes a frame
  view.setUint16(34, 16, true) // bits a sample
  put(36, 'data')
  view.setUint32(40, dataBytes, true)
  for (let i = 0; i < samples.length; i++) {
    const value = samples[i]!
    if (!Number.isFinite(value))
      throw new M4Error('AUDIO_INVALID', `Sample ${i} is ${value}, expected a number in [-1, 1].`, {
        hint: 'The sound was made wrongly; nothing was written.',
      })
    view.setInt16(HEADER_BYTES + i * 2, Math.max(-32768, Math.min(32767, Math.round(value * 32768))), true)
  }
  return bytes
}
