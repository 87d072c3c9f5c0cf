/** A small U-net as of diffusion models: residual blocks with a time embedding, one step down and up, all gradients. */

import { openCheckpoint } from '../../checkpoint/index.js'
import type { HostTensor } from '../../core/tensor.js'
import { GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { gradients } from '../../train/autodiff/backward.js'
import { Tape } from '../../train/autodiff/tape.js'
import type { Runner } from '../types.js'
import { type Affine, convolution, groupNorm, meanSquaredError, silu, transposedConvolution } from './conv.js'
import { runOnce } from './gradients.js'

interface Net {
  readonly affine: (path: string) => Affine
  readonly has: (path: string) => boolean
  readonly groups: number
  readonly epsilon: number
}

/** shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time(silu(t))))), t [B, E]. */
function residualBlock({ affine, has, groups, epsilon }: Net, scope: Scope, path: string, x: Value, t: Value): Value {
  const normed = (y: Value, name: string) =>
    silu(scope, groupNorm(scope.scope(name), y, affine(`${path}.${name}`), groups, epsilon))
  const first = convolution(scope, normed(x, 'norm1'), affine(`${path}.conv1`), { padding: 1 })
  const { weight, bias } = affine(`${path}.time_emb_proj`)
  const time = scope.op('Add', [scope.op('FusedMatMul', [silu(scope, t), weight], { transB: 1 }), bias]) // [B, C]
  const both = scope.op('Add', [first, scope.op('Unsqueeze', [time, scope.int64([2, 3])])])
  const second = convolution(scope, normed(both, 'norm2'), affine(`${path}.conv2`), { padding: 1 })
  const shortcut = `${path}.conv_shortcut`
  return scope.op('Add', [has(`${shortcut}.weight`) ? convolution(scope, x, affine(shortcut)) : x, second])
}

function unet(net: Net, g: GraphBuilder, x: Value, t: Value): Value {
  const { affine, groups, epsilon } = net
  const block = (name: string, y: Value) => residualBlock(net, g.scope(name), name, y, t)
  const a = block('res1', convolution(g, x, affine('conv_in'), { padding: 1 }))
  const b = block('res2', convolution(g, a, affine('down'), { stride: 2, padding: 1 }))
  const up = transposedConvolution(g, b, affine('up'), { stride: 2, padding: 1 })
  const c = block('res3', g.op('Concat', [up, a], { axis: 1 }))
  const normed = silu(g, groupNorm(g.scope('norm_out'), c, affine('norm_out'), groups, epsilon))
  return convolution(g, normed, affine('conv_out'), { padding: 1 })
}

export const runUnetBlock: Runner = async ({ parityCase, engine, signal }) => {
  using checkpoint = openCheckpoint(parityCase.checkpointPath())
  const { g: groups, eps: epsilon } = parityCase.config as { readonly g: number; readonly eps: number }
  const g = new GraphBuilder('train-unet-block')
  const feeds = new Map<string, HostTensor>()
  const trained = new Map<string, Value>()
  const input = (name: string, tensor: HostTensor) => {
    feeds.set(name, tensor)
    const value = g.input(name, tensor.dtype, tensor.dims)
    trained.set(name, value)
    return value
  }
  for (const [name, tensor] of checkpoint.tensors) input(name, tensor.read())
  const affine = (path: string): Affine => ({
    weight: trained.get(`${path}.weight`)!,
    bias: trained.get(`${path}.bias`)!,
  })
  const [x, t, target] = ['x', 't', 'target'].map((name) => input(name, parityCase.input(name)))
  trained.delete('target')
  const loss = meanSquaredError(
    g,
    unet({ affine, has: (name) => trained.has(name), groups, epsilon }, g, x!, t!),
    target!,
  )
  g.output('out/loss', loss)
  const found = gradients(new Tape(g), loss, [...trained.values()])
  for (const [i, name] of [...trained.keys()].entries()) g.output(`out/grad.${name}`, found[i]!)
  const results = await runOnce(engine, g.build({ dropIdle: true }), feeds, signal)
  return { tensors: new Map([...results].map(([name, tensor]) => [name.slice('out/'.length), tensor])) }
}
