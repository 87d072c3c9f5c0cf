/** Public sets of objects in pictures, each in its own layout → COCO JSON, which `m4fm adapter train` reads. */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join, relative } from 'node:path'
import { decodeImage } from '../../dist/media/index.js'
import { readMat } from './mat.mjs'

const files = (folder, ending) =>
  readdirSync(folder)
    .filter((name) => name.endsWith(ending))
    .sort()

/** Named as seen from `out`, where the annotations will lie. */
async function imagesOf(folder, out) {
  return Promise.all(
    files(folder, '.jpg').map(async (name, id) => {
      const { width, height } = await decodeImage(readFileSync(join(folder, name)))
      return { id, file_name: relative(out, join(folder, name)), width, height }
    }),
  )
}

/** Pictures and boxes of Cartucho/mAP: a text file a picture, `label left top right bottom` a line. @param least objects of a class */
export async function vocSamples(data, out, least) {
  const root = join(data, 'voc_detection_samples', 'input')
  const pictures = join(root, 'images-optional')
  const images = await imagesOf(pictures, out)
  const boxes = images.flatMap(({ id, file_name }) =>
    readFileSync(join(root, 'ground-truth', basename(file_name).replace('.jpg', '.txt')), 'utf8')
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => {
        const [label, left, top, right, bottom] = line.trim().split(/\s+/)
        return { id, label, bbox: [Number(left), Number(top), right - left, bottom - top] }
      }),
  )
  const counts = grouped(boxes)
  const labels = [...counts].filter(([, found]) => found.length >= least).map(([label]) => label)
  const kept = boxes.filter(({ label }) => labels.includes(label))
  const path = join(out, 'voc.json')
  writeFileSync(
    path,
    JSON.stringify({
      images,
      annotations: kept.map(({ id, label, bbox }, i) => ({
        id: i,
        image_id: id,
        category_id: labels.indexOf(label),
        bbox,
      })),
      categories: labels.map((name, id) => ({ id, name })),
    }),
  )
  return { path, facts: { pictures: images.length, classes: labels, boxes: kept.length } }
}

function grouped(boxes) {
  const groups = new Map()
  for (const box of boxes) groups.set(box.label, [...(groups.get(box.label) ?? []), box])
  return groups
}

/** Heads of ShanghaiTech B: `image_info{1}.location`, [N, 2] of x and y. */
export async function crowd(data, out, part) {
  const root = join(data, 'shanghaitech_b', 'part_B', `${part}_data`)
  const pictures = join(root, 'images')
  const images = await imagesOf(pictures, out)
  const annotations = images.flatMap(({ id, file_name }) => {
    const mat = readMat(readFileSync(join(root, 'ground-truth', `GT_${basename(file_name).replace('.jpg', '.mat')}`)))
    const { dims, data: places } = mat.image_info.cells[0].fields.location
    return Array.from({ length: dims[0] }, (_, i) => ({
      image_id: id,
      category_id: 0,
      keypoints: [places[i], places[dims[0] + i], 2],
    }))
  })
  const path = join(out, `crowd-${part}.json`)
  writeFileSync(
    path,
    JSON.stringify({ images, annotations, categories: [{ id: 0, name: 'person', keypoints: ['head'] }] }),
  )
  return { path, facts: { pictures: images.length, points: annotations.length } }
}
