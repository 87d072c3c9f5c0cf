/** Path 2, the backbone alone: generate, complete, classify. Also the last leg of path 1: answering what was heard. */

import { M4Error } from '../core/errors.js'
import type { Backbone } from './backbone.js'
import { type Generated, type GenerateOptions, generateTokens } from './generate.js'
import type { Segment } from './prompt-plan.js'
import {
  chatSegments,
  cutAt,
  encodePrompt,
  fillTemplate,
  linePrompt,
  promptSegments,
  type TextPrompt,
} from './prompts.js'
import type {
  ClassifyOutput,
  ClassifyRequest,
  CompleteRequest,
  Event,
  GenerateRequest,
  TextOutput,
} from './requests.js'
import {
  type Calibration,
  type CalibrationBasis,
  calibrate,
  checkCalibration,
  type LabelPlan,
  planLabels,
  rankLabels,
  scoreLabels,
} from './score.js'
import type { Work } from './work.js'

export const QUESTION_NAMES = Object.freeze({ input: 'Q', output: 'A' })
const CLASS_NAMES = Object.freeze({ input: 'Text', output: 'Label' })

type TokenEvent = Extract<Event, { type: 'token' }>

export async function* generate(request: GenerateRequest, work: Work): AsyncGenerator<TokenEvent, TextOutput> {
  const { prompt, messages } = request
  if ((prompt === undefined) === (messages === undefined))
    throw new M4Error('INVALID_REQUEST', 'generate needs a prompt or messages, one of the two.')
  if (prompt === '') throw emptyInput('prompt')
  const backbone = await work.use('backbone')
  const segments =
    prompt !== undefined
      ? cutAt(encodePrompt(backbone.tokenizer, prompt), [])
      : chatSegments(templateOf(backbone, work), backbone.tokenizer, messages!)
  return yield* answer(work, backbone, segments, request)
}

function templateOf(backbone: Backbone, work: Work) {
  if (backbone.chatTemplate) return backbone.chatTemplate
  throw new M4Error('NOT_AVAILABLE', `The backbone of image ${work.image.manifest.name} has no chat template.`, {
    hint: 'Give a prompt, or use the task complete.',
  })
}

export async function* complete(request: CompleteRequest, work: Work): AsyncGenerator<TokenEvent, TextOutput> {
  const { input, examples, instruction, names = QUESTION_NAMES } = request
  if (input.trim() === '') throw emptyInput('input')
  return yield* answerLine(work, linePrompt({ input, examples, instruction, names }), request)
}

/** The rest of a line: what stands behind the prompt, up to the line's end. */
export function answerLine(
  work: Work,
  prompt: TextPrompt,
  options: AnswerOptions,
): AsyncGenerator<TokenEvent, TextOutput> {
  return answerPrompt(work, prompt, { ...options, stop: ['\n', ...(options.stop ?? [])] })
}

/** What stands behind the prompt, without the white space between. */
export async function* answerPrompt(
  work: Work,
  prompt: TextPrompt,
  options: AnswerOptions,
): AsyncGenerator<TokenEvent, TextOutput> {
  const backbone = await work.use('backbone')
  const segments = promptSegments(backbone.tokenizer, prompt)
  return yield* answer(work, backbone, segments, { ...options, trimStart: true })
}

type AnswerOptions = Pick<GenerateOptions, 'maxTokens' | 'sampling' | 'stop' | 'trimStart'> &
  Pick<GenerateRequest, 'adapter'>

