/** A graph of an image as data; its weights are read when they are asked for. */

import { closeSync, openSync, readSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { decodeModel, type Graph } from '../../graph/index.js'

/** @throws M4Error `FORMAT_INVALID`, `FORMAT_UNSUPPORTED` */
export async function readGraph(path: string): Promise<Graph> {
  const folder = dirname(path)
  return decodeModel(await readFile(path), {
    readExternal: (location, offset, length) => {
      const file = openSync(join(folder, basename(location)), 'r')
      try {
        const bytes = Buffer.allocUnsafeSlow(length)
        for (let done = 0; done < length; ) {
          const got = readSync(file, bytes, done, length - done, offset + done)
          if (got === 0) break
          done += got
        }
        return bytes
      } finally {
        closeSync(file)
      }
    },
  })
}
