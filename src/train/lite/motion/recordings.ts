/**
 * sp-sw-har: phone (and watch) in daily use, 23 people, five activities in one go each, 102.4 samples a second.
 *
 * @paper 10.1016/j.dib.2023.109809 · @reference GeoTecINIT/sp-sw-har-dataset@673a2cc DATA/sNN/sNN_MM_{sp,sw}.csv
 */

import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { M4Error } from '../../../core/errors.js'

export const ACTIVITIES = ['SEATED', 'STANDING_UP', 'WALKING', 'TURNING', 'SITTING_DOWN'] as const
export type Activity = (typeof ACTIVITIES)[number]

/** Nobody of these is trained on; training looks at the second to stop and to measure its confidence. */
export const TEST_SUBJECTS: readonly string[] = ['s04', 's08', 's12', 's16', 's20']
export const EVAL_SUBJECTS: readonly string[] = ['s03', 's10', 's18']

/** By sample number: the clock of the phone comes in bursts, with many samples of one time. */
export const SAMPLE_RATE_HZ = 102.4
/** Of the windows that are classified: a majority of half a second decides. */
export const WINDOW_SAMPLES = 100
export const HOP_SAMPLES = 50

export interface HarRecording {
  readonly subject: string
  readonly device: 'sp' | 'sw'
  /** m/s² of x, y, z, then rad/s. [6][N] */
  readonly channels: readonly Float32Array[]
  /** Index into `ACTIVITIES` of each sample. [N] */
  readonly labels: Uint8Array
}

export interface HarWindow {
  readonly recording: HarRecording
  readonly start: number
  /** Most frequent label of its samples. */
  readonly label: number
}

export interface HarData {
  readonly recordings: readonly HarRecording[]
  /** As they lie on the disk. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

const FILE = /^(s\d+)_\d+_(sp|sw)\.csv(\.gz)?$/

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` */
export async function readHar(folder: string, subjects?: readonly string[]): Promise<HarData> {
  const root = join(folder, 'sp_sw_har', 'DATA')
  const names = await readdir(root, { recursive: true }).catch((cause) => {
    throw new M4Error('FILE_NOT_FOUND', `${root}: expected the data set sp-sw-har.`, {
      hint: 'Get it from github.com/GeoTecINIT/sp-sw-har-dataset, folder DATA.',
      cause,
    })
  })
  const files = new Map<string, Uint8Array>()
  const recordings: HarRecording[] = []
  for (const name of names.toSorted()) {
    const [, subject, device, packed] = FILE.exec(name.split(/[/\\]/).at(-1)!) ?? []
    if (!subject || (subjects && !subjects.includes(subject))) continue
    const bytes = await readFile(join(root, name))
    files.set(name, bytes)
    const text = new TextDecoder().decode(packed ? gunzipSync(bytes) : bytes)
    recordings.push({ subject, device: device as 'sp' | 'sw', ...parse(text, name) })
  }
  if (!recordings.length) throw new M4Error('FILE_NOT_FOUND', `${root}: expected sNN/sNN_MM_sp.csv, got none.`)
  return { recordings, files }
}

function parse(text: string, name: string): Pick<HarRecording, 'channels' | 'labels'> {
  const rows = text.trim().split(/\r?\n/).slice(1)
  const channels = Array.from({ length: 6 }, () => new Float32Array(rows.length))
  const labels = new Uint8Array(rows.length)
  for (const [n, row] of rows.entries()) {
    const cells = row.split(',')
    const label = ACTIVITIES.indexOf(cells[7] as Activity)
    if (label < 0)
      throw new M4Error(
        'FORMAT_INVALID',
        `${name}, row ${n + 1}: expected one of ${ACTIVITIES.join(', ')}, got ${cells[7]}.`,
      )
    labels[n] = label
    for (const [i, channel] of channels.entries()) channel[n] = Number(cells[i])
  }
  return { channels, labels }
}

/** Every window of every recording. */
export const harWindows = (recordings: readonly HarRecording[]): HarWindow[] =>
  recordings.flatMap((recording) => {
    const count = Math.floor((recording.labels.length - WINDOW_SAMPLES) / HOP_SAMPLES) + 1
    return Array.from({ length: Math.max(count, 0) }, (_, i) => {
      const start = i * HOP_SAMPLES
      const shares = labelShares(recording.labels.subarray(start, start + WINDOW_SAMPLES))
      return { recording, start, label: shares.indexOf(Math.max(...shares)) }
    })
  })

/** How much of the samples each activity is. [K] */
export function labelShares(labels: Uint8Array): number[] {
  const shares = new Array<number>(ACTIVITIES.length).fill(0)
  for (const label of labels) shares[label]! += 1 / labels.length
  return shares
}
