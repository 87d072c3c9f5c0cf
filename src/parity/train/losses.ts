/** The case of task losses: every loss with its gradients. */

import { type HostTensor, hostTensor } from '../../core/tensor.js'
import { GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { gradients } from '../../train/autodiff/backward.js'
import { Tape } from '../../train/autodiff/tape.js'
import {
  binaryLoss,
  classDiceLoss,
  classLoss,
  cosineEmbeddingLoss,
  cosineLoss,
  diceLoss,
  distillationLoss,
  divergence,
  fixedScale,
  infoNce,
  l1Loss,
  mseLoss,
  smoothL1Loss,
  softClassLoss,
  unitLength,
} from '../../train/losses/index.js'
import type { ParityCase } from '../case.js'
import type { Runner } from '../types.js'
import { runOnce } from './gradients.js'

interface Entry {
  /** Inputs whose gradients are compared. */
  readonly of: readonly string[]
  readonly loss: (context: Context) => Value
}

interface Context {
  readonly tape: Tape
  readonly scope: Scope
  readonly x: (input: string) => Value
  readonly config: (key: string) => number
}

const CE = 'ce_logits'
const of = (...inputs: string[]) => ({ of: inputs })
const times = ({ scope, x }: Context, input: string, by: number) => scope.op('Mul', [x(input), scope.float32(by)])

/** Entries of `config.entries` in the case. */
const ENTRIES: Readonly<Record<string, Entry>> = {
  ce: { ...of(CE), loss: ({ tape, scope, x }) => classLoss(tape, scope, x(CE), x('ce_targets')) },
  ce_ignore: { ...of(CE), loss: ({ tape, scope, x }) => classLoss(tape, scope, x(CE), x('ce_targets_ignore')) },
  ce_weight: {
    ...of(CE),
    loss: ({ tape, scope, x }) =>
      classLoss(tape, scope, x(CE), x('ce_targets_ignore'), { classWeights: x('ce_weight') }),
  },
  ce_smooth: {
    ...of(CE),
    loss: ({ tape, scope, x, config }) =>
      classLoss(tape, scope, x(CE), x('ce_targets'), { smoothing: config('label_smoothing') }),
  },
  ce_weight_smooth: {
    ...of(CE),
    loss: ({ tape, scope, x, config }) =>
      classLoss(tape, scope, x(CE), x('ce_targets_ignore'), {
        classWeights: x('ce_weight'),
        smoothing: config('label_smoothing'),
      }),
  },
  ce_sum: {
    ...of(CE),
    loss: ({ tape, scope, x }) => classLoss(tape, scope, x(CE), x('ce_targets'), { reduction: 'sum' }),
  },
  ce_soft: { ...of(CE), loss: ({ tape, scope, x }) => softClassLoss(tape, scope, x(CE), x('ce_soft')) },
  ce_large: {
    ...of(CE),
    loss: (context) => classLoss(context.tape, context.scope, times(context, CE, 100), context.x('ce_targets')),
  },
  seg_ce: {
    ...of('seg_logits'),
    loss: ({ tape, scope, x }) =>
      classLoss(tape, scope, x('seg_logits'), x('seg_targets'), { classWeights: x('ce_weight') }),
  },
  seg_dice: {
    ...of('seg_logits'),
    loss: ({ scope, x, config }) =>
      classDiceLoss(scope, x('seg_logits'), x('seg_targets'), { smooth: config('dice_smooth') }),
  },
  bce: {
    ...of('bin_logits'),
    loss: ({ tape, scope, x }) => binaryLoss(tape, scope, x('bin_logits'), x('bin_targets')),
  },
  bce_large: {
    ...of('bin_logits'),
    loss: (context) =>
      binaryLoss(context.tape, context.scope, times(context, 'bin_logits', 30), context.x('bin_targets')),
  },
  bce_pos_weight: {
    ...of('bin_logits'),
    loss: ({ tape, scope, x }) =>
      binaryLoss(tape, scope, x('bin_logits'), x('bin_targets'), { positiveWeight: x('pos_weight') }),
  },
  dice: {
    ...of('bin_logits'),
    loss: ({ scope, x, config }) =>
      diceLoss(scope, x('bin_logits'), x('bin_targets'), { smooth: config('dice_smooth') }),
  },
  bce_dice: {
    ...of('bin_logits'),
    loss: ({ tape, scope, x, config }) => {
      const overlap = diceLoss(scope, x('bin_logits'), x('bin_targets'), { smooth: config('dice_smooth') })
      return scope.op('Add', [binaryLoss(tape, scope, x('bin_logits'), x('bin_targets')), overlap])
    },
  },
  l1: { ...of('reg_pred'), loss: ({ tape, scope, x }) => l1Loss(tape, scope, x('reg_pred'), x('reg_target')) },
  mse: { ...of('reg_pred'), loss: ({ tape, scope, x }) => mseLoss(tape, scope, x('reg_pred'), x('reg_target')) },
  smooth_l1: {
    ...of('reg_pred'),
    loss: ({ tape, scope, x, config }) =>
      smoothL1Loss(tape, scope, x('reg_pred'), x('reg_target'), config('huber_beta')),
  },
  cosine: { ...of('emb_a', 'emb_b'), loss: ({ tape, scope, x }) => cosineLoss(tape, scope, x('emb_a'), x('emb_b')) },
  cosine_embedding: {
    ...of('emb_a', 'emb_b'),
    loss: ({ tape, scope, x, config }) =>
      cosineEmbeddingLoss(tape, scope, x('emb_a'), x('emb_b'), x('cosine_targets'), config('cosine_margin')),
  },
  kl: { ...of(CE), loss: ({ tape, scope, x }) => divergence(tape, scope, x(CE), x('ce_soft')) },
  distill_T2: {
    ...of(CE),
    loss: ({ tape, scope, x }) => distillationLoss(tape, scope, x(CE), x('reg_target'), 2),
  },
  infonce: {
    ...of('emb_a', 'emb_b'),
    loss: ({ tape, scope, x, config }) => {
      const [a, b] = ['emb_a', 'emb_b'].map((name) => unitLength(tape, scope.scope(name), x(name)))
      return infoNce(tape, scope, a!, b!, fixedScale(scope, config('temperature')))
    },
  },
}

/** Outputs `<entry>.value` and `grad.<entry>.<input>`. */
export const runLosses: Runner = async ({ parityCase, engine, signal }) => {
  const tensors = new Map<string, HostTensor>()
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const { graph, feeds } = entryGraph(name, entry, parityCase)
    const results = await runOnce(engine, graph, feeds, signal)
    tensors.set(`${name}.value`, results.get('value')!)
    for (const input of entry.of) tensors.set(`grad.${name}.${input}`, results.get(`gradient/${input}`)!)
  }
  return { tensors }
}

function entryGraph(name: string, entry: Entry, { config, input }: ParityCase) {
  const g = new GraphBuilder(name)
  const tape = new Tape(g)
  const feeds = new Map<string, HostTensor>()
  const values = new Map<string, Value>()
  const x = (wanted: string): Value => {
    const known = values.get(wanted)
    if (known) return known
    const { dtype, dims, data } = input(wanted)
    feeds.set(wanted, hostTensor(dtype, dims, data))
    // The number of rows is open, as in training.
    const open = dims.map((dim, i) => (i === 0 && wanted !== 'ce_weight' ? 'B' : dim))
    const value = g.input(wanted, dtype, open)
    values.set(wanted, value)
    return value
  }
  const loss = entry.loss({ tape, scope: g.scope('loss'), x, config: (key) => Number(config[key]) })
  const found = gradients(tape, loss, entry.of.map(x))
  g.output('value', loss)
  entry.of.forEach((wanted, i) => {
    g.output(`gradient/${wanted}`, found[i]!)
  })
  return { graph: g.build({ dropIdle: true }), feeds }
}