export async function* answer(
  work: Work,
  backbone: Backbone,
  segments: readonly Segment[],
  options: AnswerOptions,
): AsyncGenerator<TokenEvent, TextOutput> {
  const { context } = backbone
  context.useAdapter(options.adapter)
  let from = performance.now()
  const lap = (stage: string) => {
    const now = performance.now()
    work.spent(stage, now - from)
    from = now
  }
  const tokens = generateTokens(backbone, context, segments, {
    maxTokens: options.maxTokens,
    sampling: options.sampling,
    stop: options.stop,
    trimStart: options.trimStart ?? false,
    signal: work.signal,
    onPrefilled({ promptTokens, reusedTokens }) {
      work.tokens.prompt += promptTokens
      work.tokens.reused += reusedTokens
      lap('prefill')
    },
  })
  for (;;) {
    // The reader's time between two tokens is not the model's.
    from = performance.now()
    const next = await tokens.next()
    lap('decode')
    if (next.done) return finish(work, next.value)
    yield { type: 'token', text: next.value.text, id: next.value.id }
  }
}

function finish(work: Work, { text, finishReason, tokens }: Generated): TextOutput {
  work.tokens.generated += tokens
  return { text, finishReason }
}

/** Gives no events: the answer is one reading of the labels' probabilities. */
export async function* classify(request: ClassifyRequest, work: Work): AsyncGenerator<never, ClassifyOutput> {
  const { text, labels, calibration, adapter } = request
  if (text.trim() === '') throw emptyInput('text')
  checkLabels(labels)
  if (Array.isArray(calibration) && calibration.length === 0)
    throw new M4Error('EMPTY_INPUT', 'calibration: expected unlabelled texts, got none.', {
      hint: 'About 20 are enough; leave the field out to go without.',
    })
  const backbone = await work.use('backbone')
  backbone.context.useAdapter(adapter)
  const score = async (input: string) => {
    const { logProbabilities, scoredTokens, prefilled } = await work.stage('score', () =>
      scoreLabels(backbone.context, labelPlan(backbone, request, input), work.signal),
    )
    work.tokens.prompt += prefilled.promptTokens
    work.tokens.reused += prefilled.reusedTokens
    work.tokens.scored += scoredTokens
    return logProbabilities
  }
  const { shared, own } = classPrompt(request, '{}')
  const basis: CalibrationBasis = {
    prompt: shared + own,
    adapter: adapter?.name ?? null,
    image: work.image.digest,
  }
  const used = await calibrationOf(calibration, labels, basis, score)
  const scores = rankLabels(labels, await score(text), used)
  return { label: scores[0]!.label, scores, ...(used ? { calibration: used } : {}) }
}

async function calibrationOf(
  given: ClassifyRequest['calibration'],
  labels: readonly string[],
  basis: CalibrationBasis,
  score: (text: string) => Promise<readonly number[]>,
): Promise<Calibration | undefined> {
  if (given === undefined) return undefined
  if ('means' in given) {
    checkCalibration(given, labels, basis)
    return given
  }
  const rows: (readonly number[])[] = []
  for (const text of given) rows.push(await score(text))
  return calibrate(rows, labels, basis)
}

function classPrompt({ template, examples, instruction, names = CLASS_NAMES }: ClassifyRequest, text: string) {
  if (template !== undefined) return fillTemplate(template, text)
  const shown = examples?.map((example) => ({ input: example.text, output: example.label }))
  return linePrompt({ input: text, examples: shown, instruction, names })
}

function labelPlan(backbone: Backbone, request: ClassifyRequest, text: string): LabelPlan {
  const lineEnd = { between: ' ', end: '\n' }
  const textEnd = { between: '', end: backbone.facts.eosIds[0] ?? '\n' }
  const around = request.template === undefined ? lineEnd : textEnd
  return planLabels(backbone.tokenizer, classPrompt(request, text), request.labels, around)
}

/** @throws M4Error `INVALID_REQUEST` unless there are two or more labels, all different and none empty */
export function checkLabels(labels: readonly string[]): void {
  const clean = new Set(labels.filter((label) => label.trim() !== ''))
  if (labels.length >= 2 && clean.size === labels.length) return
  throw new M4Error(
    'INVALID_REQUEST',
    `labels: expected two or more, all different and none empty, got ${JSON.stringify(labels)}.`,
  )
}

const emptyInput = (field: string) =>
  new M4Error('EMPTY_INPUT', `The ${field} is empty.`, { hint: 'Give it some text.', details: { field } })
