/** A tower for motion and a classifier, all of it trained: gradients of every weight. */

import { openCheckpoint } from '../../checkpoint/index.js'
import type { HostTensor } from '../../core/tensor.js'
import { encoderProgram } from '../../train/encoders/index.js'
import { trainable } from '../../train/full.js'
import { classifierHead } from '../../train/heads/index.js'
import type { Runner } from '../types.js'
import { gradientsAt, openTower, weightGradients } from './imagebind-training.js'

/** Names of the head file → ours. */
const CLASSIFIER = { 'classifier.weight': 'head/layers.0', 'classifier.bias': 'head/layers.0/bias' }

export const runImuClassifier: Runner = async (run) => {
  const { parityCase } = run
  using tower = openTower(parityCase, 'imu')
  using file = openCheckpoint(parityCase.path('classifier.safetensors'))
  const full = trainable(tower.graph, tower.weights, { wanted: ['embedding'] })
  const head = classifierHead({
    in: tower.config.joint,
    hidden: [],
    classes: Number(parityCase.config.classes),
    activation: 'relu',
  })
  const program = encoderProgram({ graph: tower.graph, value: 'embedding', full }, head)
  const values = program.initial(0)
  for (const [theirs, ours] of Object.entries(CLASSIFIER)) values.set(ours, file.tensors.get(theirs)!.float32())
  const batch = { motion: parityCase.input('imu'), 'target/labels': parityCase.input('labels') }
  const results = await gradientsAt(run, program, values, batch)
  const tensors = new Map<string, HostTensor>([
    ['loss', results.get('loss')!],
    ...weightGradients('imu', full.parameters, results),
  ])
  for (const [theirs, ours] of Object.entries(CLASSIFIER))
    tensors.set(`grad.${theirs}`, results.get(`gradient/${ours}`)!)
  return { tensors }
}
