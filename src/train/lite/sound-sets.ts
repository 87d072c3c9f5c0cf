/**
 * What the encoder of sounds is taught: spoken digits, read English, and sounds that are made up here. No set of everyday sounds may be
 * shipped with a free licence in the size that this needs, so none is learned, and none is claimed.
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { wrapSystemError } from '../../core/errors.js'
import { normalSource, randomSource } from '../../core/random.js'
import { SPEECH_RATE_HZ } from '../../media/index.js'
import type { Sound } from '../../runtime/requests.js'

export const DIGITS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'] as const
export const KINDS = ['speech', 'tone', 'noise', 'clicks', 'silence'] as const
export type Kind = (typeof KINDS)[number]

export interface TaughtSound {
  readonly sound: Sound
  readonly kind: Kind
  /** The one word of it, a place in `DIGITS`; absent for sentences. */
  readonly digit?: number
  readonly heldOut: boolean
}

/** What was read of one data set. */
export interface ReadSet {
  readonly name: string
  readonly licence: string
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly sounds: readonly TaughtSound[]
}

/** Nobody who is measured on was heard in training. */
const HELD_OUT_SPEAKERS = ['theo', 'yweweler']
const MADE_UP_TRAIN = 60
const MADE_UP_HELD_OUT = 20

/** @param most files of each set, for a smoke run @throws M4Error `FILE_NOT_FOUND` */
export async function readSoundSets(data: string, seed: number, most = Number.POSITIVE_INFINITY): Promise<ReadSet[]> {
  return [
    await readSet('fsdd', 'CC-BY-SA-4.0', join(data, 'fsdd', 'recordings'), most, (name) => {
      const [digit, speaker] = name.split('_')
      return { digit: Number(digit), heldOut: HELD_OUT_SPEAKERS.includes(speaker!) }
    }),
    await readSet('ljspeech', 'public domain', join(data, 'ljspeech', 'wavs'), most, () => ({ heldOut: false })),
    await readSet('speech_samples', 'Apache-2.0', join(data, 'speech_samples', 'librispeech', 'ASR'), most, (name) => ({
      heldOut: name.startsWith('spk2'),
    })),
    { name: 'made up', licence: 'Apache-2.0', files: new Map(), sounds: madeUpSounds(seed, most) },
  ]
}

async function readSet(
  name: string,
  licence: string,
  folder: string,
  most: number,
  factsOf: (file: string) => { readonly digit?: number; readonly heldOut: boolean },
): Promise<ReadSet> {
  const names = await readdir(folder).catch((error) => {
    throw wrapSystemError(error, `Reading the data set ${name}`)
  })
  const wavs = names.filter((file) => file.endsWith('.wav')).sort()
  const every = Math.max(1, Math.floor(wavs.length / most))
  const files = new Map<string, Uint8Array>()
  for (const file of wavs.filter((_, i) => i % every === 0)) files.set(file, await readFile(join(folder, file)))
  const sounds = [...files].map(([file, wav]): TaughtSound => ({ sound: { wav }, kind: 'speech', ...factsOf(file) }))
  return { name, licence, files, sounds }
}

type Maker = (samples: Float32Array, random: () => number, normal: () => number) => void

const between = (random: () => number, least: number, most: number) => least + (most - least) * random()

/** Synthetic: each fills silence. */
const MAKERS: Readonly<Record<Exclude<Kind, 'speech'>, Maker>> = {
  tone: (samples, random) => {
    const hz = 100 * 40 ** random()
    const overtones = Math.floor(3 * random())
    for (let n = 0; n < samples.length; n++)
      for (let h = 1; h <= 1 + overtones; h++)
        samples[n]! += Math.sin((2 * Math.PI * hz * h * n) / SPEECH_RATE_HZ) / h ** 2
  },
  noise: (samples, random, normal) => {
    // From white to brown.
    const kept = 0.97 * random() ** 2
    let last = 0
    for (let n = 0; n < samples.length; n++) {
      last = kept * last + (1 - kept) * normal()
      samples[n] = last
    }
  },
  clicks: (samples, random, normal) => {
    const apart = SPEECH_RATE_HZ / between(random, 1.5, 12)
    const decay = between(random, 5, 80)
    for (let at = random() * apart; at < samples.length; at += apart)
      for (let n = Math.floor(at); n < Math.min(samples.length, at + 400); n++)
        samples[n]! += Math.exp(-(n - at) / decay) * normal()
  },
  silence: () => undefined,
}

/** Sounds of 0.3 to 3 s, from loud to faint. */
export function madeUpSounds(seed: number, most: number): TaughtSound[] {
  const random = randomSource(seed)
  const normal = normalSource(seed)
  const kinds = Object.entries(MAKERS) as [Exclude<Kind, 'speech'>, Maker][]
  const count = (usual: number) => Math.min(usual, most)
  return kinds.flatMap(([kind, make]) =>
    Array.from({ length: count(MADE_UP_TRAIN) + count(MADE_UP_HELD_OUT) }, (_, i): TaughtSound => {
      const samples = new Float32Array(Math.round(between(random, 0.3, 3) * SPEECH_RATE_HZ))
      make(samples, random, normal)
      const peak = samples.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0)
      const scale = peak > 0 ? 10 ** between(random, -2, -0.05) / peak : 0
      const sound = { samples: samples.map((value) => value * scale), sampleRateHz: SPEECH_RATE_HZ }
      return { sound, kind, heldOut: i >= count(MADE_UP_TRAIN) }
    }),
  )
}
