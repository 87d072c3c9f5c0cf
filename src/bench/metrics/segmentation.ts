/** Masks: intersection over union from one confusion matrix over the whole set, Dice, pixel accuracy; and mattes. */

import { mean } from './words.js'

type Labels = ArrayLike<number | bigint>

export interface Segmentation {
  /** Per class; NaN for a class that neither side has, which the means leave out. */
  readonly iou: readonly number[]
  readonly mIoU: number
  readonly pixelAccuracy: number
  /** Mean recall of the classes. */
  readonly meanAccuracy: number
  readonly dice: readonly number[]
}

/** Pixels that the truth labels `ignore` do not count. A predicted label outside the classes is wrong for its true class. */
export function segmentation(
  truth: Labels,
  predicted: Labels,
  { classes, ignore }: { readonly classes: number; readonly ignore?: number },
): Segmentation {
  const [right, wanted, got] = [0, 1, 2].map(() => new Float64Array(classes)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  for (let i = 0; i < truth.length; i++) {
    const [label, guess] = [Number(truth[i]), Number(predicted[i])]
    if (label === ignore || !(label >= 0 && label < classes)) continue
    wanted[label]!++
    if (guess >= 0 && guess < classes) got[guess]!++
    if (guess === label) right[label]!++
  }
  const perClass = (of: (k: number) => number) => Array.from({ length: classes }, (_, k) => of(k))
  const iou = perClass((k) => right[k]! / (wanted[k]! + got[k]! - right[k]!))
  const total = (counts: Float64Array) => counts.reduce((sum, count) => sum + count, 0)
  return {
    iou,
    mIoU: definedMean(iou),
    pixelAccuracy: total(right) / total(wanted),
    meanAccuracy: definedMean(perClass((k) => right[k]! / wanted[k]!)),
    dice: perClass((k) => (2 * right[k]!) / (wanted[k]! + got[k]!)),
  }
}

const definedMean = (values: readonly number[]) => mean(values.filter((value) => !Number.isNaN(value)))

export interface MatteError {
  /** Sum of absolute differences over 1000. */
  readonly sad: number
  readonly mse: number
}

/** Of alpha mattes in [0, 1]; with a trimap only its unknown pixels (128) count. */
export function matteError(
  truth: ArrayLike<number>,
  predicted: ArrayLike<number>,
  trimap?: ArrayLike<number>,
): MatteError {
  let [sad, squares, count] = [0, 0, 0]
  for (let i = 0; i < truth.length; i++) {
    if (trimap && trimap[i] !== 128) continue
    const difference = predicted[i]! - truth[i]!
    sad += Math.abs(difference)
    squares += difference * difference
    count++
  }
  return { sad: sad / 1000, mse: squares / count }
}
