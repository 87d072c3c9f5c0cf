/**
 * fairseq's TTS Transformer as three graphs; a vocoder (vocoder.ts) makes samples of what the last one gives.
 *
 *   ids ─► encode ─► keys and values of every layer ─► decode, step after step, until it says stop ─► postnet ─► mel
 *
 * One sentence a run: without padding there is no mask, and sentences are spoken one by one anyway.
 *
 * @paper arXiv:1809.08895, arXiv:2109.06912
 * @reference facebookresearch/fairseq@0ac3f32:fairseq/models/text_to_speech/tts_transformer.py, speech_generator.py
 */

import { type Graph, GraphBuilder, type Scope, type Value } from '../../graph/index.js'
import { linear, linearKindOf, type QuantisationPlan, vector } from '../linear.js'
import { dense, type EmitContext, layerNorm, need } from '../transformer.js'
import { convolve, hyperbolicTangent, positive, swapped } from '../vits/layers.js'
import { mapColumns, type WeightTensor } from '../weights.js'
import { stepWidth, type TtsTransformerConfig } from './config.js'
import { positionTable } from './positions.js'

type Given = ReadonlyMap<string, WeightTensor>

/** PyTorch's default, which fairseq keeps. */
const NORM_EPSILON = 1e-5

const contextOf = (weights: Given, plan: QuantisationPlan): EmitContext => ({
  weights,
  plan,
  normEpsilon: NORM_EPSILON,
})

/** x + body(x), the norm in front of the body or behind the sum. */
function residual(
  ctx: EmitContext,
  scope: Scope,
  x: Value,
  path: string,
  normFirst: boolean,
  body: (h: Value) => Value,
): Value {
  const h = normFirst ? layerNorm(ctx, scope, x, `${path}/norm`, 'norm') : x
  const sum = scope.op('Add', [x, body(h)], {}, 'sum')
  return normFirst ? sum : layerNorm(ctx, scope, sum, `${path}/norm`, 'norm')
}

const feedForward = (ctx: EmitContext, scope: Scope, x: Value, path: string, normFirst: boolean): Value =>
  residual(ctx, scope, x, path, normFirst, (h) => {
    const wide = positive(scope, dense(ctx, scope, h, `${path}/fc1`, 'fc1'), 'relu')
    return dense(ctx, scope, wide, `${path}/fc2`, 'fc2')
  })

/**
 *   inputs   ids int64 [1, T] · speaker int64 [1] (several voices only)
 *   outputs  memory float32 [1, T, C] · cross/layers.l/{key,value} [1, H, T, D]: what the decoder's layers attend to
 */
export function ttsTransformerEncodeGraph(config: TtsTransformerConfig, weights: Given, plan: QuantisationPlan): Graph {
  const g = new GraphBuilder('voice.encode')
  const ctx = contextOf(weights, plan)
  const { encoder, decoder } = config
  const enc = g.scope('encoder')
  const ids = g.input('ids', 'int64', [1, 'T'])
  const embed = vector(enc, need(weights, 'encoder/embed'), 'embed/weight')
  let x = swapped(enc, enc.op('Gather', [embed, ids], { axis: 0 }, 'tokens'), 'channelsFirst')
  for (let i = 0; i < encoder.convLayers; i++)
    x = positive(enc, convolve(ctx, enc, x, `encoder/prenet.${i}`, `prenet.${i}`), `prenet.${i}/relu`)
  x = dense(ctx, enc, swapped(enc, x, 'channelsLast'), 'encoder/in', 'in')
  const scale = need(weights, 'encoder/positionScale')
  const places = vector(enc, positionTable(config.maxSymbols, encoder.width, scale), 'positions/table')
  const length = enc.op('Shape', [ids], { start: 1, end: 2 }, 'length')
  x = enc.op('Add', [x, enc.op('Slice', [places, g.int64([0]), length, g.int64([0])], {}, 'positions')], {}, 'placed')
  for (let l = 0; l < encoder.layers; l++) {
    const layer = enc.scope(`layers.${l}`)
    const path = `encoder/layers.${l}`
    const attn = layer.scope('attn')
    x = residual(ctx, attn, x, `${path}/attn`, encoder.normFirst, (h) => {
      const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
      const mixed = attn.op('MultiHeadAttention', [q, k, v], { num_heads: encoder.heads }, 'mixed')
      return dense(ctx, attn, mixed, `${path}/attn/o`, 'o')
    })
    x = feedForward(ctx, layer.scope('mlp'), x, `${path}/mlp`, encoder.normFirst)
  }
  if (encoder.normFirst) x = layerNorm(ctx, enc, x, 'encoder/norm', 'norm')
  if (config.speakerWidth) x = spokenBy(ctx, g, enc, config, x)
  g.output('memory', x)
  const heads = [0, 0, decoder.heads, decoder.width / decoder.heads]
  for (let l = 0; l < decoder.layers; l++) {
    const cross = g.scope(`decoder/layers.${l}/cross`)
    for (const [part, name] of Object.entries({ k: 'key', v: 'value' })) {
      const y = dense(ctx, cross, x, `decoder/layers.${l}/cross/${part}`, part)
      const split = cross.op('Reshape', [y, g.int64(heads)], {}, `${part}Heads`)
      g.output(`cross/layers.${l}/${name}`, cross.op('Transpose', [split], { perm: [0, 2, 1, 3] }, name))
    }
  }
  return g.build()
}

