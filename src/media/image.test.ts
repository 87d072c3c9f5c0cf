import sharp, { type Sharp } from 'sharp'
import { describe, expect, test } from 'vitest'
import { decodeImage, encodePng, MAX_PICTURE_DOTS } from './index.js'

const noise = (count: number) => Uint8Array.from({ length: count }, (_, i) => (i * 97 + ((i * i) >> 3)) & 255)
const raw = (width: number, height: number, channels: 1 | 2 | 3 | 4 = 3) =>
  sharp(noise(width * height * channels), { raw: { width, height, channels } })
const file = async (image: Sharp) => new Uint8Array(await image.toBuffer())

/** Two dots of one colour, uncompressed TIFF. */
function cmykTiff(cmyk: readonly number[]): Uint8Array {
  const entries = [
    [256, 4, 1, 2], // width
    [257, 4, 1, 1], // height
    [258, 3, 4, 170], // bits a channel, at byte 170
    [259, 3, 1, 1], // not compressed
    [262, 3, 1, 5], // CMYK
    [273, 4, 1, 178], // dots, at byte 178
    [277, 3, 1, 4],
    [278, 4, 1, 1],
    [279, 4, 1, 8],
  ] as const
  const bytes = new Uint8Array(186)
  const view = new DataView(bytes.buffer)
  bytes.set([0x49, 0x49, 42, 0, 8])
  view.setUint16(8, entries.length, true)
  for (const [i, [tag, type, count, value]] of entries.entries()) {
    const at = 10 + 12 * i
    view.setUint16(at, tag, true)
    view.setUint16(at + 2, type, true)
    view.setUint32(at + 4, count, true)
    view.setUint32(at + 8, value, true)
  }
  for (let channel = 0; channel < 4; channel++) view.setUint16(170 + 2 * channel, 8, true)
  bytes.set([...cmyk, ...cmyk], 178)
  return bytes
}

const refusal = async (bytes: Uint8Array) => {
  const error = await decodeImage(bytes).then(
    () => undefined,
    (thrown) => thrown,
  )
  return `${error?.code}: ${error?.message}`
}

describe('pictures that are read', () => {
  test('PNG there and back', async () => {
    const picture = { data: noise(7 * 5 * 3), width: 7, height: 5 }
    expect(await decodeImage(await encodePng(picture))).toEqual(picture)
  })

  test('a size that the data does not have', async () => {
    await expect(encodePng({ data: noise(10), width: 2, height: 2 })).rejects.toMatchObject({ code: 'SHAPE_MISMATCH' })
  })

  test('one dot, and a strip of 20000 × 10', async () => {
    expect(await decodeImage(await file(raw(1, 1).png()))).toEqual({ data: noise(3), width: 1, height: 1 })
    const { data, width, height } = await decodeImage(await file(raw(20000, 10).png()))
    expect([width, height, data.length]).toEqual([20000, 10, 600000])
  })

  test('alpha is dropped, not composited', async () => {
    const { data } = await decodeImage(await file(raw(9, 4, 4).png()))
    expect(data).toEqual(noise(9 * 4 * 4).filter((_, i) => i % 4 !== 3))
  })

  test('grey is repeated, with and without alpha', async () => {
    for (const channels of [1, 2] as const) {
      const { data } = await decodeImage(await file(raw(6, 3, channels).toColourspace('b-w').png()))
      const grey = noise(6 * 3 * channels).filter((_, i) => i % channels === 0)
      expect(data).toEqual(Uint8Array.from({ length: grey.length * 3 }, (_, i) => grey[Math.floor(i / 3)]!))
    }
  })

  test('palettes are applied', async () => {
    const two = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (Math.floor(i / 3) % 3 ? 255 : [10, 20, 30][i % 3]!))
    const png = await file(sharp(two, { raw: { width: 8, height: 8, channels: 3 } }).png({ palette: true }))
    expect((await sharp(png).metadata()).isPalette).toBe(true)
    expect((await decodeImage(png)).data).toEqual(two)
  })

  test('16 bits a channel become 8', async () => {
    const wide = await file(
      sharp(noise(4 * 4 * 3), { raw: { width: 4, height: 4, channels: 3 } })
        .toColourspace('rgb16')
        .png(),
    )
    expect((await sharp(wide).metadata()).depth).toBe('ushort')
    expect((await decodeImage(wide)).data).toEqual(noise(4 * 4 * 3))
  })

  test.each([
    [
      [0, 0, 0, 0],
      [255, 255, 255],
    ],
    [
      [255, 0, 0, 0],
      [0, 255, 255],
    ],
    [
      [0, 128, 255, 0],
      [255, 127, 0],
    ],
    [
      [100, 50, 0, 51],
      [124, 164, 204],
    ],
    [
      [9, 8, 7, 255],
      [0, 0, 0],
    ],
  ])('CMYK %j as PIL does: (1 - C)(1 - K), no profile', async (cmyk, rgb) => {
    expect((await decodeImage(cmykTiff(cmyk))).data).toEqual(Uint8Array.from([...rgb, ...rgb]))
  })

  test('CMYK of a JPEG, which Adobe writes upside down', async () => {
    const red = sharp({ create: { width: 32, height: 32, channels: 3, background: '#f00' } })
    const jpeg = await file(red.toColourspace('cmyk').jpeg())
    expect((await sharp(jpeg).metadata()).space).toBe('cmyk')
    const [r, g, b] = (await decodeImage(jpeg)).data
    expect([r! > 200, g! < 80, b! < 80]).toEqual([true, true, true])
  })

  test('EXIF orientation only when asked for', async () => {
    const jpeg = await file(
      raw(16, 8).withMetadata({ orientation: 6 }).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }),
    )
    expect(await decodeImage(jpeg)).toMatchObject({ width: 16, height: 8 })
    expect(await decodeImage(jpeg, { upright: true })).toMatchObject({ width: 8, height: 16 })
  })

  test('WebP and GIF, of an animation the first picture', async () => {
    expect((await decodeImage(await file(raw(8, 8).webp({ lossless: true })))).data).toEqual(noise(8 * 8 * 3))
    expect(await decodeImage(await file(raw(8, 8).gif()))).toMatchObject({ width: 8, height: 8 })
  })
})

