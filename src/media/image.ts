/**
 * Picture files → RGB bytes and back, through sharp (libvips). What comes out is what the references see, PIL's
 * `Image.open(…).convert('RGB')`: alpha is dropped, not composited; palettes are applied; grey is repeated; embedded colour
 * profiles are not. The codec-image golden agrees bit for bit.
 */

import type { Sharp } from 'sharp'
import { M4Error } from '../core/errors.js'
import { decodeNetpbm, isNetpbm } from './netpbm.js'
import { describeBytes } from './sniff.js'

export interface Picture {
  /** RGB, 0…255, row by row. [height, width, 3] */
  readonly data: Uint8Array
  readonly width: number
  readonly height: number
}

export interface DecodeImageOptions {
  /** Turns the picture as its EXIF orientation says. Default false: the references do not, and models were measured without. */
  readonly upright?: boolean
}

/** What sharp may read: pictures of dots. It also draws SVG and PDF, which can refer to other files. */
const FORMATS: ReadonlySet<string> = new Set(['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif'])

/** Front ends hold 12 bytes a dot, so this many need 0.8 GB. */
export const MAX_PICTURE_DOTS = 2 ** 26

/**
 * Decodes JPEG, PNG, WebP, GIF, TIFF, AVIF, PPM and PGM. Of several frames or pages the first is taken. CMYK becomes RGB by PIL's
 * formula, (1 - C)(1 - K); 16 bits a channel are scaled to 8 (PIL clips 16-bit grey at 255 instead, which turns it white).
 * Any shape is read, 1 × 1 and 20000 × 10 included.
 * @throws M4Error `PICTURE_INVALID` for anything that is no whole picture, or has more than `MAX_PICTURE_DOTS`
 */
export async function decodeImage(bytes: Uint8Array, { upright = false }: DecodeImageOptions = {}): Promise<Picture> {
  if (bytes.length === 0) throw invalid('the file is empty')
  if (isNetpbm(bytes)) return decodeNetpbm(bytes)
  const { default: sharp } = await import('sharp')
  const source = sharp(bytes, { failOn: 'error', ignoreIcc: true, limitInputPixels: false })
  const { format, width, height, space, pages } = await reading(bytes, () => source.metadata())
  if (!FORMATS.has(format ?? '')) throw invalid(`${format ?? 'this'} is not a picture of dots`)
  if (width * height > MAX_PICTURE_DOTS)
    throw new M4Error(
      'PICTURE_INVALID',
      `Picture: ${width} × ${height} dots, expected ${MAX_PICTURE_DOTS} at most${pages && pages > 1 ? ` in each of ${pages} pages` : ''}.`,
      { hint: 'Make it smaller; models look at about 224 × 224 of them.', details: { width, height } },
    )
  const turned = upright ? source.autoOrient() : source
  const plain = space === 'cmyk' ? turned.pipelineColourspace('cmyk').toColourspace('cmyk') : rgb(turned)
  const { data, info } = await reading(bytes, () => plain.raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true }))
  const view = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return { data: info.channels === 4 ? cmykToRgb(view) : view, width: info.width, height: info.height }
}

const rgb = (image: Sharp) => image.removeAlpha().toColourspace('srgb')

/** @param picture see `Picture` @throws M4Error `SHAPE_MISMATCH` when data and size differ */
export async function encodePng({ data, width, height }: Picture): Promise<Uint8Array> {
  if (!(width >= 1 && height >= 1) || data.length !== width * height * 3)
    throw new M4Error(
      'SHAPE_MISMATCH',
      `A picture of ${width} × ${height} dots has ${width * height * 3} bytes of RGB, got ${data.length}.`,
    )
  const { default: sharp } = await import('sharp')
  const png = await sharp(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
  return new Uint8Array(png.buffer, png.byteOffset, png.byteLength)
}

/** PIL's `cmyk2rgb`: nk - C·nk / 255 for nk = 255 - K, rounded as its MULDIV255. */
function cmykToRgb(data: Uint8Array): Uint8Array {
  const out = new Uint8Array((data.length / 4) * 3)
  for (let from = 0, to = 0; from < data.length; from += 4) {
    const white = 255 - data[from + 3]!
    for (let c = 0; c < 3; c++) {
      const product = data[from + c]! * white + 128
      out[to++] = Math.max(0, white - (((product >> 8) + product) >> 8))
    }
  }
  return out
}

async function reading<T>(bytes: Uint8Array, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    const what = (cause as Error).message.split('\n')[0]!.trim()
    throw invalid(`${describeBytes(bytes)} that cannot be read (${what})`, cause)
  }
}

const invalid = (what: string, cause?: unknown) =>
  new M4Error('PICTURE_INVALID', `Picture: ${what}.`, {
    hint: 'Give a whole JPEG, PNG, WebP, GIF, TIFF, AVIF or PPM file.',
    ...(cause === undefined ? {} : { cause }),
  })
