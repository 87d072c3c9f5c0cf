/** Tables of motion: one file with labels, or a folder of them by class; and the numbers of their samples. */

import { join } from 'node:path'
import { adviceError } from '../../core/advice.js'
import { M4Error, throwIfAborted } from '../../core/errors.js'
import { yieldToEventLoop } from '../../core/progress.js'
import type { MotionRecording } from '../../media/motion.js'
import { findingList } from './findings.js'
import { pathFacts } from './folder-labels.js'
import { TABLE_NAME } from './media-files.js'
import { type MotionTable, motionTable, stretches, timedRecording } from './motion-table.js'
import type { Reader, Reading, Source } from './reader.js'
import type { DataFile, DataSet, MotionLabelSample, ReadOptions } from './samples.js'
import { startOfTable } from './table.js'
import { readTextFile, type TextFile } from './text-file.js'

/**
 * The label of a recording is in its column `label`, else in its path.
 * @throws M4Error `EMPTY_INPUT` without tables; `FORMAT_INVALID` for a table without motion, or one without labels
 */
export const readMotion: Reader = async (source, options, findings): Promise<Reading> => {
  const factsOf = pathFacts(options.pathPattern)
  const samples: MotionLabelSample[] = []
  const files: DataFile[] = []
  let timed = true
  const tables = tablesOf(source)
  for (const { path, name, opened } of tables) {
    throwIfAborted(options.signal)
    const facts = factsOf(name)
    if (!facts) {
      findings.add('other-file', `${name} does not fit the path pattern; left out.`, { file: name })
      continue
    }
    const { text, file } = opened ?? (await readTextFile(path))
    const table = motionTable(path, name, text, options, findings)
    if (!table.labels && !facts.label)
      throw adviceError(
        'FORMAT_INVALID',
        `${path}: expected a column "label", or a class folder above the file.`,
        {
          say: 'Put the files of each class into a folder of its own, or name the column',
          examples: [{ columns: { label: 'activity' } }],
        },
        { path },
      )
    timed &&= table.timesS !== undefined
    for (const stretch of stretches(table, name, facts, findings))
      samples.push({ kind: 'motion-label', path, ...stretch })
    files.push(file)
    options.onProgress?.({ task: 'read data', done: files.length, total: tables.length, unit: 'items' })
    await yieldToEventLoop()
  }
  if (!timed && options.sampleRateHz === undefined)
    findings.add('no-sample-rate', 'No column of times, and no sample rate given: pass sampleRateHz to train on it.')
  return { kind: 'motion-label', samples, files }
}

interface TableFile {
  readonly path: string
  readonly name: string
  readonly opened?: TextFile
}

function tablesOf(source: Source): readonly TableFile[] {
  if (source.type === 'file')
    return [{ path: source.path, name: source.path.split(/[/\\]/).at(-1)!, opened: source.text }]
  const names = source.below.filter((name) => TABLE_NAME.test(name))
  if (!names.length)
    throw new M4Error('EMPTY_INPUT', `${source.path} holds no tables of motion (csv, tsv).`, {
      hint: `Expected ${source.path}/<class>/<recording>.csv.`,
      details: { path: source.path },
    })
  return names.map((name) => ({ path: join(source.path, name), name }))
}

/**
 * The numbers of motion samples, in the order asked for, channels as in `options.channels`. Each file is read once a call.
 * Measurements of one and the same time are averaged, or, where the clock comes in bursts, taken as evenly spaced.
 * @param indices of `dataSet.samples`; default all
 * @throws M4Error `INVALID_REQUEST` for samples of another kind, or recordings with neither times nor a sample rate
 */
export async function readMotionSamples(
  dataSet: DataSet,
  indices: readonly number[] = dataSet.samples.map((_, i) => i),
): Promise<readonly MotionRecording[]> {
  const recordings = new Array<MotionRecording>(indices.length)
  const byFile = new Map<string, number[]>()
  for (const [at, index] of indices.entries()) {
    const { path } = motionSample(dataSet, index)
    const places = byFile.get(path)
    if (places) places.push(at)
    else byFile.set(path, [at])
  }
  for (const [path, places] of byFile) {
    const { text } = await readTextFile(path)
    const table = motionTable(path, path, text, dataSet.options, findingList())
    for (const at of places) recordings[at] = recordingOf(dataSet, table, motionSample(dataSet, indices[at]!))
  }
  return recordings
}

function motionSample(dataSet: DataSet, index: number): MotionLabelSample {
  const sample = dataSet.samples[index]
  if (sample?.kind === 'motion-label') return sample
  throw new M4Error('INVALID_REQUEST', `Sample ${index} is ${sample?.kind ?? 'not there'}, expected motion.`, {
    details: { index },
  })
}

const recordingOf = (dataSet: DataSet, table: MotionTable, { start, end, path }: MotionLabelSample): MotionRecording =>
  tableRecording(table, start, end, path, dataSet.options)

function tableRecording(
  table: MotionTable,
  start: number,
  end: number,
  path: string,
  { sampleRateHz }: ReadOptions,
): MotionRecording {
  const { channels, timesS } = table
  if (timesS && sampleRateHz === undefined) return timedRecording({ ...table, timesS }, start, end)
  if (sampleRateHz === undefined)
    throw adviceError(
      'INVALID_REQUEST',
      `${path} has no column of times, expected a sample rate.`,
      { say: 'Say how many samples a second it has, e.g. 50', examples: [{ sampleRateHz: 50 }] },
      { path },
    )
  return { channels: channels.map((channel) => channel.subarray(start, end)), sampleRateHz }
}

/**
 * All of a table with a header as one recording, whatever its labels say; undefined for a table that does not name its channels.
 * @throws M4Error `FORMAT_INVALID`, `INVALID_REQUEST` with neither times nor a sample rate
 */
export function motionRecording(path: string, text: string, options: ReadOptions = {}): MotionRecording | undefined {
  if (!startOfTable(path, text, options)?.motion) return undefined
  const table = motionTable(path, path, text, options, findingList())
  return tableRecording(table, 0, table.rows.length, path, options)
}
