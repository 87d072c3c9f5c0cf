/** How good a join of sounds is on speakers and sounds that it never heard, and how near an answer must lie to be believed. */

import type { HostTensor } from '../../core/tensor.js'
import { probabilitiesOf } from '../../runtime/class-head.js'
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

/** One answer: cosines to the texts that were offered, and which of them would be right. */
interface Answer {
  readonly cosines: readonly number[]
  readonly wanted: number
}

/** Share of the right answers that lie too far away to be believed. */
const FARTHEST = 0.02
/** Cosines of one answer times one of these go into its softmax. */
const SCALES = [10, 15, 20, 25, 30, 40, 50, 60, 80, 100]

export function measureSounds(
  tensors: Tensors,
  { sounds, features }: HeldOut,
  trained: Prompts,
  unseen: Prompts,
): LiteRecord['metrics'] {
  const vectors = sounds.map((_, i) => joined(tensors, rowOf(features, i)))
  const answers = (subjects: Subjects, texts: readonly Float32Array[]) =>
    sounds.flatMap((sound, i) => {
      const wanted = classOf(subjects, sound)
      return wanted === undefined || wanted >= texts.length ? [] : [answer(vectors[i]!, texts, wanted)]
    })
  const names = (prompts: Prompts) => prompts.digits[0]!.slice(0, DIGITS.length)
  const digits = answers('digits', names(trained))
  const kinds = { trained: answers('kinds', trained.kinds[0]!), unseen: answers('kinds', unseen.kinds[0]!) }
  const [chosen, measured] = [halfOf(digits, 0), halfOf(digits, 1)]
  const logitScale = scaleOf(chosen)
  const threshold = thresholdOf(chosen, logitScale)
  const leastCosine = quantile([...chosen, ...halfOf(kinds.unseen, 0)].filter(isRight).map(nearest), FARTHEST)
  const share = (list: readonly Answer[], holds: (each: Answer) => boolean, note: string) => ({
    value: round(list.filter(holds).length / list.length),
    count: list.length,
    note,
  })
  const isBelieved = (each: Answer) => nearest(each) >= leastCosine && surest(each, logitScale) >= threshold
  const sentences = sounds.flatMap(({ kind, digit }, i) =>
    kind === 'speech' && digit === undefined ? [answer(vectors[i]!, names(trained), -1)] : [],
  )
  return {
    digits: share(digits, isRight, '10 names as labels; speakers that training never heard'),
    digitsOtherWording: share(answers('digits', names(unseen)), isRight, 'texts that were never trained on'),
    kinds: share(kinds.trained, isRight, '5 kinds by name; all but speech are synthetic'),
    kindsOtherWording: share(kinds.unseen, isRight, 'texts that were never trained on; synthetic'),
    logitScale: { value: logitScale, count: chosen.length, note: 'chosen on every other digit' },
    threshold: {
      value: threshold,
      count: chosen.length,
      note: 'least probability of a confident answer, chosen on the same',
    },
    leastCosine: {
      value: leastCosine,
      count: chosen.length,
      note: 'of a confident answer, chosen on every other sound',
    },
    rightConfident: share(measured.filter(isRight), isBelieved, 'of the right answers, on the other digits'),
    wrongRefused: share(
      measured.filter((each) => !isRight(each)),
      (each) => !isBelieved(each),
      'of the wrong answers, on the other digits',
    ),
    kindsConfident: share(
      halfOf(kinds.unseen, 1).filter(isRight),
      isBelieved,
      'of the right answers in other wording, on the other sounds',
    ),
    missingRefused: share(measured.map(withoutOwn), (each) => !isBelieved(each), 'digits whose own name is no label'),
    sentencesRefused: share(sentences, (each) => !isBelieved(each), 'sentences, labels are the digits'),
  }
}

const answer = (vector: Float32Array, texts: readonly Float32Array[], wanted: number): Answer => ({
  cosines: texts.map((text) => dot(vector, text)),
  wanted,
})
const nearest = ({ cosines }: Answer) => Math.max(...cosines)
const surest = ({ cosines }: Answer, scale: number) => Math.max(...probabilitiesOf(cosines.map((each) => scale * each)))
const isRight = (each: Answer) => each.cosines.indexOf(nearest(each)) === each.wanted
const withoutOwn = ({ cosines, wanted }: Answer): Answer => ({
  cosines: cosines.filter((_, k) => k !== wanted),
  wanted: -1,
})
const halfOf = (answers: readonly Answer[], odd: number) => answers.filter((_, i) => i % 2 === odd)

/** Where as large a share of right answers is believed as is refused of answers whose own label is missing. */
function thresholdOf(chosen: readonly Answer[], scale: number): number {
  const right = chosen.filter(isRight).map((each) => surest(each, scale))
  const missing = chosen.map((each) => surest(withoutOwn(each), scale))
  const above = (list: readonly number[], least: number) => list.filter((each) => each >= least).length / list.length
  const gap = (least: number) => Math.abs(above(right, least) + above(missing, least) - 1)
  return round(right.reduce((best, each) => (gap(each) < gap(best) ? each : best)))
}

const quantile = (values: readonly number[], share: number) =>
  round(values.toSorted((a, b) => a - b)[Math.floor(share * values.length)]!)

/** The scale at which the probabilities of the right labels are largest. */
function scaleOf(chosen: readonly Answer[]): number {
  const loss = (scale: number) =>
    chosen.reduce(
      (sum, { cosines, wanted }) => sum - Math.log(probabilitiesOf(cosines.map((each) => scale * each))[wanted]!),
      0,
    )
  return SCALES.reduce((best, scale) => (loss(scale) < loss(best) ? scale : best))
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