/** [x ‖ speaker]·Wᵀ + b, as the sum of both parts' products: the speaker's is made once, not for every symbol. x [1, T, C] */
function spokenBy(ctx: EmitContext, g: GraphBuilder, enc: Scope, config: TtsTransformerConfig, x: Value): Value {
  const { encoder, speakerWidth } = config
  const table = vector(enc, need(ctx.weights, 'speakers'), 'speakers')
  const speaker = enc.op('Gather', [table, g.input('speaker', 'int64', [1])], { axis: 0 }, 'speakerEmbedding') // [1, S]
  const both = need(ctx.weights, 'encoder/speaker')
  const kind = linearKindOf(ctx.plan, 'encoder/speaker')
  const ofText = mapColumns(both, encoder.width, (column) => column)
  const ofSpeaker = mapColumns(both, speakerWidth, (column) => encoder.width + column)
  const said = linear(enc, x, ofText, kind, 'speaker/text', need(ctx.weights, 'encoder/speaker/bias'))
  return enc.op('Add', [said, linear(enc, speaker, ofSpeaker, kind, 'speaker/voice')], {}, 'spoken')
}

/**
 * One step: the frames of the step before (zeros at first) → its own.
 *
 *   inputs   frames float32 [1, 1, n·M] · position int64 [1], from 0 · keep float32 [L, W]: factors on the outputs of the prenet's
 *            layers, ones for no dropout · seqlens_k int32 [1] · total_sequence_length int32 []
 *            past/layers.l/{key,value} [1, H, S, D] (in place) · cross/layers.l/{key,value} [1, H, T, D]
 *   outputs  features float32 [1, 1, n·M], before the postnet · stop float32 [1, 1, 1]: the probability that it was the last step ·
 *            present/layers.l/{key,value}
 */
