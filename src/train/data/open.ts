/** A path → samples, with what is odd about them said. */

import { stat } from 'node:fs/promises'
import { dirname, relative, resolve } from 'node:path'
import { wrapSystemError } from '../../core/errors.js'
import { sha256Hex } from '../../core/hash.js'
import { checkSamples } from './checks.js'
import { findingList } from './findings.js'
import { READERS, recogniseFormat } from './formats.js'
import { labelOf } from './keys.js'
import { byCodeUnit, filesBelow } from './media-files.js'
import type { Source } from './reader.js'
import type { DataFile, DataSet, OpenOptions, Sample } from './samples.js'
import { readTextFile } from './text-file.js'

/**
 * Reads a data set: CSV or TSV with a header `text,label`, `prompt,answer`, `image,label`, `image,caption` or `sound,label`; JSONL
 * or a JSON list of objects with the same fields, or OpenAI's `messages`; a folder of pictures or WAV files by class; COCO JSON;
 * tables of motion. Media are hashed, not decoded. Faults of single rows are findings, see `assertUsable`.
 *
 * @throws M4Error `FILE_NOT_FOUND`, `IO`, `ABORTED`; `EMPTY_INPUT` for an empty file or folder; `FORMAT_UNSUPPORTED` for what no
 * reader reads; `FORMAT_INVALID` for a missing header, for text that is not UTF-8 (`details.offset`), and for what else makes the
 * whole unreadable; `UNKNOWN_NAME` for `columns` that are not there
 */
export async function openDataSet(path: string, options: OpenOptions = {}): Promise<DataSet> {
  const { onProgress: _, signal: __, ...asData } = options
  const source = await sourceAt(resolve(path), options)
  const findings = findingList()
  const reading = await READERS[recogniseFormat(source, options)](source, options, findings)
  const labels = sortLabels(reading.labels ?? labelsOf(reading.samples))
  checkSamples(reading, labels, options, findings)
  return {
    path: source.path,
    kind: reading.kind,
    samples: reading.samples,
    labels,
    digest: digestOf(source, reading.files),
    files: reading.files,
    findings: findings.list(),
    options: asData,
  }
}

async function sourceAt(path: string, options: OpenOptions): Promise<Source> {
  let isFolder: boolean
  try {
    isFolder = (await stat(path)).isDirectory()
  } catch (error) {
    throw wrapSystemError(error, `Opening ${path}`)
  }
  return isFolder
    ? { type: 'folder', path, below: await filesBelow(path, options) }
    : { type: 'file', path, text: await readTextFile(path) }
}

function labelsOf(samples: readonly Sample[]): string[] {
  const labels = new Set<string>()
  for (const sample of samples) {
    const label = labelOf(sample)
    if (label !== undefined) labels.add(label)
  }
  return [...labels]
}

/** Numbers by value, so that 10 comes behind 9; then names. */
export function sortLabels(labels: readonly string[]): readonly string[] {
  const isNumber = (label: string) => /^-?\d+(\.\d+)?$/.test(label)
  return [...labels].sort((a, b) => {
    if (isNumber(a) !== isNumber(b)) return isNumber(a) ? -1 : 1
    return (isNumber(a) ? Number(a) - Number(b) : 0) || byCodeUnit(a, b)
  })
}

/** One file: its own sha-256. Several: over their paths and digests, so that neither order nor place on disk matters. */
function digestOf(source: Source, files: readonly DataFile[]): string {
  if (files.length === 1 && source.type === 'file') return files[0]!.sha256
  const base = source.type === 'folder' ? source.path : dirname(source.path)
  const lines = files.map(({ path, sha256 }) => `${relative(base, path).replaceAll('\\', '/')}\0${sha256}\n`)
  return sha256Hex(lines.sort(byCodeUnit).join(''))
}
