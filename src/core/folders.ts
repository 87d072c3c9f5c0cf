/** Folders that appear whole or not at all. Node only. */

import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { wrapSystemError } from './errors.js'
import { syncFolder, temporaryBeside } from './files.js'

/**
 * Puts the finished folder `staging` in the place of `target`. A folder that is there is moved aside first and deleted after,
 * so that a crash in between loses neither.
 * @throws M4Error `IO`
 */
export async function replaceFolder(staging: string, target: string): Promise<void> {
  const aside = temporaryBeside(target)
  const isMissing = (error: NodeJS.ErrnoException) => error.code === 'ENOENT'
  try {
    await rename(target, aside).catch((error) => {
      if (!isMissing(error)) throw error
    })
    await rename(staging, target)
    await syncFolder(dirname(target))
    await rm(aside, { recursive: true, force: true })
  } catch (error) {
    throw wrapSystemError(error, `Replacing ${target}`)
  }
}
