/**
 * How many frames each symbol lasts: a flow from noise to log durations, run backwards, or a plain regression where the
 * checkpoint was trained so. Flips of the flow's two channels cost nothing: the two are kept apart and change places.
 *
 * @paper arXiv:2106.06103 §2.2.2 and appendix A.1 · @reference jaywalnut310/vits@2e561ba:models.py
 */

import type { GraphBuilder, Scope, Value } from '../../graph/index.js'
import { vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need } from '../transformer.js'
import type { StochasticDurations, VitsConfig } from './config.js'
import { convolve, positive, separable, speakerTerm, swapped } from './layers.js'
import { inverseSpline } from './spline.js'

/** hidden [1, T, C] (and noise [1, 2, T], its deviation already in it) → log durations [1, T] */
export function logDurations(
  ctx: EmitContext,
  g: GraphBuilder,
  { durations }: VitsConfig,
  hidden: Value,
  speaker: Value | undefined,
): Value {
  const scope = g.scope('durations')
  const log =
    durations.kind === 'stochastic'
      ? stochastic(ctx, scope, durations, hidden, g.input('noise', 'float32', [1, 2, 'T']), speaker)
      : plain(ctx, scope, hidden, speaker)
  return scope.op('Reshape', [log, g.int64([1, -1])], {}, 'log')
}

function stochastic(
  ctx: EmitContext,
  scope: Scope,
  { width, kernel, separableLayers, flows, bins, tailBound }: StochasticDurations,
  hidden: Value,
  noise: Value,
  speaker: Value | undefined,
): Value {
  const stack = { layers: separableLayers, kernel, width }
  let h = dense(ctx, scope, hidden, 'durations/in', 'in')
  if (speaker) h = scope.op('Add', [h, speakerTerm(ctx, scope, speaker, 'durations/speaker', 'last')], {}, 'spoken')
  const condition = dense(ctx, scope, separable(ctx, scope, h, 'durations', stack), 'durations/out', 'out')

  const byToken = swapped(scope, noise, 'noiseByToken')
  let [kept, moved] = scope.ops('Split', [byToken], { axis: 2, num_outputs: 2 }, ['first', 'second']) as [Value, Value]
  for (let i = flows - 2; i >= 0; i--) {
    ;[kept, moved] = [moved, kept]
    const spline = scope.scope(`splines.${i}`)
    const path = `durations/splines.${i}`
    const read = spline.op('Add', [dense(ctx, spline, kept, `${path}/in`, 'in'), condition], {}, 'conditioned')
    const parameters = dense(ctx, spline, separable(ctx, spline, read, path, stack), `${path}/out`, 'out')
    moved = inverseSpline(spline.scope('inverse'), moved, parameters, {
      bins,
      bound: tailBound,
      divisor: Math.sqrt(width),
    })
  }
  // One more flip, then the inverse of the affine flow; only its first channel is a duration.
  const [shift, logScale] = ['shift', 'logScale'].map((part) => {
    const both = vector(scope, need(ctx.weights, `durations/affine/${part}`), `affine/${part}`)
    return scope.op('Slice', [both, scope.int64([0]), scope.int64([1])], {}, `affine/${part}/first`)
  }) as [Value, Value]
  const scale = scope.op('Exp', [logScale], {}, 'affine/scale')
  return scope.op('Div', [scope.op('Sub', [moved, shift], {}, 'affine/moved'), scale], {}, 'affine/out')
}

function plain(ctx: EmitContext, scope: Scope, hidden: Value, speaker: Value | undefined): Value {
  let x = hidden
  if (speaker) x = scope.op('Add', [x, speakerTerm(ctx, scope, speaker, 'durations/speaker', 'last')], {}, 'spoken')
  for (const name of ['conv1', 'conv2']) {
    const y = convolve(ctx, scope, swapped(scope, x, `${name}/first`), `durations/${name}`, name)
    const active = positive(scope, y, `${name}/relu`)
    x = layerNorm(ctx, scope, swapped(scope, active, `${name}/last`), `durations/${name}/norm`, `${name}/norm`)
  }
  return dense(ctx, scope, x, 'durations/project', 'project')
}
