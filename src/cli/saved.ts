/** Answers that are files: written before anything is printed, and printed as what is in them. */

import { M4Error } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'
import type { Outputs, Task } from '../runtime/requests.js'
import { type OptionValues, textOption } from './context.js'

type Saver<T extends Task> = (output: Outputs[T], path: string) => Promise<unknown>

const SAVERS: { readonly [T in Task]?: Saver<T> } = Object.freeze({
  paint: async (picture, path) => {
    const { encodePng } = await import('../media/index.js')
    await atomicWriteFile(path, await encodePng(picture))
    return { width: picture.width, height: picture.height, out: path }
  },
  /** Grey: the number of the class, or the share of foreground in 255 steps. */
  segment: async (output, path) => {
    const { encodePng } = await import('../media/index.js')
    const { width, height } = output
    const levels = 'mask' in output ? output.mask : output.alpha.map((share) => Math.round(255 * share))
    const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => levels[Math.floor(i / 3)]!)
    await atomicWriteFile(path, await encodePng({ data, width, height }))
    const shareOf = (counts: (level: number) => number) =>
      levels.reduce((sum: number, level: number) => sum + counts(level), 0)
    const found =
      'mask' in output
        ? { labels: output.labels.map((label, k) => ({ label, dots: shareOf((level) => Number(level === k)) })) }
        : { foregroundDots: shareOf((level) => level / 255) }
    return { width, height, ...found, out: path }
  },
  speak: async ({ samples, ...facts }, path) => {
    const { encodeWav16 } = await import('../media/index.js')
    await atomicWriteFile(path, encodeWav16(samples, facts.sampleRateHz))
    return { ...facts, out: path }
  },
})

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
