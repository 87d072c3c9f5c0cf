/**
 * The way of a picture into the space of texts: `join` of ResNet-50. What the encoder knows of a picture is how much it resembles
 * each of a thousand things, and what those things are can be read: a class lies where the text encoder puts its names, its
 * hypernyms and its gloss. A picture lies at the mean of its classes, weighted by the square roots of their probabilities, which
 * keeps what it merely resembles (a deer is much like an impala and a hartebeest).
 *
 * The mean over all classes is taken off: it is what the texts share as texts, and says nothing of a picture. No picture is looked
 * at, so every set of pictures is one that this never saw.
 *
 * @paper arXiv:1312.5650 (convex combination of semantic embeddings)
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { throwIfAborted, wrapSystemError } from '../../core/errors.js'
import { m4fmHome } from '../../core/files.js'
import { hostTensor } from '../../core/tensor.js'
import { openFirmware } from '../../runtime/index.js'
import { meanOfRows, toUnitLength } from '../../runtime/tower.js'
import { digestOf, type LiteTraining } from './module.js'

interface ClassFacts {
  readonly names: readonly string[]
  /** From near to far. */
  readonly kinds: readonly string[]
  readonly gloss: string
}

/** Words for the 1000 classes, kept beside what is made of them. */
const CLASSES = fileURLToPath(new URL('../../../weights/lite/imagenet-classes.json', import.meta.url))

/** What a class is called and what it is, as four texts of equal weight. */
const textsOf = ({ names, kinds, gloss }: ClassFacts): readonly string[] => [
  names[0]!,
  names.join(', '),
  [names[0]!, ...kinds].join(', '),
  `${names[0]}: ${gloss}`,
]

const SMOKE_CLASSES = 8

export const PICTURES: LiteTraining = {
  about: 'join of ResNet-50: its 1000 classes in the space of texts, from their names, hypernyms and glosses',
  async train({ engine, home = m4fmHome(), seed = 7, smoke = false, signal, onLine }) {
    const started = performance.now()
    const bytes = await readFile(CLASSES).catch((error) => {
      throw wrapSystemError(error, `Reading ${CLASSES}`)
    })
    const { classes: all } = JSON.parse(new TextDecoder().decode(bytes)) as { classes: readonly ClassFacts[] }
    const classes = smoke ? all.slice(0, SMOKE_CLASSES) : all
    using firmware = await openFirmware(join(home, 'images', 'lite'), { engine })
    const embed = async (texts: readonly string[]) =>
      (await firmware.ask({ task: 'embed', texts, window: 'mean', signal })).output.embeddings
    const vectors: Float32Array[] = []
    const names: Float32Array[] = []
    for (const [i, each] of classes.entries()) {
      throwIfAborted(signal)
      const texts = await embed(textsOf(each))
      names.push(texts[0]!)
      vectors.push(toUnitLength(meanOfRows(texts)))
      if ((i + 1) % 250 === 0) onLine?.(`${i + 1} of ${classes.length} classes`)
    }
    const centre = meanOfRows(vectors)
    const [width, count] = [centre.length, classes.length]
    const weight = new Float32Array(width * count) // [E, K]
    for (const [k, vector] of vectors.entries())
      for (let e = 0; e < width; e++) weight[e * count + k] = vector[e]! - centre[e]!
    const found = vectors.filter(
      (vector, k) =>
        nearest(
          vector.map((x, e) => x - centre[e]!),
          names,
        ) === k,
    ).length
    return {
      tensors: {
        'join.weight': hostTensor('float32', [width, count], weight),
        'join.bias': hostTensor('float32', [width], new Float32Array(width)),
      },
      record: {
        about: PICTURES.about,
        command: 'npm run train:lite -- --only pictures-join',
        seed,
        data: [
          {
            name: 'WordNet 3.0, the classes of ImageNet',
            digest: digestOf(new Map([['imagenet-classes.json', bytes]])),
            samples: count,
            licence: 'WordNet-3.0',
          },
        ],
        metrics: {
          'own name is the nearest of all': {
            value: found / count,
            count,
            note: 'Of the class vectors alone. On pictures: bench/results/pictures.md.',
          },
        },
        licence: 'Apache-2.0 AND WordNet-3.0',
        parameters: width * count + width,
        seconds: Math.round((performance.now() - started) / 1000),
        date: new Date().toISOString().slice(0, 10),
      },
    }
  },
}

function nearest(vector: Float32Array, others: readonly Float32Array[]): number {
  const products = others.map((other) => other.reduce((sum, x, i) => sum + x * vector[i]!, 0))
  return products.indexOf(Math.max(...products))
}
