/** The pictures of `picture-sources.ts`, read: shades of grey by class, those that are held out apart. */

import { readFile } from 'node:fs/promises'
import { pullSources, type Source } from '../../checkpoint/sources/index.js'
import { M4Error } from '../../core/errors.js'
import { CLOTHES, DIGITS } from './picture-sources.js'

/** Along each side. */
export const PICTURE_SIZE = 28
const DOTS = PICTURE_SIZE ** 2

/** One picture after the other, 0 black to 255 white. [N, 28, 28] */
export interface Pictures {
  readonly dots: Uint8Array
  /** [N] */
  readonly labels: Uint8Array
}

export interface PictureSet {
  readonly train: Pictures
  readonly heldOut: Pictures
}

export const pictureAt = ({ dots }: Pictures, index: number): Uint8Array =>
  dots.subarray(index * DOTS, (index + 1) * DOTS)

/** As MNIST divides it. @param home cache of sources @throws M4Error as `pullSources`, `FORMAT_INVALID` */
export async function readDigits(home: string, signal?: AbortSignal): Promise<PictureSet> {
  const side = async ({ pictures, labels }: (typeof DIGITS)['train' | 'heldOut']): Promise<Pictures> => {
    const [dots, classes] = await readAll([pictures, labels], home, signal)
    return checked({ dots: dots!.subarray(16), labels: classes!.subarray(8) })
  }
  return { train: await side(DIGITS.train), heldOut: await side(DIGITS.heldOut) }
}

/** The last 1,000 of each class held out, as many as Fashion-MNIST itself does. */
export async function readClothes(home: string, signal?: AbortSignal): Promise<PictureSet> {
  const files = await readAll(CLOTHES, home, signal)
  const classes = files.map((file) => {
    const { data } = JSON.parse(file.toString()) as { readonly data: readonly (readonly number[])[] }
    // Two rows of the package are empty.
    return data.filter(({ length }) => length === DOTS).map((row) => Uint8Array.from(row))
  })
  return divided(classes, 1000)
}

async function readAll(sources: readonly Source[], home: string, signal?: AbortSignal): Promise<Buffer[]> {
  const paths = await pullSources(sources, { home, ...(signal ? { signal } : {}) })
  return Promise.all(paths.map((path) => readFile(path)))
}

function divided(classes: readonly (readonly Uint8Array[])[], heldOut: number): PictureSet {
  const side = (pick: (rows: readonly Uint8Array[]) => readonly Uint8Array[]): Pictures => {
    const chosen = classes.map(pick)
    const labels = Uint8Array.from(chosen.flatMap((rows, label) => rows.map(() => label)))
    return checked({ dots: new Uint8Array(Buffer.concat(chosen.flat())), labels })
  }
  return { train: side((rows) => rows.slice(0, -heldOut)), heldOut: side((rows) => rows.slice(-heldOut)) }
}

function checked(pictures: Pictures): Pictures {
  const { dots, labels } = pictures
  if (labels.length > 0 && dots.length === labels.length * DOTS) return pictures
  throw new M4Error(
    'FORMAT_INVALID',
    `Expected pictures of ${DOTS} dots, one a label: got ${dots.length} dots for ${labels.length} labels.`,
  )
}
