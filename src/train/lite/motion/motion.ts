/**
 * IMU_enc of `lite`: ImageBind's tower of motion, smaller, in the space of the encoder of text. Windows of one second find the words
 * for what was done among those for all activities; the words stay as they are.
 */

import { join } from 'node:path'
import { m4fmHome } from '../../../core/files.js'
import type { Engine } from '../../../engine/types.js'
import { LITE_MOTION } from '../../../models/index.js'
import { openFirmware } from '../../../runtime/index.js'
import { fitSubject } from '../../fit.js'
import { OPTIMISER_DEFAULTS } from '../../schedule.js'
import { digestOf, type LiteModule, type LiteRequest, type LiteTraining } from '../module.js'
import { chanceOf, type MotionSample, plainSample, turnedSample } from './augment.js'
import { imagebindTensors } from './export.js'
import { accuracyOf, confidenceThreshold, judged, windowVectors } from './judge.js'
import { OTHER_WORDINGS, promptsOf, WORDINGS } from './prompts.js'
import { ACTIVITIES, EVAL_SUBJECTS, type HarWindow, harWindows, readHar, TEST_SUBJECTS } from './recordings.js'
import { GRID, motionSubject, motionTower, type Words } from './tower.js'

const BATCH = 64
/** Answers that are called confident are right this often, by the subjects that training looks at. */
const PRECISION = 0.9
const STEPS = 1200

export const motionTraining: LiteTraining = {
  about: 'IMU: motion of a phone or watch in the space of texts',
  train: trainMotion,
}

async function trainMotion(request: LiteRequest): Promise<LiteModule> {
  const { engine, data, home = m4fmHome(), seed = 7, smoke = false, signal, onLine = () => undefined } = request
  const started = performance.now()
  const subjects = smoke ? ['s01', EVAL_SUBJECTS[0]!, TEST_SUBJECTS[0]!] : undefined
  const { recordings, files } = await readHar(data, subjects)
  const windows = harWindows(recordings)
  const held = [...EVAL_SUBJECTS, ...TEST_SUBJECTS]
  const train = windows.filter(({ recording }) => !held.includes(recording.subject))
  const evaluation = windows.filter(({ recording }) => EVAL_SUBJECTS.includes(recording.subject))
  const test = windows.filter(({ recording }) => TEST_SUBJECTS.includes(recording.subject))
  onLine(`${train.length} windows to train on, ${evaluation.length} to look at, ${test.length} to measure`)

  const words = await embedWords(engine, join(home, 'images', 'lite'))
  const tower = motionTower(LITE_MOTION, seed)
  const subject = motionSubject(engine, tower, { train, evaluation, words, seed })
  const steps = smoke ? 4 : STEPS
  const result = await fitSubject(engine, subject, {
    steps,
    batch: BATCH,
    seed,
    evalEvery: smoke ? 2 : 200,
    evalSamples: evaluation.length,
    patience: 0,
    optimiser: { ...OPTIMISER_DEFAULTS, lr: 1e-3, decay: 0.05, warmupSteps: Math.min(200, steps / 2) },
    signal,
    onStep: ({ step, loss, evalLoss, secondsLeft }) => {
      if (evalLoss !== undefined)
        onLine(
          `step ${step}: loss ${loss.toFixed(3)}, held out ${evalLoss.toFixed(3)}, ${secondsLeft.toFixed(0)} s left`,
        )
    },
  })
  const { weights, logitScale } = tower.trained(result.parameters)
  const measure = async (
    windows: readonly HarWindow[],
    labels: readonly Float32Array[],
    sampleOf: (window: HarWindow) => MotionSample = (window) => plainSample(window, GRID),
  ) => {
    const samples = windows.map(sampleOf)
    const vectors = await windowVectors(engine, LITE_MOTION, weights, samples)
    return judged(
      vectors,
      windows.map(({ label }) => label),
      labels,
      logitScale,
    )
  }
  const looked = await measure(evaluation, words.plain)
  const threshold = confidenceThreshold(looked, PRECISION)
  const tested = await measure(test, words.plain)
  const others = (await Promise.all(words.others.map((labels) => measure(test, labels)))).flat()
  const chance = chanceOf(seed)
  const turned = await measure(test, words.plain, (window) => turnedSample(window, GRID, chance))
  const sure = tested.filter(({ probability }) => probability >= threshold)
  const count = test.length
  return {
    tensors: imagebindTensors(LITE_MOTION, weights),
    record: {
      about:
        'Motion of a phone (m/s², rad/s) in the space of all-MiniLM-L6-v2: a small tower of ImageBind, windows of 0.96 s at 50 Hz.',
      command: 'npm run train:lite -- --only motion',
      seed,
      data: [
        {
          name: 'GeoTecINIT/sp-sw-har-dataset',
          digest: digestOf(files),
          samples: train.length,
          licence: 'CC-BY-4.0',
        },
      ],
      metrics: {
        accuracy: {
          value: accuracyOf(tested),
          count,
          note: 'by the words sitting, standing up, walking, turning, sitting down',
        },
        'accuracy, other words': { value: accuracyOf(others), count: others.length },
        'accuracy, device turned at random': { value: accuracyOf(turned), count },
        'accuracy, looked at while training': { value: accuracyOf(looked), count: looked.length },
        logitScale: { value: logitScale, count: train.length, note: 'learned' },
        'confidence threshold': {
          value: threshold,
          count: looked.length,
          note: `precision ${PRECISION} on the subjects looked at`,
        },
        'precision above the threshold': { value: accuracyOf(sure), count: sure.length },
        'share above the threshold': { value: sure.length / count, count },
      },
      licence: 'Apache-2.0',
      parameters: tower.parameterCount,
      seconds: Math.round((performance.now() - started) / 1000),
      date: new Date().toISOString().slice(0, 10),
    },
  }
}

async function embedWords(engine: Engine, image: string): Promise<Words> {
  using firmware = await openFirmware(image, { engine })
  const embed = async (texts: readonly string[]) => (await firmware.ask({ task: 'embed', texts })).output.embeddings
  const prompts: (readonly Float32Array[])[] = []
  for (const activity of ACTIVITIES) prompts.push(await embed(promptsOf(activity)))
  return {
    prompts,
    plain: await embed(ACTIVITIES.map((activity) => WORDINGS[activity][0]!)),
    others: await Promise.all([0, 1, 2].map((i) => embed(ACTIVITIES.map((activity) => OTHER_WORDINGS[activity][i]!)))),
  }
}
