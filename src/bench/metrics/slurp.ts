/**
 * SLURP: scenario, action and intent of an utterance, and its entities, exactly or by the distance of their texts. Micro averages.
 *
 * @paper arXiv:2011.13205 · @reference pswietojanski/slurp scripts/evaluation
 */

import { characterErrorRate, wordErrorRate } from './word-error-rate.js'
import { harmonic } from './words.js'

export interface SlurpEntity {
  readonly type: string
  readonly filler: string
}

export interface SlurpMeaning {
  readonly scenario: string
  readonly action: string
  readonly entities: readonly SlurpEntity[]
}

export interface PrecisionRecall {
  readonly precision: number
  readonly recall: number
  readonly f1: number
}

export type SlurpScore = Readonly<
  Record<'scenario' | 'action' | 'intent' | 'entities' | 'words' | 'characters' | 'sluF1', PrecisionRecall>
>

interface Counts {
  right: number
  falsePositives: number
  falseNegatives: number
}

type Add = (counts: Counts, gold: SlurpMeaning, predicted: SlurpMeaning) => void

const label =
  (of: (meaning: SlurpMeaning) => string): Add =>
  (counts, gold, predicted) => {
    const same = of(gold) === of(predicted)
    counts.right += same ? 1 : 0
    counts.falsePositives += same ? 0 : 1
    counts.falseNegatives += same ? 0 : 1
  }

/** Each predicted entity takes the nearest gold one of its type; their distance counts as wrong on both sides. */
const spans =
  (distance: (gold: string, predicted: string) => number): Add =>
  (counts, gold, predicted) => {
    const left = [...gold.entities]
    for (const { type, filler } of predicted.entities) {
      const near = left
        .map((entity, at) => ({ at, type: entity.type, far: distance(entity.filler, filler) }))
        .filter((candidate) => candidate.type === type && candidate.far < Number.POSITIVE_INFINITY)
        .reduce<{ at: number; far: number } | undefined>(
          (best, each) => (best && best.far <= each.far ? best : each),
          undefined,
        )
      if (near) left.splice(near.at, 1)
      counts.right += near ? 1 : 0
      counts.falsePositives += near ? near.far : 1
      counts.falseNegatives += near ? near.far : 0
    }
    counts.falseNegatives += left.length
  }

const METRICS = {
  scenario: label(({ scenario }) => scenario),
  action: label(({ action }) => action),
  intent: label(({ scenario, action }) => `${scenario}_${action}`),
  entities: spans((gold, predicted) => (gold === predicted ? 0 : Number.POSITIVE_INFINITY)),
  words: spans((gold, predicted) => wordErrorRate(gold, predicted).rate ?? Number(predicted !== '')),
  characters: spans(characterDistance),
} as const satisfies Record<string, Add>

/** Gold and predicted meanings in the same order. */
export function slurp(gold: readonly SlurpMeaning[], predicted: readonly SlurpMeaning[]): SlurpScore {
  const sums = Object.fromEntries(
    Object.entries(METRICS).map(([name, add]) => {
      const counts: Counts = { right: 0, falsePositives: 0, falseNegatives: 0 }
      for (const [i, meaning] of gold.entries()) add(counts, meaning, predicted[i]!)
      return [name, counts]
    }),
  ) as Record<keyof typeof METRICS, Counts>
  const { words, characters } = sums
  const both: Counts = {
    right: words.right + characters.right,
    falsePositives: words.falsePositives + characters.falsePositives,
    falseNegatives: words.falseNegatives + characters.falseNegatives,
  }
  return Object.fromEntries(
    Object.entries({ ...sums, sluF1: both }).map(([name, counts]) => [name, ratios(counts)]),
  ) as SlurpScore
}

function ratios({ right, falsePositives, falseNegatives }: Counts): PrecisionRecall {
  const precision = right ? right / (right + falsePositives) : 0
  const recall = right ? right / (right + falseNegatives) : 0
  return { precision, recall, f1: harmonic(precision, recall) }
}

/** Edits over the longer text's length. */
function characterDistance(gold: string, predicted: string): number {
  const longer = Math.max([...gold].length, [...predicted].length)
  return longer ? characterErrorRate(gold, predicted).errors / longer : 0
}
