/**
 * COCO's JSON: pictures with boxes, key points, polygons and masks, or with captions.
 * Format: https://cocodataset.org/#format-data. Boxes are x, y of the top left corner, width, height in dots.
 */

import { existsSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { adviceError } from '../../core/advice.js'
import { M4Error } from '../../core/errors.js'
import { cocoObject } from './coco-object.js'
import type { FindingList } from './findings.js'
import { withFiles } from './media-files.js'
import { type Reader, type Reading, requireFile } from './reader.js'
import type { ImageCaptionSample, ImageObject, ImageObjectsSample, OpenOptions } from './samples.js'

interface CocoImage {
  readonly id: number | string
  readonly file_name: string
  readonly width: number
  readonly height: number
}

export interface CocoCategory {
  readonly id: number | string
  readonly name: string
  readonly keypoints?: readonly string[]
}

export interface CocoAnnotation {
  readonly id?: number | string
  readonly image_id: number | string
  readonly category_id?: number | string
  readonly bbox?: unknown
  readonly keypoints?: unknown
  readonly segmentation?: unknown
  readonly iscrowd?: unknown
  readonly caption?: unknown
}

interface Coco {
  readonly images: readonly CocoImage[]
  readonly annotations: readonly CocoAnnotation[]
  readonly categories: readonly CocoCategory[]
}

/** @throws M4Error `FORMAT_INVALID` for JSON that is not COCO; `FILE_NOT_FOUND` where none of its pictures is found */
export const readCoco: Reader = async (source, options, findings): Promise<Reading> => {
  const { text, file } = requireFile(source, 'one COCO JSON file')
  const coco = parseCoco(source.path, text)
  const folder = pictureFolder(source.path, coco.images, options)
  const byImage = annotationsByImage(coco, findings)
  const captioned = coco.annotations.some(({ caption }) => caption !== undefined)
  const samples: readonly (ImageCaptionSample | ImageObjectsSample)[] = captioned
    ? captionSamples(coco, folder, byImage, findings)
    : objectSamples(coco, folder, byImage, findings)
  const { samples: kept, files } = await withFiles(samples, (path) => relative(folder, path), findings, options)
  return {
    kind: captioned ? 'image-caption' : 'image-objects',
    samples: kept,
    files: [file, ...files],
    ...(captioned ? {} : { labels: coco.categories.map(({ name }) => name) }),
  }
}

function parseCoco(path: string, text: string): Coco {
  const refuse = (what: string) =>
    new M4Error('FORMAT_INVALID', `${path}: ${what}.`, {
      hint: 'Expected COCO: {"images": […], "annotations": […], "categories": […]}.',
      details: { path },
    })
  let value: Partial<Record<keyof Coco, unknown>>
  try {
    value = JSON.parse(text) as typeof value
  } catch (error) {
    throw refuse(`not JSON, ${(error as Error).message}`)
  }
  const { images, annotations, categories = [] } = value ?? {}
  for (const [name, list] of Object.entries({ images, annotations, categories }))
    if (!Array.isArray(list) || list.some((entry) => typeof entry !== 'object' || entry === null))
      throw refuse(`"${name}" must be a list of objects`)
  const coco = { images, annotations, categories } as Coco
  const isId = (id: unknown) => typeof id === 'number' || typeof id === 'string'
  for (const [i, { id, file_name, width, height }] of coco.images.entries())
    if (!isId(id) || typeof file_name !== 'string' || !(width > 0) || !(height > 0))
      throw refuse(`images[${i}] must have id, file_name, width and height`)
  for (const [i, { id, name }] of coco.categories.entries())
    if (!isId(id) || typeof name !== 'string') throw refuse(`categories[${i}] must have id and name`)
  for (const [what, keys] of [
    ['image id', coco.images.map(({ id }) => id)],
    ['category id', coco.categories.map(({ id }) => id)],
    ['category name', coco.categories.map(({ name }) => name)],
  ] as const) {
    const seen = new Set<number | string>()
    const twice = keys.find((key) => seen.size === seen.add(key).size)
    if (twice !== undefined) throw refuse(`the ${what} ${JSON.stringify(twice)} stands twice`)
  }
  return coco
}

/** Where the first pictures are: the folder given, beside the file, or COCO's `annotations/` beside `val2017/` and `images/`. */
function pictureFolder(path: string, images: readonly CocoImage[], options: OpenOptions): string {
  const here = dirname(path)
  const split = /_([A-Za-z0-9]+)\.json$/.exec(basename(path))?.[1]
  const folders = options.mediaFolder
    ? [resolve(options.mediaFolder)]
    : [
        here,
        join(here, 'images'),
        join(here, '..', 'images'),
        ...(split ? [join(here, '..', split), join(here, '..', 'images', split)] : []),
      ]
  const tried = images.slice(0, 100)
  const folder = folders.find((each) => tried.some(({ file_name }) => existsSync(join(each, file_name))))
  if (folder) return resolve(folder)
  throw adviceError(
    'FILE_NOT_FOUND',
    `${path}: its pictures, e.g. ${images[0]?.file_name ?? 'none'}, are not in ${folders.join(', ')}.`,
    { say: 'Say where they lie', examples: [{ mediaFolder: 'pictures' }] },
    { path, folders },
  )
}

type ByImage = ReadonlyMap<number | string, readonly CocoAnnotation[]>

function annotationsByImage({ images, annotations }: Coco, findings: FindingList): ByImage {
  const byImage = new Map<number | string, CocoAnnotation[]>(images.map(({ id }) => [id, []]))
  for (const [i, annotation] of annotations.entries()) {
    const list = byImage.get(annotation.image_id)
    if (list) list.push(annotation)
    else
      findings.add(
        'invalid-annotation',
        `annotations[${i}] is of the picture ${JSON.stringify(annotation.image_id)}, which is not listed.`,
        { row: i + 1 },
      )
  }
  return byImage
}

function captionSamples(coco: Coco, folder: string, byImage: ByImage, findings: FindingList): ImageCaptionSample[] {
  return coco.images.flatMap(({ id, file_name }) => {
    const captions = byImage
      .get(id)!
      .flatMap(({ caption }) => (typeof caption === 'string' && caption.trim() ? [caption] : []))
    if (captions.length) return [{ kind: 'image-caption' as const, path: join(folder, file_name), captions }]
    findings.add('empty-text', `${file_name} has no caption; left out.`, { file: file_name })
    return []
  })
}

function objectSamples(coco: Coco, folder: string, byImage: ByImage, findings: FindingList): ImageObjectsSample[] {
  const categories = new Map(coco.categories.map((category) => [category.id, category]))
  return coco.images.map((image) => {
    const { id, file_name, width, height } = image
    const objects = byImage
      .get(id)!
      .map((annotation) => cocoObject(annotation, categories, image, findings))
      .filter((object): object is ImageObject => object !== undefined)
    if (!objects.length)
      findings.add('no-objects', `${file_name} has no objects; kept as an empty scene.`, { file: file_name })
    return { kind: 'image-objects', path: join(folder, file_name), width, height, objects }
  })
}
