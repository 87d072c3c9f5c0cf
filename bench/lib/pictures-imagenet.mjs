/** ImageNet's own classes on a sample of its pictures, texts that find pictures, and how sure answers are. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { answers, share } from './pictures.mjs'

export const IMAGENET_PROTOCOL = {
  data: '508 pictures of EliSchwartz/imagenet-sample-images, one a class, short side 224. They are probably pictures that ResNet-50 was trained on: optimistic. The way into the space of texts saw no picture.',
  classes: '`match` without labels.',
  retrieval: 'the first name of the class against the gallery of all 508.',
  confidence:
    'the first names of all 1000 classes as labels. Scale (least negative log-likelihood) and threshold (90 % right above it) are measured on the pictures of even place, and tried on those of odd place.',
}

const WANTED_RIGHT = 0.9
const SCALES = Array.from({ length: 60 }, (_, i) => 2 * (i + 1))
const CLASSES = new URL('../../weights/lite/imagenet-classes.json', import.meta.url)

export async function imagenet({ firmware, folder, data, save }) {
  const root = join(folder, 'imagenet_sample')
  const { classes } = JSON.parse(readFileSync(CLASSES, 'utf8'))
  const places = new Map(classes.map(({ id }, place) => [id, place]))
  const files = readdirSync(root)
    .filter((name) => name.endsWith('.JPEG'))
    .sort()
    .map((name) => ({ path: join(root, name), place: places.get(name.slice(0, 9)) }))
  const labels = await classNames(firmware, files[0])
  const named = await answers(firmware, files, { task: 'match' })
  const within = (rank) =>
    named.map(({ matches: [{ scores }] }, i) =>
      scores.slice(0, rank).some(({ label }) => label === labels[files[i].place]),
    )
  data.top1 = share(within(1))
  data.top5 = share(within(5))
  save()
  const vectors = (await answers(firmware, files, { task: 'embed' })).map(({ embeddings }) => embeddings[0])
  const names = classes.map(({ names: [first] }) => first)
  const texts = (await firmware.ask({ task: 'embed', texts: names })).output.embeddings
  const gallery = vectors.map((embedding) => ({ embedding }))
  const queries = files.map(({ place }) => ({ embedding: texts[place] }))
  const { results } = (await firmware.ask({ task: 'retrieve', items: queries, gallery, top: 5 })).output
  const found = (rank) => results.map((row, i) => row.slice(0, rank).some(({ index }) => index === i))
  data.textToPicture = { at1: share(found(1)), at5: share(found(5)) }
  data.confidence = confidence(
    vectors,
    texts,
    files.map(({ place }) => place),
  )
  save()
}

/** In the order of the classes, from the module's own list. */
async function classNames(firmware) {
  const bytes = await firmware.image.readFile('IMG', 'labels')
  return JSON.parse(new TextDecoder().decode(bytes))
}

function confidence(vectors, texts, places) {
  const cosines = vectors.map((vector) => texts.map((text) => text.reduce((sum, x, i) => sum + x * vector[i], 0)))
  const sides = [0, 1].map((odd) => [...places.keys()].filter((i) => i % 2 === odd))
  const loss = (scale) => sides[0].reduce((sum, i) => sum - Math.log(softmax(cosines[i], scale)[places[i]]), 0)
  const logitScale = SCALES.reduce((best, scale) => (loss(scale) < loss(best) ? scale : best))
  const judged = cosines.map((row, i) => {
    const shares = softmax(row, logitScale)
    const probability = Math.max(...shares)
    return { probability, right: shares.indexOf(probability) === places[i] }
  })
  const [tuned, held] = sides.map((side) => side.map((i) => judged[i]))
  const candidates = tuned.map(({ probability }) => probability).sort((a, b) => a - b)
  const rightAbove = (side, least) => side.filter((each) => each.probability >= least).map(({ right }) => right)
  const isGood = (least) => {
    const flags = rightAbove(tuned, least)
    return flags.filter(Boolean).length >= WANTED_RIGHT * flags.length
  }
  const threshold = candidates.find(isGood)
  const above = rightAbove(held, threshold)
  return {
    logitScale,
    threshold,
    held: { all: share(held.map(({ right }) => right)), above: share(above), answered: above.length / held.length },
  }
}

function softmax(row, scale) {
  const most = Math.max(...row)
  const raised = row.map((x) => Math.exp(scale * (x - most)))
  const sum = raised.reduce((a, b) => a + b, 0)
  return raised.map((x) => x / sum)
}
