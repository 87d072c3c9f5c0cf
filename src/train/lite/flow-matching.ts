/**
 * Flow matching: a straight way from noise n to a picture x, x_t = (1 − t)·n + t·x, of which the generator learns the direction
 * x − n, whatever the time t and whatever it is told.
 *
 * @paper arXiv:2209.03003 · times near the middle drawn more often: arXiv:2403.03206 §3.1 · guidance: arXiv:2207.12598
 */

import { normalSource, randomSource } from '../../core/random.js'
import { type HostTensor, hostTensor, int64Tensor } from '../../core/tensor.js'
import { LAST_TIME, restOfWay, type SmallFlowConfig, smallFlowGraph, type WeightTensor } from '../../models/index.js'
import { differentiable } from '../autodiff/frozen.js'
import { trainable } from '../full.js'
import { mseLoss } from '../losses/index.js'
import type { Program } from '../step-graph.js'

/** Share of samples that are told nothing, so that guidance knows the difference. */
const UNTOLD = 0.1
/** Most noise on what is told, as a share of its length: unseen words, sounds and pictures lie beside the texts of training. */
const STRAY = 0.5

/** Normal numbers on one long tape, read from a place that is drawn: to draw each anew takes a third of a training step. */
const TAPE_LENGTH = 1 << 22
let tape: Float32Array | undefined

/** `count` numbers of the tape. */
function noiseOf(uniform: () => number, count: number): Float32Array {
  if (!tape) {
    const normal = normalSource(1)
    tape = Float32Array.from({ length: TAPE_LENGTH }, normal)
  }
  const from = Math.floor(uniform() * (TAPE_LENGTH - count))
  return tape.subarray(from, from + count)
}

export interface FlowSample {
  /** In [-1, 1]. [Z, Y, X] */
  readonly picture: Float32Array
  /** Length 1. [E] */
  readonly joint: Float32Array
}

/** Parameters of the generator and the mean square of its velocity's error: inputs as `flowBatch` gives them. */
export function flowProgram(config: SmallFlowConfig, weights: ReadonlyMap<string, WeightTensor>) {
  const graph = smallFlowGraph(config, weights, { default: 'fp32' })
  const full = trainable(graph, weights)
  const program: Program = (tape, parameter) => {
    const { g } = tape
    const substitutes = full.substitutes(tape, parameter, 'flow/')
    const inputs = graph.inputs.map(({ name, dtype, dims }) => [name, g.input(name, dtype, dims)] as const)
    const values = new Map([...substitutes.values, ...inputs])
    const outputs = differentiable(tape, graph, { ...substitutes, values, prefix: 'flow/', wanted: ['velocity'] })
    const velocity = outputs.get('velocity')!
    return { loss: mseLoss(tape, g.scope('loss'), velocity, g.input('target', 'float32', velocity.dims)) }
  }
  return { parameters: full.parameters, program }
}

/** Noise, times, and what is told: `picture`, `time`, `joint`, `target`. The same seed gives the same batch. */
export function flowBatch(
  { channels, size, joint: width }: Pick<SmallFlowConfig, 'channels' | 'size' | 'joint'>,
  samples: readonly FlowSample[],
  seed: number,
): Record<string, HostTensor> {
  const uniform = randomSource(seed)
  const dots = channels * size * size
  const picture = hostTensor('float32', [samples.length, channels, size, size])
  const target = hostTensor('float32', picture.dims)
  const joint = hostTensor('float32', [samples.length, width])
  const times = samples.map(() => Math.round(LAST_TIME / (1 + Math.exp(-noiseOf(uniform, 1)[0]!))))
  for (const [row, sample] of samples.entries()) {
    const [t, rest] = [times[row]! / LAST_TIME, restOfWay(times[row]!)]
    const noise = noiseOf(uniform, dots)
    for (let i = 0; i < dots; i++) {
      const end = sample.picture[i]!
      const now = noise[i]! + t * (end - noise[i]!)
      picture.data[row * dots + i] = now
      target.data[row * dots + i] = (end - now) / rest
    }
    if (uniform() >= UNTOLD)
      joint.data.set(strayed(sample.joint, STRAY * uniform(), noiseOf(uniform, width)), row * width)
  }
  return { picture, time: int64Tensor([samples.length], times), joint, target }
}

/** A vector with noise of length `share` on it, at length 1 again. */
function strayed(joint: Float32Array, share: number, noise: Float32Array): Float32Array {
  const scale = share / Math.sqrt(joint.length)
  const out = joint.map((value, i) => value + scale * noise[i]!)
  const length = Math.sqrt(out.reduce((sum, value) => sum + value * value, 0))
  return out.map((value) => value / length)
}
