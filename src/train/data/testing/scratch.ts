/** A folder of the test's own, and files in it. */

import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Finding, FindingCode } from '../findings.js'

export interface Scratch {
  readonly path: string
  /** Writes files given by their path below the folder; gives the absolute path of the first. */
  readonly write: (files: Readonly<Record<string, string | Uint8Array>>) => string
}

export function scratchFolder(): Scratch {
  const path = mkdtempSync(join(tmpdir(), 'm4fm-data-'))
  return {
    path,
    write(files) {
      for (const [name, content] of Object.entries(files)) {
        mkdirSync(dirname(join(path, name)), { recursive: true })
        writeFileSync(join(path, name), content)
      }
      return join(path, Object.keys(files)[0]!)
    },
  }
}

export const codesOf = (findings: readonly Finding[]): FindingCode[] => findings.map(({ code }) => code)

export const findingOf = (findings: readonly Finding[], code: FindingCode): Finding | undefined =>
  findings.find((finding) => finding.code === code)
