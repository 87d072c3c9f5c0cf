/** Pictures of bytes ↔ planes of float32, and the autoencoder's moments → latents. */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { Picture } from '../../media/index.js'

type Floats = HostTensor<'float32'>

/** The middle `width` × `height` dots in [-1, 1]. [1, 3, Y, X] */
export function planesFromPicture({ data, ...size }: Picture, width: number, height: number): Floats {
  const [left, top] = [Math.floor((size.width - width) / 2), Math.floor((size.height - height) / 2)]
  const planes = hostTensor('float32', [1, 3, height, width])
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        planes.data[(c * height + y) * width + x] = data[((top + y) * size.width + left + x) * 3 + c]! / 127.5 - 1
  return planes
}

/** Planes in [0, 1], the first of the batch, to the nearest byte. [1, 3, Y, X] */
export function pictureFromPlanes({ dims, data }: Floats): Picture {
  const [, channels, height, width] = dims as [number, number, number, number]
  const out = new Uint8Array(width * height * 3)
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(255 * data[Math.min(c, channels - 1) * width * height + i]!)
  return { data: out, width, height }
}

/** Bounds of the logarithm of the variance, as the reference clamps it. */
const LOG_VARIANCE = { min: -30, max: 20 }

/** One draw of the latents that a picture may have: mean + deviation · noise, scaled for the U-Net. moments [1, 2·Z, y, x] */
export function latentsOfMoments({ data }: Floats, noise: Floats, scale: number): Floats {
  const half = data.length / 2
  const drawn = noise.data.map((value, i) => {
    const logVariance = Math.min(LOG_VARIANCE.max, Math.max(LOG_VARIANCE.min, data[half + i]!))
    return scale * (data[i]! + Math.exp(0.5 * logVariance) * value)
  })
  return hostTensor('float32', noise.dims, Float32Array.from(drawn))
}
