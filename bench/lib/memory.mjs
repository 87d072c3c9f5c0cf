/** Memory of this process as Linux counts it (proc(5), smaps_rollup); nothing elsewhere. */

import { readFileSync } from 'node:fs'

/** Resident and anonymous (not backed by a file, so not evictable) megabytes; undefined where /proc is not Linux's. */
export function memoryMb() {
  try {
    const text = readFileSync('/proc/self/smaps_rollup', 'utf8')
    const mb = (field) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)[1]) / 1024
    return { residentMb: mb('Rss'), anonymousMb: mb('Anonymous') }
  } catch {
    return undefined
  }
}
