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

/** What decides the scores of masks, per class; of several pictures they are added up. */
export interface MaskCounts {
  /** Pixels that both sides give the class. */
  readonly right: Float64Array
  readonly wanted: Float64Array
  readonly got: Float64Array
}

/** Pixels that the truth labels `ignore` do not count. A predicted label outside the classes is wrong for its true class. */
export function maskCounts(
  truth: Labels,
  predicted: Labels,
  { classes, ignore }: { readonly classes: number; readonly ignore?: number },
): MaskCounts {
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
  return { right, wanted, got }
}

/** Of one picture, or of pictures one after the other. See `maskCounts`. */
export const segmentation = (
  truth: Labels,
  predicted: Labels,
  options: { readonly classes: number; readonly ignore?: number },
): Segmentation => segmentationScores([maskCounts(truth, predicted, options)])

/** Over a whole set. */
export function segmentationScores(pictures: readonly MaskCounts[]): Segmentation {
  const classes = pictures[0]!.right.length
  const perClass = (of: (k: number) => number) => Array.from({ length: classes }, (_, k) => of(k))
  const sum = (part: keyof MaskCounts) => perClass((k) => pictures.reduce((all, counts) => all + counts[part][k]!, 0))
  const [right, wanted, got] = [sum('right'), sum('wanted'), sum('got')]
  const iou = perClass((k) => right[k]! / (wanted[k]! + got[k]! - right[k]!))
  const total = (counts: readonly number[]) => counts.reduce((all, count) => all + count, 0)
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
