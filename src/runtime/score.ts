/**
 * Labels by probability: how likely the backbone finds each label behind a prompt. Small models favour some labels whatever the
 * text; calibration takes that away by subtracting each label's mean log-probability over unlabelled texts (TinyLlama on SST-2:
 * 49 % plain, 87 % calibrated; 20 texts are enough, content-free text is not: reference/lite.md §2).
 */

import { M4Error } from '../core/errors.js'
import type { Tokenizer } from '../tokenizers/index.js'
import type { Context, Prefilled } from './context.js'
import { logProbability, logSumExp } from './logits.js'
import type { Segment } from './prompt-plan.js'
import { commonPrefix, cutAt, encodePrompt, promptSegments, type TextPrompt } from './prompts.js'

export interface LabelScore {
  readonly label: string
  /** Sum of the log-probabilities of the label's tokens, nats. */
  readonly logProbability: number
  /** The same, less the calibration. */
  readonly score: number
  /** Softmax of the scores over all labels. */
  readonly probability: number
}

/** How much the model favours each label under one prompt. Plain data: keep it, and give it back with the next text. */
export interface Calibration {
  readonly labels: readonly string[]
  /** Mean log-probability of each label. */
  readonly means: readonly number[]
  /** How many unlabelled texts it is the mean of. */
  readonly texts: number
  /** What it holds for: the prompt without its text, the adapter's name, the image's digest. */
  readonly basis: CalibrationBasis
}

export interface CalibrationBasis {
  readonly prompt: string
  readonly adapter: string | null
  readonly image: string
}

/** A prompt whose continuations are to be compared. */
export interface LabelPlan {
  readonly segments: readonly Segment[]
  /** Token ids of each label behind the segments. */
  readonly continuations: readonly (readonly number[])[]
}

/**
 * Tokens of every label behind a prompt. Where one label begins another, each gets an end, or the shorter would always win.
 * @param between what stands between prompt and label
 * @param end id or text of that end: end-of-text for prompts of one's own, a line end for line prompts
 */
export function planLabels(
  tokenizer: Tokenizer,
  prompt: TextPrompt,
  labels: readonly string[],
  { between, end }: { readonly between: string; readonly end: number | string },
): LabelPlan {
  const text = prompt.shared + prompt.own
  const plain = labels.map((label) => encodePrompt(tokenizer, text + between + label))
  const ambiguous = plain.some((a, i) => plain.some((b, j) => i !== j && commonPrefix(a, b) === a.length))
  const whole = !ambiguous
    ? plain
    : typeof end === 'number'
      ? plain.map((ids) => [...ids, end])
      : labels.map((label) => encodePrompt(tokenizer, text + between + label + end))
  // The prompt's last token may join the label's first: only what all have in common is the prompt.
  const ids = encodePrompt(tokenizer, text)
  const shared = whole.reduce((least, label) => Math.min(least, commonPrefix(ids, label), label.length - 1), ids.length)
  const firstCut = promptSegments(tokenizer, prompt)[0]?.ids?.length ?? 0
  return {
    segments: cutAt(ids.slice(0, shared), firstCut < shared ? [firstCut] : []),
    continuations: whole.map((label) => label.slice(shared)),
  }
}

export interface Scored {
  /** In the order of the labels, nats. */
  readonly logProbabilities: readonly number[]
  /** Tokens whose probability was read. */
  readonly scoredTokens: number
  readonly prefilled: Prefilled
}

/**
 * One run for the prompt, one more for each label of several tokens.
 * @throws M4Error `EMPTY_INPUT`, `CONTEXT_OVERFLOW`, `ABORTED`
 */
export async function scoreLabels(
  context: Context,
  { segments, continuations }: LabelPlan,
  signal?: AbortSignal,
): Promise<Scored> {
  context.assertFits(segments, Math.max(...continuations.map(({ length }) => length)))
  const prefilled = await context.prefill(segments, { signal })
  const first = logSumExp(prefilled.logits, 0, prefilled.logits.length)
  const sums = continuations.map(([id]) => prefilled.logits[id!]! - first)
  const vocabulary = prefilled.logits.length
  const end = context.mark()
  for (const [i, ids] of continuations.entries()) {
    if (ids.length === 1) continue
    const add = (logits: Float32Array, from: number) => {
      for (let row = 0; row < logits.length / vocabulary; row++)
        sums[i]! += logProbability(logits, row * vocabulary, vocabulary, ids[from + row + 1]!)
    }
    await context.evaluateAll(ids.slice(0, -1), add, { signal })
    context.rewind(end)
  }
  const scoredTokens = continuations.reduce((sum, { length }) => sum + length, 0)
  return { logProbabilities: sums, scoredTokens, prefilled }
}

/** Mean of each label over texts. [texts][labels] */
export function calibrate(
  rows: readonly (readonly number[])[],
  labels: readonly string[],
  basis: CalibrationBasis,
): Calibration {
  const means = labels.map((_, i) => rows.reduce((sum, row) => sum + row[i]!, 0) / rows.length)
  return { labels: [...labels], means, texts: rows.length, basis }
}

/** @throws M4Error `INVALID_REQUEST` when a calibration was made for other labels, another prompt, adapter or image */
export function checkCalibration(calibration: Calibration, labels: readonly string[], basis: CalibrationBasis): void {
  const wrong =
    calibration.labels.join('\n') !== labels.join('\n')
      ? `labels ${calibration.labels.join(', ')}`
      : (['prompt', 'adapter', 'image'] as const)
          .filter((field) => calibration.basis[field] !== basis[field])
          .map((field) => `${field} ${JSON.stringify(calibration.basis[field])}`)[0]
  if (wrong)
    throw new M4Error('INVALID_REQUEST', `The calibration was made for ${wrong}, which this request does not have.`, {
      hint: 'Give unlabelled texts instead, and keep the calibration of the answer.',
    })
}

/** Labels with scores and probabilities, best first; equals keep the order given. */
export function rankLabels(
  labels: readonly string[],
  logProbabilities: readonly number[],
  calibration?: Calibration,
): LabelScore[] {
  const scores = logProbabilities.map((value, i) => value - (calibration?.means[i] ?? 0))
  const best = Math.max(...scores)
  const weights = scores.map((score) => Math.exp(score - best))
  const sum = weights.reduce((a, b) => a + b, 0)
  return labels
    .map((label, i) => ({
      label,
      logProbability: logProbabilities[i]!,
      score: scores[i]!,
      probability: weights[i]! / sum,
    }))
    .sort((a, b) => b.score - a.score)
}
