import { describe, expect, test } from 'vitest'
import { decodeImage } from './image.js'

const file = (header: string, dots: readonly number[]) => Uint8Array.from([...Buffer.from(header, 'latin1'), ...dots])

describe('PPM and PGM', () => {
  test('colour, with comments', async () => {
    const picture = await decodeImage(file('P6\n# made by hand\n2 1\n255\n', [1, 2, 3, 4, 5, 6]))
    expect(picture).toEqual({ width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) })
  })

  test('grey is repeated; other limits and 16 bits are scaled', async () => {
    expect((await decodeImage(file('P5 2 1 15 ', [0, 15]))).data).toEqual(Uint8Array.of(0, 0, 0, 255, 255, 255))
    expect((await decodeImage(file('P5 1 1 65535\n', [255, 255]))).data).toEqual(Uint8Array.of(255, 255, 255))
  })

  test.each([
    ['P6\n2 2\n255\n', [1, 2, 3]],
    ['P6\n0 2\n255\n', []],
    ['P6 x', []],
    ['P6\n1 1\n70000\n', [1, 2, 3]],
  ])('%j is refused', async (header, dots) => {
    await expect(decodeImage(file(header, dots))).rejects.toMatchObject({ code: 'PICTURE_INVALID' })
  })
})
