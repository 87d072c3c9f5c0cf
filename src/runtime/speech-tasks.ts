/** Path 1 with speech: AUD-I hears, its transcript goes into a prompt, the backbone answers (mobile scripts of M4: m4-spec §B). */

import { M4Error } from '../core/errors.js'
import { MIN_SPEECH_S, resample, SPEECH_RATE_HZ, speechSamples } from '../media/index.js'
import { fillTemplate, linePrompt } from './prompts.js'
import type { Event, ListenRequest, Outputs, Sound, TranscribeRequest, Transcript } from './requests.js'
import { answerLine, answerPrompt, QUESTION_NAMES } from './text-tasks.js'
import type { Work } from './work.js'

type TranscriptEvent = Extract<Event, { type: 'transcript' }>
type TokenEvent = Extract<Event, { type: 'token' }>

export async function* transcribe(request: TranscribeRequest, work: Work): AsyncGenerator<TranscriptEvent, Transcript> {
  const transcript = await hear(request.sound, request.maxTokens, work)
  yield { type: 'transcript', text: transcript.text }
  return transcript
}

export async function* listen(
  request: ListenRequest,
  work: Work,
): AsyncGenerator<TranscriptEvent | TokenEvent, Outputs['listen']> {
  const { template, examples, instruction, names = QUESTION_NAMES } = request
  // A wrong template is told before anything is heard.
  if (template !== undefined) fillTemplate(template, '')
  const transcript = await hear(request.sound, undefined, work)
  work.done('AUD-I')
  yield { type: 'transcript', text: transcript.text }
  if (transcript.text === '')
    throw new M4Error('EMPTY_INPUT', 'No speech heard.', {
      hint: 'Speak louder or closer, or check that the recording is not silent.',
      details: { durationS: transcript.durationS },
    })
  const input = transcript.text
  const output =
    template !== undefined
      ? yield* answerPrompt(work, fillTemplate(template, input), request)
      : yield* answerLine(work, linePrompt({ input, examples, instruction, names }), request)
  return { ...output, transcript }
}

async function hear(sound: Sound, maxTokens: number | undefined, work: Work): Promise<Transcript> {
  const samples = await work.stage('decode sound', async () => samplesOf(sound))
  const speech = await work.use('AUD-I')
  return speech.transcribe(samples, {
    maxTokens,
    signal: work.signal,
    onStage: work.spent,
    onPart: (_, tokens) => {
      work.tokens.transcribed += tokens
    },
  })
}

/** Mono, 16 kHz. @throws M4Error `EMPTY_INPUT`, `AUDIO_INVALID`, `INVALID_REQUEST` */
function samplesOf(sound: Sound): Float32Array {
  if (sound?.wav) return speechSamples(sound.wav).samples
  const { samples, sampleRateHz } = sound ?? {}
  if (!(samples instanceof Float32Array) || !(sampleRateHz > 0 && Number.isFinite(sampleRateHz)))
    throw new M4Error('INVALID_REQUEST', 'sound: expected {wav} or {samples: Float32Array, sampleRateHz}.')
  if (samples.length === 0) throw new M4Error('EMPTY_INPUT', 'The sound has no samples.', { hint: 'Record it again.' })
  if (samples.length < MIN_SPEECH_S * sampleRateHz)
    throw new M4Error(
      'AUDIO_INVALID',
      `The sound lasts ${(samples.length / sampleRateHz).toFixed(3)} s, expected ${MIN_SPEECH_S} s or more.`,
      { hint: 'Record a whole word.' },
    )
  if (!samples.every(Number.isFinite))
    throw new M4Error('AUDIO_INVALID', 'The sound has samples that are not finite numbers.')
  return resample(samples, sampleRateHz, SPEECH_RATE_HZ)
}
