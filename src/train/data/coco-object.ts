/** One annotation of COCO → an object, checked number by number. */

import type { CocoAnnotation, CocoCategory } from './coco.js'
import type { FindingList } from './findings.js'
import type { ImageObject, RunLengthMask } from './samples.js'

interface Frame {
  readonly file_name: string
  readonly width: number
  readonly height: number
}

/** Undefined for an annotation that is not what it should be, which is reported. */
export function cocoObject(
  annotation: CocoAnnotation,
  categories: ReadonlyMap<number | string, CocoCategory>,
  frame: Frame,
  findings: FindingList,
): ImageObject | undefined {
  const file = frame.file_name
  const where = `${file}, annotation ${annotation.id ?? 'without id'}`
  const refuse = (what: string) => {
    findings.add('invalid-annotation', `${where}: ${what}.`, { file })
    return undefined
  }
  const category = categories.get(annotation.category_id ?? '')
  if (!category) {
    findings.add('unknown-category', `${where}: category ${annotation.category_id} is not listed.`, { file })
    return undefined
  }
  const { bbox, keypoints, segmentation } = annotation
  if (bbox !== undefined && !isBox(bbox))
    return refuse(`bbox must be x, y, width, height with a size above 0, got ${JSON.stringify(bbox)}`)
  if (bbox !== undefined && isOutside(bbox, frame))
    findings.add(
      'box-outside',
      `${where}: the box ${bbox.join(', ')} leaves the picture of ${frame.width} × ${frame.height}.`,
      { file },
    )
  const names = category.keypoints ?? []
  if (keypoints !== undefined && !arePoints(keypoints, names.length))
    return refuse(`keypoints must be x, y, visible for each of ${names.length || 'the'} points`)
  const shape = segmentation === undefined ? {} : shapeOf(segmentation)
  if (!shape) return refuse('segmentation must be polygons of 3 points or more, or a mask of size and counts')
  if (bbox === undefined && keypoints === undefined && segmentation === undefined)
    return refuse('neither bbox nor keypoints nor segmentation')
  return {
    label: category.name,
    ...(bbox === undefined ? {} : { box: bbox }),
    ...(keypoints === undefined ? {} : { keypoints: { names, points: triples(keypoints) } }),
    ...shape,
    crowd: annotation.iscrowd === 1 || annotation.iscrowd === true,
  }
}

type Box = readonly [number, number, number, number]

const areNumbers = (value: unknown): value is readonly number[] => Array.isArray(value) && value.every(Number.isFinite)

const isBox = (value: unknown): value is Box =>
  areNumbers(value) && value.length === 4 && value[2]! > 0 && value[3]! > 0

/** Rounding puts edges up to one dot outside in COCO itself. */
const isOutside = ([x, y, w, h]: Box, { width, height }: Frame) =>
  x < -1 || y < -1 || x + w > width + 1 || y + h > height + 1

const arePoints = (value: unknown, count: number): value is readonly number[] =>
  areNumbers(value) && value.length > 0 && value.length % 3 === 0 && (count === 0 || value.length === 3 * count)

function triples(flat: readonly number[]): readonly (readonly [number, number, number])[] {
  return Array.from({ length: flat.length / 3 }, (_, i) => [flat[3 * i]!, flat[3 * i + 1]!, flat[3 * i + 2]!] as const)
}

function shapeOf(value: unknown): Pick<ImageObject, 'polygons' | 'mask'> | undefined {
  if (Array.isArray(value)) {
    // An empty list is how writers without polygons fill the field.
    if (value.length === 0) return {}
    const fits = value.every((part) => areNumbers(part) && part.length >= 6 && part.length % 2 === 0)
    return fits ? { polygons: value as readonly (readonly number[])[] } : undefined
  }
  const { size, counts } = (value ?? {}) as { size?: unknown; counts?: unknown }
  if (!areNumbers(size) || size.length !== 2 || !(typeof counts === 'string' || areNumbers(counts))) return undefined
  return { mask: { size: size as unknown as RunLengthMask['size'], counts } }
}
