/**
 * Where the clips of a sound or a video lie: evenly spread from the start to as late as a whole clip fits.
 * pytorchvideo counts in fractions of the float durations; so does this, in whole numbers.
 *
 * @reference facebookresearch/pytorchvideo@28fe037:pytorchvideo/data/clip_sampling.py `ConstantClipsPerVideoSampler`
 */

import { M4Error } from '../core/errors.js'

export interface ClipPlan {
  /** Length of a clip, s. */
  readonly clipS: number
  readonly clips: number
}

/** ImageBind hears 3 clips of a sound, and sees 5 of a video. */
export const IMAGEBIND_SOUND_CLIPS: ClipPlan = { clipS: 2, clips: 3 }
export const IMAGEBIND_VIDEO_CLIPS: ClipPlan = { clipS: 2, clips: 5 }

/** A duration that floats hold is a whole number of 2^-52 s, but for those far below a sample. */
const UNITS = 2 ** 52

/** `durationS` s → [start, end) of each clip in s; ends beyond the duration where that is shorter than a clip. */
export function clipTimes(durationS: number, { clipS, clips }: ClipPlan): readonly (readonly [number, number])[] {
  const latest = latestStart(durationS, clipS)
  const gaps = Math.max(clips - 1, 1)
  return Array.from({ length: clips }, (_, i) => {
    const start = (latest * i) / gaps
    return [start, start + clipS]
  })
}

/** `count` samples or frames at `rateHz` → [start, end) of each clip, cut to whole samples as Python's int() does. */
export function clipSpans(count: number, rateHz: number, plan: ClipPlan): readonly (readonly [number, number])[] {
  const latest = BigInt(Math.round(latestStart(count / rateHz, plan.clipS) * UNITS))
  const length = BigInt(Math.round(plan.clipS * UNITS))
  const gaps = BigInt(Math.max(plan.clips - 1, 1))
  const rate = BigInt(rateHz)
  return Array.from({ length: plan.clips }, (_, i) => {
    const start = latest * BigInt(i) // in units · gaps
    const at = (position: bigint) => Number((position * rate) / (gaps * BigInt(UNITS)))
    return [at(start), at(start + length * gaps)]
  })
}

/**
 * A video of `count` frames at `rateHz` → the first and the last frame of each clip. A clip holds the frames whose start lies in it.
 *
 * @reference pytorchvideo/data/encoded_video_decord.py `get_clip`, pytorchvideo/transforms/functional.py
 * `uniform_temporal_subsample` of 2
 * @throws M4Error `EMPTY_INPUT` for no frames, `INVALID_REQUEST` for a rate at which a clip may hold none
 */
export function clipFrames(
  count: number,
  rateHz: number,
  plan: ClipPlan = IMAGEBIND_VIDEO_CLIPS,
): readonly (readonly [first: number, last: number])[] {
  if (!(rateHz * plan.clipS >= 1 && Number.isFinite(rateHz)))
    throw new M4Error(
      'INVALID_REQUEST',
      `video: expected ${1 / plan.clipS} frames per second or more, got ${rateHz}.`,
      { hint: 'Give the rate at which the frames were taken; single pictures are items of their own.' },
    )
  return clipTimes(count / rateHz, plan).map(([start, end]) => {
    const first = Math.min(Math.ceil(start * rateHz), count - 1)
    return [first, Math.max(Math.min(Math.ceil(end * rateHz), count) - 1, first)]
  })
}

function latestStart(durationS: number, clipS: number): number {
  if (!Number.isFinite(durationS) || durationS <= 0)
    throw new M4Error('EMPTY_INPUT', `Clips are cut from something that lasts, got ${durationS} s.`)
  return Math.max(durationS - clipS, 0)
}
