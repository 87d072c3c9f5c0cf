/** The measurement of painted pictures for people: a page, and a sheet with a row a class. */

import { table } from '../lib/markdown.mjs'

const percent = (share) => `${(100 * share).toFixed(1)} %`

export function report({ count, steps, guidance, judge, families }) {
  const names = Object.keys(families)
  const rows = names.map((name) => {
    const { recognised, frechet, frechetOfRealHalves } = families[name]
    return [
      name,
      percent(recognised),
      percent(judge.accuracy[name]),
      frechet.toFixed(1),
      frechetOfRealHalves.toFixed(1),
    ]
  })
  const classes = names.map((name) => {
    const each = Object.entries(families[name].classes).map(([label, share]) => `${label} ${percent(share)}`)
    return `- ${name}: ${each.join(', ')}`
  })
  return `# Pictures painted by lite

\`node bench/painted.mjs\`: ${count} pictures a class of 28 × 28 shades of grey, ${steps} steps, guidance ${guidance}, by sentences that
training never saw (${names.map((name) => families[name].sentences.map((each) => `"${each}"`).join(', ')).join('; ')}).

${table(['', 'recognised', 'the classifier on held-out real pictures', 'Fréchet distance to real ones', 'between two halves of real ones'], rows)}

The classifier is a perceptron (784, ${judge.hidden.join(', ')}, 20; all 20 classes at once, ${judge.rounds} rounds over the real training pictures); it
never saw a painted one. Fréchet distance: over the ${judge.hidden.at(-1)} activations of its second hidden layer, sample covariances. It is no
FID: there is no Inception in it, and numbers of other pages cannot be compared with it.

${classes.join('\n')}

The sheet
[painted.png](painted.png) has a row a class: digits, then clothes.
`
}

/** 12 pictures a row, each dot twice as large. @param rows `pictures` of 784 shades in [0, 1] */
export function contactSheet(rows) {
  const [cell, columns, zoom] = [28, 12, 2]
  const [width, height] = [columns * cell * zoom, rows.length * cell * zoom]
  const data = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [column, row] = [Math.floor(x / zoom / cell), Math.floor(y / zoom / cell)]
      const at = (Math.floor(y / zoom) % cell) * cell + (Math.floor(x / zoom) % cell)
      data.fill(Math.round(255 * (rows[row].pictures[column]?.[at] ?? 0)), 3 * (y * width + x), 3 * (y * width + x) + 3)
    }
  return { data, width, height }
}
