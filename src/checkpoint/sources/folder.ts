/**
 * Models that are several files (config.json beside shards, a diffusers folder): each file pinned by itself, laid out in a folder
 * of links that is named by its content.
 */

import { link, mkdir, stat, symlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import { m4fmHome, temporaryBeside } from '../../core/files.js'
import { replaceFolder } from '../../core/folders.js'
import { sha256Hex } from '../../core/hash.js'
import { pinSources } from './pins.js'
import { pullSources } from './pull.js'
import type { PullOptions, RecipeSource } from './types.js'

export interface SourceFolder {
  /** Path below the folder (`config.json`, `unet/config.json`) → file. */
  readonly files: Readonly<Record<string, RecipeSource>>
}

/**
 * Path of a folder with these files, pulled where they are missing. The same files give the same folder.
 * @throws M4Error as `pullSources`; `INVALID_REQUEST` for a path that leads out of the folder
 */
export async function pullFolder({ files }: SourceFolder, options: PullOptions = {}): Promise<string> {
  const home = options.home ?? m4fmHome(options.env ?? process.env)
  const names = Object.keys(files).sort()
  for (const name of names) assertInside(name)
  const pinned = await pinSources(
    names.map((name) => files[name]!),
    options,
  )
  const blobs = await pullSources(pinned, options)
  const listing = names.map((name, i) => `${pinned[i]!.sha256} ${name}\n`).join('')
  const folder = join(home, 'folders', `sha256-${sha256Hex(listing)}`)
  if (await holds(folder, names)) return folder
  const staging = temporaryBeside(folder)
  try {
    for (const [i, name] of names.entries()) {
      const path = join(staging, name)
      await mkdir(dirname(path), { recursive: true })
      await linkTo(resolve(blobs[i]!), path)
    }
    await replaceFolder(staging, folder)
  } catch (error) {
    throw wrapSystemError(error, `Laying out ${folder}`)
  }
  return folder
}

function assertInside(name: string): void {
  if (name !== '' && !/^[/\\]|^[a-z]:/i.test(name) && !name.split(/[/\\]/).some((part) => /^\.{0,2}$/.test(part)))
    return
  throw new M4Error('INVALID_REQUEST', `"${name}" is no path below a folder.`, {
    hint: 'Name files as the model has them, e.g. config.json or unet/config.json.',
  })
}

async function holds(folder: string, names: readonly string[]): Promise<boolean> {
  const found = await Promise.all(names.map((name) => stat(join(folder, name)).catch(() => undefined)))
  return found.every((each) => each?.isFile())
}

/** A hard link needs no rights and no space; a file system without them gets a symbolic one. */
async function linkTo(blob: string, path: string): Promise<void> {
  try {
    await link(blob, path)
  } catch {
    await symlink(blob, path)
  }
}
