/** What every reader gets and gives. */

import { M4Error } from '../../core/errors.js'
import type { FindingList } from './findings.js'
import type { DataFile, OpenOptions, Sample, SampleKind } from './samples.js'
import type { TextFile } from './text-file.js'

/** What `openDataSet` found at the path, before anybody knows what it means. */
export type Source =
  | { readonly type: 'file'; readonly path: string; readonly text: TextFile }
  /** `below`: paths below the folder, `/` between parts, in order. */
  | { readonly type: 'folder'; readonly path: string; readonly below: readonly string[] }

export interface Reading {
  readonly kind: SampleKind
  readonly samples: readonly Sample[]
  readonly files: readonly DataFile[]
  /** Where the file lists its labels itself. */
  readonly labels?: readonly string[]
}

export type Reader = (source: Source, options: OpenOptions, findings: FindingList) => Promise<Reading>

/** @throws M4Error `FORMAT_INVALID` for a folder where the reader takes one file */
export function requireFile(source: Source, what: string): TextFile {
  if (source.type === 'file') return source.text
  throw new M4Error('FORMAT_INVALID', `${source.path} is a folder, expected ${what}.`, {
    hint: 'Give the file itself.',
    details: { path: source.path },
  })
}

/** @throws M4Error `FORMAT_INVALID` for a file where the reader takes a folder */
export function requireFolder(source: Source, what: string): readonly string[] {
  if (source.type === 'folder') return source.below
  throw new M4Error('FORMAT_INVALID', `${source.path} is a file, expected ${what}.`, {
    hint: 'Give the folder.',
    details: { path: source.path },
  })
}
