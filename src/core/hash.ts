/** sha-256 and friends, the same digest strings everywhere: `sha256-<hex>` for files, `sha512-<base64>` for npm tarballs. */

import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { throwIfAborted, wrapSystemError } from './errors.js'

export function sha256Hex(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Streams a file through sha-256. @throws M4Error `FILE_NOT_FOUND`, `IO`, `ABORTED` */
export async function sha256File(
  path: string,
  options: { onBytes?: (count: number) => void; signal?: AbortSignal } = {},
): Promise<string> {
  const hash = createHash('sha256')
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 4 << 20 })) {
      throwIfAborted(options.signal)
      hash.update(chunk)
      options.onBytes?.(chunk.length)
    }
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
  return hash.digest('hex')
}
