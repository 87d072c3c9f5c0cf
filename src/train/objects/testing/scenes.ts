/** Small pictures of coloured squares on grey, one or none a cell, and what COCO would say of them. For tests. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { normalSource, randomSource } from '../../../core/random.js'
import { encodePng } from '../../../media/index.js'

/** The toy encoder sees 2 × 2 patches: a cell is a patch. The lower cells are cut off, so that squares must be padded. */
const [WIDTH, HEIGHT, CELL, SIDE] = [56, 54, 28, 24]
const MARGIN = (CELL - SIDE) / 2
const COLOURS = { red: [220, 30, 30], blue: [30, 40, 230] } as const
type Colour = keyof typeof COLOURS
const NAMES = Object.keys(COLOURS) as Colour[]

/** A colour or nothing in each cell, row by row. */
type Scene = readonly (Colour | undefined)[]

const corner = (cell: number) => [(cell % 2) * CELL + MARGIN, Math.floor(cell / 2) * CELL + MARGIN] as const
const middle = (cell: number) => corner(cell).map((at) => at + SIDE / 2) as [number, number]

function paint(scene: Scene, seed: number, background: number, colourOf: (colour: Colour) => readonly number[]) {
  const noise = normalSource(seed)
  const data = new Uint8Array(3 * WIDTH * HEIGHT)
  for (let i = 0; i < data.length; i++) {
    const [x, y] = [Math.floor(i / 3) % WIDTH, Math.floor(i / 3 / WIDTH)]
    const cell = Math.floor(y / CELL) * 2 + Math.floor(x / CELL)
    const [left, top] = corner(cell)
    const colour = scene[cell]
    const inside = x >= left && x < left + SIDE && y >= top && y < top + SIDE
    const level = colour && inside ? colourOf(colour)[i % 3]! : background
    data[i] = seed ? Math.min(255, Math.max(0, Math.round(level + 6 * noise()))) : level
  }
  return encodePng({ data, width: WIDTH, height: HEIGHT })
}

const picture = (scene: Scene, seed: number) => paint(scene, seed, 128, (colour) => COLOURS[colour])

type Annotation = Readonly<Record<string, unknown>>

const coco = (
  scenes: readonly Scene[],
  annotations: (scene: Scene) => Annotation[],
  categories: readonly object[],
) => ({
  images: scenes.map((_, id) => ({ id, file_name: `${id}.png`, width: WIDTH, height: HEIGHT })),
  annotations: scenes.flatMap((scene, image_id) => annotations(scene).map((each) => ({ image_id, ...each }))),
  categories,
})

const eachObject = (scene: Scene, of: (cell: number) => Annotation): Annotation[] =>
  scene.flatMap((colour, cell) => (colour ? [{ category_id: NAMES.indexOf(colour), ...of(cell) }] : []))

const CATEGORIES = NAMES.map((name, id) => ({ id, name }))

/**
 * `<folder>/<n>.png`, and beside them `boxes.json`, `shapes.json`, `places.json` (two named points), `points.json` (one point an
 * object) and `mattes.csv`.
 */
export async function writeScenes(folder: string, count: number): Promise<string> {
  await mkdir(join(folder, 'mattes'), { recursive: true })
  const next = randomSource(5)
  const scenes = Array.from({ length: count }, (): Scene => {
    const cells: (Colour | undefined)[] = [undefined, undefined, undefined, undefined]
    const red = Math.floor(4 * next())
    cells[red] = 'red'
    cells[(red + 1 + Math.floor(3 * next())) % 4] = 'blue'
    return cells.map((colour) => colour ?? (next() < 0.4 ? NAMES[Math.floor(2 * next())] : undefined))
  })
  // Of each colour one alone: the points of one thing.
  const pairs = scenes.map((scene): Scene => {
    const firsts = NAMES.map((name) => scene.indexOf(name))
    return scene.map((colour, cell) => (firsts.includes(cell) ? colour : undefined))
  })
  const json = (name: string, value: object) => writeFile(join(folder, name), JSON.stringify(value))
  for (const [i, scene] of scenes.entries()) {
    await writeFile(join(folder, `${i}.png`), await picture(scene, i + 1))
    await writeFile(join(folder, `pair-${i}.png`), await picture(pairs[i]!, i + 1))
    await writeFile(join(folder, 'mattes', `${i}.png`), await paint(scene, 0, 0, () => [255, 255, 255]))
  }
  await json(
    'boxes.json',
    coco(scenes, (scene) => eachObject(scene, (cell) => ({ bbox: [...corner(cell), SIDE, SIDE] })), CATEGORIES),
  )
  await json(
    'shapes.json',
    coco(
      scenes,
      (scene) =>
        eachObject(scene, (cell) => {
          const [x, y] = corner(cell)
          return { segmentation: [[x, y, x + SIDE, y, x + SIDE, y + SIDE, x, y + SIDE]] }
        }),
      CATEGORIES,
    ),
  )
  await json(
    'points.json',
    coco(scenes, (scene) => eachObject(scene, (cell) => ({ category_id: 0, keypoints: [...middle(cell), 2] })), [
      { id: 0, name: 'square', keypoints: ['centre'] },
    ]),
  )
  const places = coco(
    pairs,
    (scene) => [{ category_id: 0, keypoints: NAMES.flatMap((name) => [...middle(scene.indexOf(name)), 2]) }],
    [{ id: 0, name: 'scene', keypoints: NAMES }],
  )
  await json('places.json', {
    ...places,
    images: places.images.map((image) => ({ ...image, file_name: `pair-${image.id}.png` })),
  })
  await writeFile(
    join(folder, 'mattes.csv'),
    `image,matte\n${scenes.map((_, i) => `${i}.png,mattes/${i}.png`).join('\n')}\n`,
  )
  return folder
}