export function ttsTransformerDecodeGraph(config: TtsTransformerConfig, weights: Given, plan: QuantisationPlan): Graph {
  const g = new GraphBuilder('voice.decode')
  const ctx = contextOf(weights, plan)
  const { decoder, prenet } = config
  const { heads } = decoder
  const cache = (name: string, rows: string) => g.input(name, 'float32', [1, heads, rows, decoder.width / heads])
  const dec = g.scope('decoder')
  const frames = g.input('frames', 'float32', [1, 1, stepWidth(config)])
  const position = g.input('position', 'int64', [1])
  const keep = g.input('keep', 'float32', [prenet.layers, prenet.width])
  const seqlens = g.input('seqlens_k', 'int32', [1])
  const total = g.input('total_sequence_length', 'int32', [])
  let x = frames
  for (let i = 0; i < prenet.layers; i++) {
    const layer = dec.scope(`prenet.${i}`)
    const active = positive(layer, dense(ctx, layer, x, `decoder/prenet.${i}`, 'linear'), 'relu')
    x = layer.op('Mul', [active, layer.op('Gather', [keep, g.int64(i)], { axis: 0 }, 'keep')], {}, 'dropout')
  }
  x = dense(ctx, dec, x, 'decoder/in', 'in')
  const scale = need(weights, 'decoder/positionScale')
  const places = vector(dec, positionTable(config.maxSteps, decoder.width, scale), 'positions/table')
  x = dec.op('Add', [x, dec.op('Gather', [places, position], { axis: 0 }, 'positions')], {}, 'placed')
  for (let l = 0; l < decoder.layers; l++) {
    const layer = dec.scope(`layers.${l}`)
    const path = `decoder/layers.${l}`
    const attn = layer.scope('attn')
    x = residual(ctx, attn, x, `${path}/attn`, decoder.normFirst, (h) => {
      const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
      const past = ['key', 'value'].map((kind) => cache(`past/layers.${l}/${kind}`, 'S'))
      const [mixed, key, value] = attn.ops(
        'GroupQueryAttention',
        [q, k, v, ...past, seqlens, total],
        { num_heads: heads, kv_num_heads: heads, scale: 1 / Math.sqrt(decoder.width / heads) },
        ['mixed', 'presentKey', 'presentValue'],
      )
      g.output(`present/layers.${l}/key`, key!)
      g.output(`present/layers.${l}/value`, value!)
      return dense(ctx, attn, mixed!, `${path}/attn/o`, 'o')
    })
    const cross = layer.scope('cross')
    x = residual(ctx, cross, x, `${path}/cross`, decoder.normFirst, (h) => {
      const query = dense(ctx, cross, h, `${path}/cross/q`, 'q')
      const heard = ['key', 'value'].map((kind) => cache(`cross/layers.${l}/${kind}`, 'T'))
      const found = cross.op('MultiHeadAttention', [query, ...heard], { num_heads: heads }, 'mixed')
      return dense(ctx, cross, found, `${path}/cross/o`, 'o')
    })
    x = feedForward(ctx, layer.scope('mlp'), x, `${path}/mlp`, decoder.normFirst)
  }
  if (decoder.normFirst) x = layerNorm(ctx, dec, x, 'decoder/norm', 'norm')
  g.output('features', dense(ctx, dec, x, 'decoder/frames', 'frames'))
  g.output('stop', dec.op('Sigmoid', [dense(ctx, dec, x, 'decoder/stop', 'stop')], {}, 'stopProbability'))
  return g.build()
}

/**
 * Convolutions over all steps at once, added to what the steps gave; then one frame behind the other, as the vocoder was trained on
 * them.
 *
 *   inputs   features float32 [1, P, n·M], P steps
 *   outputs  mel float32 [1, M, n·P], log amplitudes
 */
export function ttsTransformerPostnetGraph(
  config: TtsTransformerConfig,
  weights: Given,
  plan: QuantisationPlan,
): Graph {
  const g = new GraphBuilder('voice.postnet')
  const ctx = contextOf(weights, plan)
  const { postnet, melBands, frameStatistics } = config
  const post = g.scope('postnet')
  const features = g.input('features', 'float32', [1, 'P', stepWidth(config)])
  let x = swapped(post, features, 'channelsFirst')
  for (let i = 0; i < postnet.layers; i++) {
    x = convolve(ctx, post, x, `postnet/convs.${i}`, `convs.${i}`)
    if (i < postnet.layers - 1) x = hyperbolicTangent(post, x, `convs.${i}/tanh`)
  }
  const sum = post.op('Add', [features, swapped(post, x, 'channelsLast')], {}, 'sum')
  let frames = post.op('Reshape', [sum, g.int64([1, -1, melBands])], {}, 'frames') // [1, n·P, M]
  if (frameStatistics) {
    const deviation = post.op('Mul', [frames, g.float32(frameStatistics.deviation)], {}, 'deviation')
    frames = post.op('Add', [deviation, g.float32(frameStatistics.mean)], {}, 'restored')
  }
  g.output('mel', swapped(post, frames, 'mel'))
  return g.build()
}
