/** Answers that are files: written before anything is printed, and printed as what is in them. */

import { M4Error } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'
import type { Outputs, Task } from '../runtime/requests.js'
import { type OptionValues, textOption } from './context.js'

type Saver<T extends Task> = (output: Outputs[T], path: string) => Promise<unknown>

const savePicture: Saver<'paint' | 'upscale'> = async (picture, path) => {
  const { encodePng } = await import('../media/index.js')
  await atomicWriteFile(path, await encodePng(picture))
  return { width: picture.width, height: picture.height, out: path }
}

const SAVERS: { readonly [T in Task]?: Saver<T> } = Object.freeze({
  paint: savePicture,
  upscale: savePicture,
  /** Grey: the number of the class, or the share of foreground in 255 steps. */
  segment: async (output, path) => {
    const { encodePng } = await import('../media/index.js')
    const { width, height } = output
    const levels: ArrayLike<number> = 'mask' in output ? output.mask : output.alpha.map((share) => 255 * share)
    if ('mask' in output && output.labels.length > 256)
      throw new M4Error(
        'NOT_AVAILABLE',
        `A grey PNG tells 256 classes apart, the adapter has ${output.labels.length}.`,
        {
          hint: 'Ask through the runtime, which gives numbers.',
        },
      )
    const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => Math.round(levels[Math.floor(i / 3)]!))
    await atomicWriteFile(path, await encodePng({ data, width, height }))
    return { width, height, ...maskFacts(output), out: path }
  },
  speak: async ({ samples, ...facts }, path) => {
    const { encodeWav16 } = await import('../media/index.js')
    await atomicWriteFile(path, encodeWav16(samples, facts.sampleRateHz))
    return { ...facts, out: path }
  },
})

/** How many dots are of each class, or of the foreground. */
function maskFacts(output: Outputs['segment']) {
  if (!('mask' in output)) return { foregroundDots: output.alpha.reduce((sum, share) => sum + share, 0) }
  const dots = output.labels.map(() => 0)
  for (const label of output.mask) dots[label]!++
  return { labels: output.labels.map((label, k) => ({ label, dots: dots[k]! })) }
}

/** Whether the answer of `task` needs `--out`. */
export const isSaved = (task: Task): boolean => Object.hasOwn(SAVERS, task)

/** @throws M4Error `USAGE` before anything is computed, where a file is needed and none is named */
export function checkOut(task: Task, options: OptionValues): void {
  if (isSaved(task) && textOption(options, 'out') === undefined)
    throw new M4Error('USAGE', `run --task ${task}: expected --out.`, {
      hint: `Name the file that the answer goes to, e.g. --out ${task === 'speak' ? 'speech.wav' : 'picture.png'}.`,
      details: { task },
    })
}

/** What there is to print of an answer; its file is written. @throws M4Error `IO`, `DISK_FULL` */
export async function saveOutput<T extends Task>(task: T, output: Outputs[T], options: OptionValues): Promise<unknown> {
  const save = SAVERS[task] as Saver<T> | undefined
  const path = textOption(options, 'out')
  return save && path !== undefined ? save(output, path) : output
}
