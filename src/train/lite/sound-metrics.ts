/** How good a join of sounds is on speakers and sounds that it never heard, and how near an answer must lie to be believed. */

import type { HostTensor } from '../../core/tensor.js'
import type { FeatureCache } from '../encoders/features.js'
import type { LiteRecord } from './module.js'
import { classOf, type Subjects } from './sound-prompts.js'
import { DIGITS, type TaughtSound } from './sound-sets.js'

type Tensors = Readonly<Record<string, HostTensor<'float32'>>>
type Prompts = Readonly<Record<Subjects, readonly (readonly Float32Array[])[]>>

interface HeldOut {
  readonly sounds: readonly TaughtSound[]
  readonly features: FeatureCache
}

/** One answer: how near the nearest text lies, and whether it is the right one. */
export interface Answer {
  readonly nearest: number
  readonly right: boolean
}

export function measureSounds(
  tensors: Tensors,
  heldOut: HeldOut,
  trained: Prompts,
  unseen: Prompts,
): LiteRecord['metrics'] {
  const vectors = heldOut.sounds.map((_, i) => joined(tensors, rowOf(heldOut.features, i)))
  const share = (subjects: Subjects, texts: readonly Float32Array[], most?: number) => {
    const answers = answersOf(heldOut.sounds, vectors, subjects, texts, most)
    return { value: round(answers.filter(({ right }) => right).length / answers.length), count: answers.length }
  }
  const digits = (prompts: Prompts) => share('digits', prompts.digits[0]!.slice(0, DIGITS.length), DIGITS.length)
  const threshold = thresholdOf(heldOut.sounds, vectors, trained.digits[0]!.slice(0, DIGITS.length))
  return {
    digits: { ...digits(trained), note: '10 classes by name, speakers theo and yweweler' },
    digitsOtherWording: { ...digits(unseen), note: 'texts that were never trained on' },
    kinds: { ...share('kinds', trained.kinds[0]!), note: '5 kinds by name; all but speech made up' },
    kindsOtherWording: { ...share('kinds', unseen.kinds[0]!), note: 'texts that were never trained on' },
    ...threshold,
  }
}

function answersOf(
  sounds: readonly TaughtSound[],
  vectors: readonly Float32Array[],
  subjects: Subjects,
  texts: readonly Float32Array[],
  classes = texts.length,
): Answer[] {
  return sounds.flatMap((sound, i) => {
    const wanted = classOf(subjects, sound)
    return wanted === undefined || wanted >= classes ? [] : [answer(vectors[i]!, texts, wanted)]
  })
}

function answer(vector: Float32Array, texts: readonly Float32Array[], wanted?: number): Answer {
  const cosines = texts.map((text) => dot(vector, text))
  const nearest = Math.max(...cosines)
  return { nearest, right: cosines.indexOf(nearest) === wanted }
}

/**
 * The least closeness that is believed: digits that are offered against digits whose own name is not among the labels. Chosen on one half
 * of the held-out digits so that as many right answers are kept as wrong ones are refused, and measured on the other half.
 */
function thresholdOf(sounds: readonly TaughtSound[], vectors: readonly Float32Array[], texts: readonly Float32Array[]) {
  const spoken = [...sounds.keys()].filter((i) => sounds[i]!.digit !== undefined)
  const half = (odd: number) => {
    const own = spoken.filter((_, k) => k % 2 === odd)
    const digitOf = (i: number) => sounds[i]!.digit!
    return {
      offered: own.map((i) => answer(vectors[i]!, texts, digitOf(i))).filter(({ right }) => right),
      missing: own.map((i) =>
        answer(
          vectors[i]!,
          texts.filter((_, k) => k !== digitOf(i)),
        ),
      ),
    }
  }
  const kept = (side: readonly Answer[], least: number) =>
    side.filter(({ nearest }) => nearest >= least).length / side.length
  const [chosen, measured] = [half(0), half(1)]
  const gap = (least: number) => Math.abs(kept(chosen.offered, least) - (1 - kept(chosen.missing, least)))
  const least = chosen.offered
    .map(({ nearest }) => nearest)
    .reduce((best, each) => (gap(each) < gap(best) ? each : best), 0)
  return {
    closeness: { value: round(least), count: chosen.offered.length, note: 'least cosine of a confident answer' },
    rightKept: {
      value: round(kept(measured.offered, least)),
      count: measured.offered.length,
      note: 'right answers that are confident',
    },
    missingRefused: {
      value: round(1 - kept(measured.missing, least)),
      count: measured.missing.length,
      note: 'digits whose name is not among the labels: answers that are not confident',
    },
  }
}

/** As the graph `join` and length 1. */
function joined(tensors: Tensors, features: Float32Array): Float32Array {
  const layer = (name: string, x: Float32Array) => {
    const { dims, data } = tensors[`${name}.weight`]!
    const bias = tensors[`${name}.bias`]!.data
    return Float32Array.from(
      { length: dims[0]! },
      (_, o) => dot(data.subarray(o * x.length, (o + 1) * x.length), x) + bias[o]!,
    )
  }
  const out = layer('join', layer('join.first', features).map(gelu))
  const length = Math.sqrt(dot(out, out))
  return out.map((value) => value / length)
}

const gelu = (x: number) => 0.5 * x * (1 + erf(x / Math.SQRT2))

/** Abramowitz and Stegun 7.1.26, to 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x))
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  return Math.sign(x) * (1 - series * Math.exp(-x * x))
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

const rowOf = ({ dims, data }: FeatureCache, i: number) => data.subarray(i * dims[0]!, (i + 1) * dims[0]!)
const round = (value: number) => Math.round(value * 1e4) / 1e4
