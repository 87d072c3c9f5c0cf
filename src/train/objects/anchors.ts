/** Shapes of anchor boxes that suit the boxes of a data set. */

/** Width and height as shares of the square. */
export type Shape = readonly [width: number, height: number]

/** @paper YOLO9000, arXiv:1612.08242 §2: five are the knee of the curve */
const MOST = 5
const ROUNDS = 20

/**
 * k-means where the nearest is what overlaps most, both laid on one centre; at most five, fewer for fewer different boxes. It begins at
 * quantiles of the area, so the same boxes give the same shapes.
 */
export function anchorShapes(boxes: readonly Shape[]): Shape[] {
  const different = [...new Map(boxes.map((box) => [box.join(), box])).values()]
  const byArea = different.sort((a, b) => a[0] * a[1] - b[0] * b[1])
  const count = Math.min(MOST, byArea.length)
  let shapes = Array.from({ length: count }, (_, k) => byArea[Math.floor(((k + 0.5) * byArea.length) / count)]!)
  for (let round = 0; round < ROUNDS; round++) {
    const groups = shapes.map((): Shape[] => [])
    for (const box of boxes) groups[nearest(box, shapes)]!.push(box)
    shapes = shapes.map((shape, k) => (groups[k]!.length ? meanOf(groups[k]!) : shape))
  }
  return shapes
}

function nearest([width, height]: Shape, shapes: readonly Shape[]): number {
  const shared = shapes.map(([w, h]) => {
    const both = Math.min(width, w) * Math.min(height, h)
    return both / (width * height + w * h - both)
  })
  return shared.indexOf(Math.max(...shared))
}

const meanOf = (boxes: readonly Shape[]): Shape => [
  boxes.reduce((sum, [width]) => sum + width, 0) / boxes.length,
  boxes.reduce((sum, [, height]) => sum + height, 0) / boxes.length,
]
