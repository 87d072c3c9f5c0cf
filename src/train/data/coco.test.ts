import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataSet } from './open.js'
import { codesOf, type Scratch, scratchFolder } from './testing/scratch.js'

let scratch: Scratch
beforeEach(() => {
  scratch = scratchFolder()
})
afterEach(() => rmSync(scratch.path, { recursive: true }))

const IMAGES = [
  { id: 1, file_name: 'a.jpg', width: 100, height: 50 },
  { id: 2, file_name: 'b.jpg', width: 10, height: 10 },
]
const CATEGORIES = [
  { id: 3, name: 'dog', keypoints: ['nose', 'tail'] },
  { id: 1, name: 'cat' },
]
const FILES = { 'val2017/a.jpg': 'A', 'val2017/b.jpg': 'B' }
const write = (annotations: object[], images: object[] = IMAGES, categories: object[] = CATEGORIES) =>
  scratch.write({
    'annotations/instances_val2017.json': JSON.stringify({ images, annotations, categories }, null, 1),
    ...FILES,
  })

test('boxes, key points, polygons and masks, in the layout of the published sets', async () => {
  const path = write([
    {
      id: 9,
      image_id: 1,
      category_id: 3,
      bbox: [1, 2, 30, 40],
      keypoints: [5, 6, 2, 0, 0, 0],
      segmentation: [[1, 2, 3, 4, 5, 6]],
      iscrowd: 0,
    },
    { image_id: 1, category_id: 1, bbox: [0, 0, 9, 9], segmentation: { size: [50, 100], counts: [4, 5] }, iscrowd: 1 },
  ])
  const set = await openDataSet(path)
  expect(set).toMatchObject({ kind: 'image-objects', labels: ['cat', 'dog'] })
  expect(set.samples).toEqual([
    {
      kind: 'image-objects',
      path: join(scratch.path, 'val2017/a.jpg'),
      width: 100,
      height: 50,
      objects: [
        {
          label: 'dog',
          box: [1, 2, 30, 40],
          keypoints: {
            names: ['nose', 'tail'],
            points: [
              [5, 6, 2],
              [0, 0, 0],
            ],
          },
          polygons: [[1, 2, 3, 4, 5, 6]],
          crowd: false,
        },
        { label: 'cat', box: [0, 0, 9, 9], mask: { size: [50, 100], counts: [4, 5] }, crowd: true },
      ],
    },
    { kind: 'image-objects', path: join(scratch.path, 'val2017/b.jpg'), width: 10, height: 10, objects: [] },
  ])
  expect(codesOf(set.findings)).toEqual(['no-objects'])
  expect(set.files).toHaveLength(3)
})

test('annotations that are not what they should be', async () => {
  const good = { image_id: 2, category_id: 1, bbox: [0, 0, 5, 5] }
  const set = await openDataSet(
    write([
      good,
      { ...good, image_id: 77 },
      { ...good, category_id: 77 },
      { ...good, bbox: [0, 0, 0, 5] },
      { ...good, bbox: [0, 0, 5, 0] },
      { ...good, bbox: [0, 0, null, 5] },
      { ...good, category_id: 3, keypoints: [1, 2, 2] },
      { ...good, segmentation: [[1, 2, 3]] },
      { image_id: 2, category_id: 1 },
      { ...good, bbox: [0, 0, 20, 5] },
    ]),
  )
  expect(set.samples[1]).toMatchObject({ objects: [{ box: [0, 0, 5, 5] }, { box: [0, 0, 20, 5] }] })
  expect(set.findings.map(({ code, severity }) => `${code} ${severity}`)).toEqual([
    'invalid-annotation error',
    'no-objects warning',
    'unknown-category error',
    ...Array.from({ length: 6 }, () => 'invalid-annotation error'),
    'box-outside warning',
  ])
})

test('captions: all of a picture are one sample', async () => {
  const set = await openDataSet(
    write(
      [
        { image_id: 1, caption: 'A dog.' },
        { image_id: 1, caption: 'An animal.' },
      ],
      IMAGES,
      [],
    ),
  )
  expect(set.samples).toEqual([
    { kind: 'image-caption', path: join(scratch.path, 'val2017/a.jpg'), captions: ['A dog.', 'An animal.'] },
  ])
  expect(codesOf(set.findings)).toEqual(['empty-text'])
})

test('one line of JSON, pictures elsewhere, pictures missing', async () => {
  const one = JSON.stringify({ images: IMAGES, annotations: [], categories: CATEGORIES })
  const path = scratch.write({ 'set.json': one, 'pictures/a.jpg': 'A' })
  await expect(openDataSet(path)).rejects.toMatchObject({
    code: 'FILE_NOT_FOUND',
    hint: expect.stringContaining('mediaFolder'),
  })
  const set = await openDataSet(path, { mediaFolder: join(scratch.path, 'pictures') })
  expect(set.samples).toHaveLength(1)
  expect(set.findings).toMatchObject([
    { code: 'no-objects' },
    { code: 'no-objects' },
    { code: 'missing-file', severity: 'error', file: 'b.jpg' },
    { code: 'no-samples', severity: 'error' },
  ])
})

test('JSON that is not COCO', async () => {
  const cases: [object[], object[], string][] = [
    [[{ id: 1, file_name: 'a.jpg' }], CATEGORIES, 'images[0] must have'],
    [IMAGES, [{ id: 1 }], 'categories[0] must have'],
    [[IMAGES[0]!, IMAGES[0]!], CATEGORIES, 'the image id 1 stands twice'],
    [IMAGES, [CATEGORIES[0]!, { id: 8, name: 'dog' }], 'the category name "dog" stands twice'],
  ]
  for (const [images, categories, message] of cases)
    await expect(openDataSet(write([], images, categories))).rejects.toThrow(message)
  const list = scratch.write({ 'x.json': '{"images": {}, "annotations": []}' })
  await expect(openDataSet(list)).rejects.toThrow('"images" must be a list of objects')
})
