/** Speech with words that are known: IEEE "Harvard" sentences and one speech of 11 s; LJSpeech clips. */

import { readFileSync } from 'node:fs'
import { dataLines, dataPath } from './texts.mjs'

/**
 * The sentences of the IEEE list (1969) that the speechbrain samples speak. The transcripts that come with the samples are wrong
 * for two of them, so they are written here as the list has them.
 */
const HARVARD = Object.freeze({
  spk1_snt1: 'The child almost hurt the small dog.',
  spk1_snt2: 'Drop the two when you add the figures.',
  spk1_snt3: 'At that high level the air is pure.',
  spk1_snt4: 'A thin stripe runs down the middle.',
  spk1_snt5: 'Sunday is the best part of the week.',
  spk1_snt6: 'The pencils have all been used.',
  spk2_snt1: 'We are sure that one war is enough.',
  spk2_snt2: 'What joy there is in living.',
  spk2_snt3: 'Tear a thin sheet from the yellow pad.',
  spk2_snt4: 'Mend the coat before you go out.',
  spk2_snt5: 'Jump the fence and hurry up the bank.',
  spk2_snt6: 'Canned pears lack full flavor.',
})

const JFK =
  'And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country.'

const SETS = Object.freeze({
  async harvard() {
    const clips = Object.entries(HARVARD).map(([name, reference]) => ({
      path: dataPath(`speech_samples/librispeech/ASR/${name}.wav`),
      reference,
    }))
    const path = dataPath('speech_samples/jfk.flac')
    const sound = await decodeFlac(path)
    return sound ? [...clips, { path, sound, reference: JFK }] : clips
  },
  async ljspeech() {
    return dataLines('ljspeech/metadata.csv').flatMap((line) => {
      const [name, , normalised] = line.split('|')
      const path = dataPath(`ljspeech/wavs/${name}.wav`) ?? dataPath(`ljspeech/${name}.wav`)
      return path ? [{ path, reference: normalised }] : []
    })
  },
})

/** Clips of one set: a path, samples where the file is not WAV, and what is said. */
export const utterances = (set) => SETS[set]()

/** Words as they are compared: lower case, no punctuation but apostrophes, hyphens as spaces. */
export const spokenWords = (text) =>
  text
    .toLowerCase()
    .replace(/[’‘]/g, "'")
    .replace(/[-–—]/g, ' ')
    .replace(/[^\p{L}\p{N}' ]/gu, '')
    .replace(/\s+/g, ' ')
    .trim()

/** FLAC is not among the formats that m4fm reads; the decoder is a dependency of the benchmark only. */
async function decodeFlac(path) {
  let decoding
  try {
    decoding = await import('@wasm-audio-decoders/flac')
  } catch {
    return undefined
  }
  const decoder = new decoding.FLACDecoder()
  await decoder.ready
  try {
    const { channelData, sampleRate } = await decoder.decodeFile(readFileSync(path))
    const samples = new Float32Array(channelData[0].length)
    for (const channel of channelData)
      for (let i = 0; i < samples.length; i++) samples[i] += channel[i] / channelData.length
    return { samples, sampleRateHz: sampleRate }
  } finally {
    decoder.free()
  }
}
