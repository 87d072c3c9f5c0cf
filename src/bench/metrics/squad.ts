/**
 * Question answering over spans: exact match and token F1 after SQuAD's normalisation.
 *
 * @paper arXiv:1606.05250, arXiv:1806.03822 · @reference SQuAD evaluate-v2.0.py
 */

import { harmonic, splitWords } from './words.js'

/** Lower case, no ASCII punctuation, no a/an/the, single spaces. */
export function normalizeAnswer(text: string): string {
  const bare = text.toLowerCase().replace(/[!-/:-@[-`{-~]/g, '')
  // \b of Python sees letters of every script.
  return splitWords(bare.replace(/(?<![\p{L}\p{N}_])(?:a|an|the)(?![\p{L}\p{N}_])/gu, ' ')).join(' ')
}

export const exactMatch = (prediction: string, gold: string): boolean =>
  normalizeAnswer(prediction) === normalizeAnswer(gold)

/** F1 of the tokens as multisets; two empty answers agree, an empty one and another do not. 0–1 */
export function tokenF1(prediction: string, gold: string): number {
  const [got, wanted] = [prediction, gold].map((text) => splitWords(normalizeAnswer(text))) as [string[], string[]]
  if (!got.length || !wanted.length) return got.length === wanted.length ? 1 : 0
  const left = new Map<string, number>()
  for (const word of wanted) left.set(word, (left.get(word) ?? 0) + 1)
  let same = 0
  for (const word of got) {
    const count = left.get(word) ?? 0
    if (count > 0) same++
    left.set(word, count - 1)
  }
  return harmonic(same / got.length, same / wanted.length)
}

/** The variant of the paper's own scripts: tokens as sets, 0 without overlap. 0–1 */
export function setF1(prediction: string, gold: string): number {
  const [got, wanted] = [prediction, gold].map((text) => new Set(splitWords(normalizeAnswer(text)))) as [
    Set<string>,
    Set<string>,
  ]
  const same = [...got].filter((word) => wanted.has(word)).length
  return same ? harmonic(same / got.size, same / wanted.size) : 0
}

/** Best over several right answers. */
export const bestOf = (golds: readonly string[], score: (gold: string) => number): number =>
  Math.max(0, ...golds.map(score))
