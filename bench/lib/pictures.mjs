/** What the parts of the benchmark of pictures share: files of folders, answers one by one, adapters by the command line. */

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sharePoints } from './stats.mjs'

const CLI = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** Files of a folder with one folder a class: `{ path, label }`, in order of their paths. @param each of a class, at most */
export const classFiles = (folder, each = Number.POSITIVE_INFINITY) =>
  readdirSync(folder)
    .sort()
    .flatMap((label) =>
      readdirSync(join(folder, label))
        .filter((name) => /\.(png|jpe?g|ppm)$/i.test(name))
        .sort()
        .slice(0, each)
        .map((name) => ({ path: join(folder, label, name), label })),
    )

export const pictureItem = (path) => ({ picture: { file: readFileSync(path) } })

/** One answer a file, through the runtime. */
export async function answers(firmware, files, request) {
  const out = []
  for (const { path } of files) out.push((await firmware.ask({ ...request, items: [pictureItem(path)] })).output)
  return out
}

/** Share of yes, its half width of 95 % in points, and of how many. */
export function share(flags) {
  const value = flags.filter(Boolean).length / flags.length
  return { value, points: sharePoints(value, flags.length), n: flags.length }
}

/** `m4fm adapter train`, as anyone would. @returns folder of the package */
export function trainByCommand(image, data, out, options) {
  const words = ['adapter', 'train', '--image', image, '--data', data, '--out', out, ...options]
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...words], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  })
  if (status !== 0) throw new Error(`m4fm ${words.join(' ')}: ${stderr || stdout}`)
  return out
}