describe('what is refused', () => {
  test('nothing, and things that are no pictures', async () => {
    expect(await refusal(new Uint8Array(0))).toMatch(/^PICTURE_INVALID: .*empty/)
    expect(await refusal(noise(1000))).toMatch(/^PICTURE_INVALID: .*unknown data/)
    expect(await refusal(new TextEncoder().encode('<!doctype html><p>404'))).toMatch(/^PICTURE_INVALID: .*HTML page/)
    expect(await refusal(new TextEncoder().encode('RIFF0000WAVEfmt '))).toMatch(/^PICTURE_INVALID/)
  })

  test('drawings, which may refer to other files', async () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    expect(await refusal(new TextEncoder().encode(svg))).toMatch(/^PICTURE_INVALID: Picture: svg/)
  })

  test('files that are cut off or damaged', async () => {
    for (const image of [raw(64, 64).png(), raw(64, 64).jpeg()]) {
      const whole = await file(image)
      expect(await refusal(whole.subarray(0, whole.length >> 1))).toMatch(/^PICTURE_INVALID/)
      expect(await refusal(whole.subarray(0, 20))).toMatch(/^PICTURE_INVALID/)
    }
    const png = await file(raw(64, 64).png())
    const damaged = png.slice()
    damaged.fill(0, png.length >> 1, (png.length >> 1) + 200)
    expect(await refusal(damaged)).toMatch(/^PICTURE_INVALID/)
  })

  test('more dots than memory is for, by the header alone', async () => {
    const png = (await file(raw(2, 2).png())).slice()
    new DataView(png.buffer).setUint32(16, 100_000)
    new DataView(png.buffer).setUint32(20, 100_000)
    // The checksum of the header is wrong too: either way nothing is decoded.
    expect(await refusal(png)).toMatch(/^PICTURE_INVALID/)
    const side = Math.ceil(Math.sqrt(MAX_PICTURE_DOTS)) + 1
    const blank = sharp({
      create: { width: side, height: side, channels: 3, background: '#000' },
      limitInputPixels: false,
    })
    expect(await refusal(await file(blank.toColourspace('b-w').png({ compressionLevel: 1 })))).toMatch(/dots, expected/)
  })
})
