/** Small media whose classes a random encoder can tell apart: colours, tones and motions, with noise. For tests. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { normalSource, randomSource } from '../../../core/random.js'
import { encodePng, encodeWav16 } from '../../../media/index.js'

const COLOURS = { red: [200, 40, 40], green: [40, 190, 60], blue: [50, 60, 210] } as const
export const COLOUR_NAMES = Object.keys(COLOURS) as (keyof typeof COLOURS)[]

export function picture(colour: keyof typeof COLOURS, seed: number): Promise<Uint8Array> {
  const noise = normalSource(seed)
  const [width, height] = [30, 20]
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) =>
    Math.min(255, Math.max(0, Math.round(COLOURS[colour][i % 3]! + 25 * noise()))),
  )
  return encodePng({ data, width, height })
}

/** `<folder>/<colour>/<n>.png` */
export async function writePictures(folder: string, each: number): Promise<string> {
  for (const [c, colour] of COLOUR_NAMES.entries()) {
    await mkdir(join(folder, colour), { recursive: true })
    for (let n = 0; n < each; n++)
      await writeFile(join(folder, colour, `${String(n).padStart(3, '0')}.png`), await picture(colour, 1000 * c + n))
  }
  return folder
}

const TONES = { low: 220, high: 3000 } as const

/** `<folder>/<tone>/<n>.wav`, 0.5 s at 16 kHz. */
export async function writeSounds(folder: string, each: number): Promise<string> {
  for (const [t, [name, hz]] of Object.entries(TONES).entries()) {
    await mkdir(join(folder, name), { recursive: true })
    for (let n = 0; n < each; n++) await writeFile(join(folder, name, `${n}.wav`), tone(hz, 0.5, 100 * t + n))
  }
  return folder
}

export function tone(hz: number, seconds: number, seed: number): Uint8Array {
  const next = randomSource(seed)
  const [phase, loudness] = [next() * 2 * Math.PI, 0.3 + 0.3 * next()]
  const samples = Float32Array.from(
    { length: 16_000 * seconds },
    (_, i) => loudness * Math.sin((2 * Math.PI * hz * i) / 16_000 + phase) + 0.02 * (next() - 0.5),
  )
  return encodeWav16(samples, 16_000)
}

const MOTIONS = { still: 0, shaking: 6 } as const

/** `<folder>/<motion>/<n>.csv`: 0.3 s at 400 Hz, acceleration and rotation. */
export async function writeMotions(folder: string, each: number): Promise<string> {
  for (const [m, [name, strength]] of Object.entries(MOTIONS).entries()) {
    await mkdir(join(folder, name), { recursive: true })
    for (let n = 0; n < each; n++)
      await writeFile(join(folder, name, `${n}.csv`), motionTable(120, strength, 100 * m + n))
  }
  return folder
}

export function motionTable(count: number, strength: number, seed: number): string {
  const noise = normalSource(seed)
  const rows = Array.from({ length: count }, (_, i) => {
    const wave = strength * Math.sin((2 * Math.PI * 8 * i) / 400 + seed)
    const values = Array.from({ length: 6 }, (__, c) => (c === 2 ? 9.8 : 0) + wave * (c + 1) * 0.3 + 0.1 * noise())
    return [i / 400, ...values].map((value) => value.toFixed(5)).join()
  })
  return `time,ax,ay,az,gx,gy,gz\n${rows.join('\n')}\n`
}
