/** Which image a command means, and a firmware opened from it. */

import { isM4Error, M4Error } from '../core/errors.js'
import type { CliContext } from './context.js'

/**
 * Folder of the image that `run` and `chat` use when none is named: the active slot, else the built `lite`.
 * @throws M4Error `FILE_NOT_FOUND` with the commands that make one
 */
export async function defaultImage({ home }: Pick<CliContext, 'home'>): Promise<string> {
  const { readDevice, resolveImage } = await import('../firmware/index.js')
  if ((await readDevice(home)).active) return resolveImage('device', { home })
  try {
    return await resolveImage('lite', { home })
  } catch (cause) {
    throw new M4Error('FILE_NOT_FOUND', `No image to run: nothing is flashed and \`lite\` is not built in ${home}.`, {
      hint: 'Run `m4fm pull lite`, `m4fm build lite` and `m4fm flash lite`, or name an image.',
      details: { home },
      cause,
    })
  }
}

/** The image's folder when `name` is that of one (a folder, a built recipe, `device`), else undefined. */
export async function imageNamed(name: string, { home }: Pick<CliContext, 'home'>): Promise<string | undefined> {
  const { RECIPES, resolveImage } = await import('../firmware/index.js')
  // A recipe's name means its image even where that is not built: the error then says how to build it.
  if (name === 'device' || Object.hasOwn(RECIPES, name)) return resolveImage(name, { home })
  if (name === '' || /\s/.test(name)) return undefined
  return resolveImage(name, { home }).catch((error: unknown) => {
    if (isM4Error(error, 'FILE_NOT_FOUND')) return undefined
    throw error
  })
}
