/**
 * Netpbm pictures: P5 (grey) and P6 (RGB), binary, 8 or 16 bits. libvips as sharp ships it cannot read them, and data sets
 * (GTSRB) come in them.
 *
 * @see https://netpbm.sourceforge.net/doc/ppm.html
 */

import { M4Error } from '../core/errors.js'
import type { Picture } from './image.js'

const HEADER = /^P([56])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:#[^\n]*\n)?\s/

/** Long enough for any header with comments. */
const HEADER_BYTES = 4096

export const isNetpbm = (bytes: Uint8Array): boolean => bytes[0] === 0x50 && (bytes[1] === 0x35 || bytes[1] === 0x36)

/** @throws M4Error `PICTURE_INVALID` */
export function decodeNetpbm(bytes: Uint8Array): Picture {
  const header = HEADER.exec(
    Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, HEADER_BYTES)).toString('latin1'),
  )
  if (!header) throw invalid('its header is damaged')
  const [kind, width, height, most] = header.slice(1).map(Number) as [number, number, number, number]
  if (width < 1 || height < 1 || most < 1 || most > 65535) throw invalid(`${width} × ${height} dots up to ${most}`)
  const [channels, size] = [kind === 6 ? 3 : 1, most > 255 ? 2 : 1]
  const start = header[0].length
  const needed = width * height * channels * size
  if (bytes.length - start < needed) throw invalid(`expected ${needed} bytes of dots, got ${bytes.length - start}`)
  const data = new Uint8Array(width * height * 3)
  for (let i = 0; i < data.length; i++) {
    const at = start + (channels === 3 ? i : Math.floor(i / 3)) * size
    // 16 bits are written high byte first.
    const value = size === 2 ? bytes[at]! * 256 + bytes[at + 1]! : bytes[at]!
    data[i] = most === 255 ? value : Math.min(255, Math.round((value * 255) / most))
  }
  return { data, width, height }
}

const invalid = (what: string) =>
  new M4Error('PICTURE_INVALID', `Netpbm picture: ${what}.`, { hint: 'Give a whole binary PPM or PGM file.' })
