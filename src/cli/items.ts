/** Operands that are files of pictures, sounds or motion, told by how their names end; anything else is a text. */

import { M4Error } from '../core/errors.js'
import type { Item, Motion } from '../runtime/requests.js'
import { type CliContext, numberOption, type OptionValues } from './context.js'
import { readBytes, readText } from './inputs.js'

const PICTURE = /\.(png|jpe?g|webp|gif|tiff?|avif)$/i
const SOUND = /\.wav$/i
const MOTION = /\.(csv|tsv)$/i

/** `dog.png` is a picture, `a dog` a text. A text that ends like a file goes through --file. */
export const isMediaFile = (operand: string): boolean =>
  [PICTURE, SOUND, MOTION].some((kind) => kind.test(operand)) && !operand.includes('\n')

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `USAGE` */
export async function itemOf(operand: string, context: CliContext, options: OptionValues): Promise<Item> {
  if (PICTURE.test(operand)) return { picture: { file: await readBytes(operand, context.signal) } }
  if (SOUND.test(operand)) return { sound: { wav: await readBytes(operand, context.signal) } }
  if (MOTION.test(operand)) return { motion: await motionOf(operand, context, options) }
  return operand
}

/**
 * A table whose header names its channels (`ax`, `acc_x`, `x_gyro`, …), and perhaps the time; other columns are not read. Else rows of
 * numbers: acceleration x, y, z, rotation x, y, z, and in front of them the time in seconds unless --rate is given.
 */
async function motionOf(path: string, context: CliContext, options: OptionValues): Promise<Motion> {
  const sampleRateHz = numberOption(options, 'rate')
  const rated = sampleRateHz === undefined ? {} : { sampleRateHz }
  const text = await readText(path, context.signal)
  const { motionRecording } = await import('../train/data/index.js')
  const named = motionRecording(path, text, rated)
  if (named) {
    const { channels, timesS } = named
    const rows = Array.from(channels[0]!, (_, n) => channels.map((channel) => channel[n]!))
    return timesS ? { rows, timesS: Array.from(timesS) } : { rows, sampleRateHz: named.sampleRateHz! }
  }
  const rows = numbersOf(path, text)
  if (sampleRateHz !== undefined) return { rows, sampleRateHz }
  return { rows: rows.map((row) => row.slice(1)), timesS: rows.map((row) => row[0] ?? 0) }
}

/** A first row of words is skipped. */
function numbersOf(path: string, text: string): readonly (readonly number[])[] {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  const cells = lines.map((line) => line.split(/[,;\t]/).map((cell) => cell.trim()))
  const named = cells[0]?.some((cell) => cell !== '' && Number.isNaN(Number(cell)))
  const rows = cells.slice(named ? 1 : 0).map((row) => row.map((cell) => (cell === '' ? Number.NaN : Number(cell))))
  const bad = rows.findIndex((row) => row.some(Number.isNaN))
  if (bad < 0) return rows
  throw new M4Error(
    'FORMAT_INVALID',
    `${path}, row ${bad + 1}: expected numbers, got ${JSON.stringify(cells[bad + (named ? 1 : 0)])}.`,
    {
      hint: 'Leave out samples that the sensor missed, or name the columns in a first row: time,ax,ay,az,gx,gy,gz.',
      details: { path, row: bad + 1 },
    },
  )
}
