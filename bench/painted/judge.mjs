/**
 * Who recognises the painted pictures: a perceptron over the 784 dots, trained here on real pictures alone. It shares neither
 * architecture nor weights with the generator. Its second hidden layer is the feature space of the Fréchet distance.
 */

import { hostTensor, int64Tensor } from '../../dist/core/tensor.js'
import { encodeModel } from '../../dist/graph/index.js'
import { batches, FIRST_BATCH } from '../../dist/train/data/index.js'
import { classifierHead, headProgram, initialValues } from '../../dist/train/heads/index.js'
import { OPTIMISER_DEFAULTS, scalarsAt } from '../../dist/train/schedule.js'
import { StepSession, TrainingState } from '../../dist/train/state.js'
import { stepGraph } from '../../dist/train/step-graph.js'

const DOTS = 784
const HIDDEN = [256, 64]
export const JUDGE = Object.freeze({ hidden: HIDDEN, activation: 'relu', rounds: 3, batch: 256, lr: 1e-3, seed: 1 })

/** @param pictures `dots` 0..255 and `labels` @returns `judge(dots)` → { label, features } for 784 numbers in [0, 1] */
export async function trainJudge(engine, { dots, labels }, classes) {
  const head = classifierHead({ in: DOTS, hidden: HIDDEN, classes, activation: JUDGE.activation })
  const graph = stepGraph('judge', head.parameters, headProgram(head), 'adamw')
  const session = await engine.createSession({ bytes: await encodeModel(graph) }, { memoryPattern: false })
  const state = new TrainingState(engine, head.parameters, initialValues(head.parameters, JUDGE.seed))
  const stepper = new StepSession(engine, session, state)
  const steps = Math.floor((JUDGE.rounds * labels.length) / JUDGE.batch)
  const stream = batches(labels.length, { size: JUDGE.batch, seed: JUDGE.seed, from: FIRST_BATCH })
  for (let step = 0; step < steps; step++) {
    const { indices } = stream.next().value
    const features = hostTensor('float32', [indices.length, DOTS])
    for (const [row, i] of indices.entries())
      for (let d = 0; d < DOTS; d++) features.data[row * DOTS + d] = dots[i * DOTS + d] / 255
    const target = int64Tensor(
      [indices.length],
      Array.from(indices, (i) => labels[i]),
    )
    const options = { ...OPTIMISER_DEFAULTS, lr: JUDGE.lr }
    await stepper.run({ features, 'target/labels': target }, scalarsAt(options, step, steps))
  }
  const layers = [0, 1, 2].map((i) => ({
    weight: state.parameter(`layers.${i}`).slice(),
    bias: state.parameter(`layers.${i}/bias`).slice(),
  }))
  stepper.dispose()
  state.dispose()
  return (x) => {
    const features = relu(dense(layers[1], relu(dense(layers[0], x))))
    const logits = dense(layers[2], features)
    return { label: logits.indexOf(Math.max(...logits)), features }
  }
}

function dense({ weight, bias }, x) {
  return Array.from(bias, (start, o) => {
    let sum = start
    for (let i = 0; i < x.length; i++) sum += weight[o * x.length + i] * x[i]
    return sum
  })
}

const relu = (x) => x.map((value) => Math.max(0, value))
