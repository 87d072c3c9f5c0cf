/**
 * Sinusoidal embeddings of whole numbers, as a table: cosines, then sines, frequencies 10000^(-i / half). Rounded to float32
 * after every operation, as the reference computes them.
 *
 * @reference CompVis/stable-diffusion@21f890f:ldm/modules/diffusionmodules/util.py `timestep_embedding`
 */

const { fround } = Math

/** Rows 0 to `count` - 1. [count, width]; an odd width ends with zeros. */
export function sinusoids(count: number, width: number): Float32Array {
  const half = Math.floor(width / 2)
  const logPeriod = fround(-Math.log(10_000))
  const frequencies = Array.from({ length: half }, (_, i) => fround(Math.exp(fround(fround(logPeriod * i) / half))))
  const out = new Float32Array(count * width)
  for (let step = 0; step < count; step++)
    for (const [i, frequency] of frequencies.entries()) {
      const angle = fround(step * frequency)
      out[step * width + i] = Math.cos(angle)
      out[step * width + half + i] = Math.sin(angle)
    }
  return out
}
