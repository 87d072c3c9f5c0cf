/** Path 4, the speech generator alone: a text is spoken sentence by sentence. */

import { M4Error } from '../core/errors.js'
import { normalSource } from '../core/random.js'
import type { Event, SpeakOutput, SpeakRequest, SpokenSentence } from './requests.js'
import { splitSentences } from './sentences.js'
import { joinSamples, type Manner, type Voice } from './voice.js'
import type { Work } from './work.js'

type SoundEvent = Extract<Event, { type: 'sound' }>

/** Silence between two sentences. */
const PAUSE_S = 0.2
const SPEEDS = Object.freeze({ min: 0.25, max: 4 })

export async function* speak(request: SpeakRequest, work: Work): AsyncGenerator<SoundEvent, SpeakOutput> {
  const { text, voice: name, speed = 1, seed = 0, variation = 1 } = request
  checkRequest(text, speed, seed, variation)
  const voice = await work.use('TTS')
  voice.check(name)
  const manner: Manner = {
    voice: name,
    speed,
    variation,
    normal: normalSource(seed),
    signal: work.signal,
    onStage: work.spent,
  }
  const { sampleRateHz } = voice
  const parts: Float32Array[] = []
  const sentences: SpokenSentence[] = []
  let length = 0
  for (const sentence of splitSentences(text)) {
    const said = await voice.say(sentence, manner)
    if (!said) continue
    work.tokens.spoken += said.symbols
    const pause = parts.length ? Math.round(PAUSE_S * sampleRateHz) : 0
    const samples = new Float32Array(pause + said.samples.length)
    samples.set(said.samples, pause)
    sentences.push({
      text: sentence,
      startS: (length + pause) / sampleRateHz,
      endS: (length + samples.length) / sampleRateHz,
    })
    parts.push(samples)
    length += samples.length
    yield { type: 'sound', samples, sampleRateHz, text: sentence }
  }
  const unspoken = soundless(voice, text)
  if (!parts.length)
    throw new M4Error('EMPTY_INPUT', 'Nothing in the text has a sound in this voice.', {
      hint: 'Write it in the letters of the voice’s language, numbers as words.',
      details: { unspoken },
    })
  return { samples: joinSamples(parts), sampleRateHz, durationS: length / sampleRateHz, sentences, unspoken }
}

function checkRequest(text: string, speed: number, seed: number, variation: number): void {
  if (text.trim() === '')
    throw new M4Error('EMPTY_INPUT', 'The text is empty.', { hint: 'Give it some words.', details: { field: 'text' } })
  if (!(speed >= SPEEDS.min && speed <= SPEEDS.max))
    throw new M4Error('INVALID_REQUEST', `speed: expected ${SPEEDS.min} to ${SPEEDS.max}, got ${speed}.`)
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff)
    throw new M4Error('INVALID_REQUEST', `seed: expected a whole number from 0 to 2^32 - 1, got ${seed}.`)
  if (!(variation >= 0 && variation <= 2))
    throw new M4Error('INVALID_REQUEST', `variation: expected 0 to 2, got ${variation}.`)
}

/** Letters and digits that the voice leaves out, each once: the caller is told, for nobody hears what is missing. */
function soundless(voice: Voice, text: string): string[] {
  const different = new Set(text.match(/[\p{L}\p{N}]/gu))
  return [...different].filter((character) => !voice.hasSound(character))
}
