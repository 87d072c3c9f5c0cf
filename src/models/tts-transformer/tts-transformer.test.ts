/** fairseq's TTS Transformer against plain loops in float64 over the checkpoint's own names, on the engine; and what its files say. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ByteWriter, torchArchive } from '../../../test/helpers/checkpoint-files.js'
import { memorySource } from '../../checkpoint/byte-source.js'
import { openTorchZip } from '../../checkpoint/torch.js'
import type { M4Error } from '../../core/errors.js'
import { normalSource } from '../../core/random.js'
import { int64Tensor } from '../../core/tensor.js'
import { openEngine } from '../../engine/index.js'
import type { Engine, Session, Tensor } from '../../engine/types.js'
import { censusOf, type Graph } from '../../graph/index.js'
import { openGraph } from '../../parity/graphs.js'
import type { WeightTensor } from '../weights.js'
import {
  HIFI_GAN_V1,
  TTS_TRANSFORMER_ARCHITECTURES,
  TTS_TRANSFORMER_LJSPEECH,
  type TtsTransformerConfig,
  ttsTransformerConfig,
  ttsTransformerNames,
  ttsTransformerShapes,
} from './index.js'

const acoustic = TTS_TRANSFORMER_ARCHITECTURES['tts-transformer']
const vocoder = TTS_TRANSFORMER_ARCHITECTURES['hifi-gan']
const OPTIONS = { quantisation: { default: 'fp32' }, embedding: 'fp32', loraSites: [] } as const
const count = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1)

const TINY: TtsTransformerConfig = {
  vocabulary: 11,
  encoder: { width: 16, feedForward: 20, heads: 2, layers: 2, normFirst: true, convLayers: 2, convKernel: 5 },
  decoder: { width: 24, feedForward: 28, heads: 3, layers: 2, normFirst: true },
  prenet: { layers: 2, width: 10, dropout: 0.5 },
  postnet: { layers: 3, width: 12, kernel: 5 },
  melBands: 5,
  framesPerStep: 2,
  speakers: 1,
  speakerWidth: 0,
  maxSymbols: 40,
  maxSteps: 30,
  stopProbability: 0.5,
  sampleRateHz: 22_050,
  hopSamples: 256,
  frameStatistics: null,
}
const STATISTICS = { mean: [1, -2, 3, 0.5, -0.25], deviation: [0.5, 2, 1, 3, 0.1] }

/** What fairseq pickles, as the reader of torch files flattens it. */
const argumentsOf = (config: TtsTransformerConfig) => ({
  'cfg/model/encoder_attention_heads': config.encoder.heads,
  'cfg/model/decoder_attention_heads': config.decoder.heads,
  'cfg/model/prenet_dropout': config.prenet.dropout,
  'cfg/model/activation_fn': 'relu',
  'cfg/task/n_frames_per_step': config.framesPerStep,
  'cfg/task/max_source_positions': config.maxSymbols,
  'cfg/task/max_target_positions': config.maxSteps,
  'cfg/task/eos_prob_threshold': config.stopProbability,
})
const yamlOf = ({ frameStatistics }: TtsTransformerConfig) => ({
  global_cmvn: frameStatistics && { mean: frameStatistics.mean, std: frameStatistics.deviation },
})
const metadataOf = (config: TtsTransformerConfig): Record<string, unknown> => ({
  ...argumentsOf(config),
  config: yamlOf(config),
})

/** A checkpoint's tensors by fairseq's names: norms near 1, everything else normal with deviation 1/√inputs. */
function checkpointOf(config: TtsTransformerConfig, seed = 1): Map<string, WeightTensor> {
  const next = normalSource(seed)
  const file = new Map<string, WeightTensor>()
  const add = (name: string, dims: readonly number[], make: () => number) => {
    const data = Float32Array.from({ length: count(dims) }, make)
    const perRow = count(dims.slice(1))
    const read: WeightTensor['float32'] = (rows) =>
      rows ? data.slice(rows.from * perRow, rows.to * perRow) : data.slice()
    file.set(`model/${name}`, { name, dims, float32: read })
  }
  for (const { name, dims } of ttsTransformerNames(config).values()) {
    const positive = /running_var$|norm\.weight$|\.1\.weight$|pos_emb_alpha$/.test(name) && dims.length === 1
    const spread = dims.length > 1 ? 1 / Math.sqrt(count(dims.slice(1))) : 0.3
    add(name, dims, positive ? () => 1 + 0.5 * Math.tanh(next()) : () => spread * next())
  }
  for (const part of ['encoder', 'decoder']) add(`${part}.embed_positions._float_tensor`, [1], () => 0)
  add('encoder.prenet.0.1.num_batches_tracked', [], () => 7)
  return file
}

/** The reference: one sentence, [time][channel], as tts_transformer.py and tacotron2.py compute it. */
type Rows = readonly (readonly number[])[]
function reference(config: TtsTransformerConfig, file: ReadonlyMap<string, WeightTensor>) {
  const get = (name: string) => file.get(`model/${name}`)!.float32()
  const linear = (x: Rows, name: string): Rows => {
    const [w, b] = [get(`${name}.weight`), get(`${name}.bias`)]
    return x.map((row) => Array.from(b, (bias, o) => row.reduce((s, v, i) => s + v * w[o * row.length + i]!, bias)))
  }
  const layerNorm = (x: Rows, name: string): Rows => {
    const [w, b] = [get(`${name}.weight`), get(`${name}.bias`)]
    return x.map((row) => {
      const mean = row.reduce((a, v) => a + v, 0) / row.length
      const variance = row.reduce((a, v) => a + (v - mean) ** 2, 0) / row.length
      return row.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-5)) * w[i]! + b[i]!)
    })
  }
  /** Conv1d then BatchNorm1d. */
  const convNorm = (x: Rows, name: string): Rows => {
    const [w, b] = [get(`${name}.0.weight`), get(`${name}.0.bias`)]
    const [gamma, beta] = [get(`${name}.1.weight`), get(`${name}.1.bias`)]
    const [mean, variance] = [get(`${name}.1.running_mean`), get(`${name}.1.running_var`)]
    const inputs = x[0]!.length
    const kernel = w.length / b.length / inputs
    return x.map((_, t) =>
      Array.from(b, (bias, o) => {
        let sum = bias
        for (let c = 0; c < inputs; c++)
          for (let k = 0; k < kernel; k++)
            sum += (x[t + k - (kernel - 1) / 2]?.[c] ?? 0) * w[(o * inputs + c) * kernel + k]!
        return ((sum - mean[o]!) / Math.sqrt(variance[o]! + 1e-5)) * gamma[o]! + beta[o]!
      }),
    )
  }
  const relu = (x: Rows): Rows => x.map((row) => row.map((v) => Math.max(v, 0)))
  const add = (a: Rows, b: Rows): Rows => a.map((row, t) => row.map((v, i) => v + b[t]![i]!))
  const attention = (x: Rows, memory: Rows, name: string, heads: number): Rows => {
    const [q, k, v] = [linear(x, `${name}.q_proj`), linear(memory, `${name}.k_proj`), linear(memory, `${name}.v_proj`)]
    const width = q[0]!.length
    const D = width / heads
    const mixed = q.map((row) => {
      const out = new Array<number>(width).fill(0)
      for (let h = 0; h < heads; h++) {
        const scores = k.map((key) => {
          let dot = 0
          for (let d = h * D; d < (h + 1) * D; d++) dot += row[d]! * key[d]!
          return Math.exp(dot / Math.sqrt(D))
        })
        const total = scores.reduce((a, s) => a + s, 0)
        for (let d = h * D; d < (h + 1) * D; d++)
          out[d] = v.reduce((a, value, s) => a + (scores[s]! / total) * value[d]!, 0)
      }
      return out
    })
    return linear(mixed, `${name}.out_proj`)
  }
  const block = (x: Rows, norm: string, before: boolean, body: (h: Rows) => Rows): Rows =>
    before ? add(x, body(layerNorm(x, norm))) : layerNorm(add(x, body(x)), norm)
  /** SinusoidalPositionalEmbedding: the first place is padding_idx + 1 = 2. */
  const placed = (x: Rows, from: number, alpha: number): Rows =>
    x.map((row, t) => {
      const half = row.length / 2
      return row.map((v, i) => {
        const angle = (from + t + 2) * Math.exp((-Math.log(10_000) / (half - 1)) * (i % half))
        return v + alpha * (i < half ? Math.sin(angle) : Math.cos(angle))
      })
    })
  const { encoder, decoder } = config
  return {
    encode(ids: readonly number[], speaker?: number): Rows {
      const table = get('encoder.embed_tokens.weight')
      let x: Rows = ids.map((id) => Array.from(table.subarray(id * encoder.width, (id + 1) * encoder.width)))
      for (let i = 0; i < encoder.convLayers; i++) x = relu(convNorm(x, `encoder.prenet.${i}`))
      x = placed(linear(x, 'encoder.prenet_proj'), 0, get('encoder.pos_emb_alpha')[0]!)
      for (let l = 0; l < encoder.layers; l++) {
        const name = `encoder.transformer_layers.${l}`
        const self = (h: Rows) => attention(h, h, `${name}.self_attn`, encoder.heads)
        x = block(x, `${name}.self_attn_layer_norm`, encoder.normFirst, self)
        const mlp = (h: Rows) => linear(relu(linear(h, `${name}.fc1`)), `${name}.fc2`)
        x = block(x, `${name}.final_layer_norm`, encoder.normFirst, mlp)
      }
      if (encoder.normFirst) x = layerNorm(x, 'encoder.layer_norm')
      if (speaker === undefined) return x
      const voices = get('encoder.embed_speaker.weight')
      const own = Array.from(voices.subarray(speaker * config.speakerWidth, (speaker + 1) * config.speakerWidth))
      return linear(
        x.map((row) => [...row, ...own]),
        'encoder.spk_emb_proj',
      )
    },
    /** All steps at once under a causal mask: what the cache must agree with. `keep` [step][layer][unit] */
    decode(memory: Rows, inputs: Rows, keep: readonly Rows[]): { features: Rows; stop: number[] } {
      let x = inputs
      for (let i = 0; i < config.prenet.layers; i++)
        x = relu(linear(x, `decoder.prenet.0.layers.${i}.0`)).map((row, t) => row.map((v, u) => v * keep[t]![i]![u]!))
      x = placed(linear(x, 'decoder.prenet.1'), 0, get('decoder.pos_emb_alpha')[0]!)
      for (let l = 0; l < decoder.layers; l++) {
        const name = `decoder.transformer_layers.${l}`
        const self = (h: Rows) =>
          h.map((row, t) => attention([row], h.slice(0, t + 1), `${name}.self_attn`, decoder.heads)[0]!)
        x = block(x, `${name}.self_attn_layer_norm`, decoder.normFirst, self)
        const cross = (h: Rows) => attention(h, memory, `${name}.encoder_attn`, decoder.heads)
        x = block(x, `${name}.encoder_attn_layer_norm`, decoder.normFirst, cross)
        const mlp = (h: Rows) => linear(relu(linear(h, `${name}.fc1`)), `${name}.fc2`)
        x = block(x, `${name}.final_layer_norm`, decoder.normFirst, mlp)
      }
      if (decoder.normFirst) x = layerNorm(x, 'decoder.layer_norm')
      const stop = linear(x, 'decoder.eos_proj').map(([logit]) => 1 / (1 + Math.exp(-logit!)))
      return { features: linear(x, 'decoder.feat_proj'), stop }
    },
    /** [step][n·M] → [frame][M] */
    postnet(features: Rows): Rows {
      let x = features
      for (let i = 0; i < config.postnet.layers; i++) {
        x = convNorm(x, `decoder.postnet.convolutions.${i}`)
        if (i < config.postnet.layers - 1) x = x.map((row) => row.map(Math.tanh))
      }
      const frames = add(features, x).flatMap((row) =>
        Array.from({ length: config.framesPerStep }, (_, f) =>
          row.slice(f * config.melBands, (f + 1) * config.melBands),
        ),
      )
      const { mean, deviation } = config.frameStatistics ?? {}
      return mean && deviation ? frames.map((row) => row.map((v, m) => v * deviation[m]! + mean[m]!)) : frames
    },
  }
}

let engine: Engine
const owned: (Session | Tensor)[] = []
beforeAll(async () => {
  engine = await openEngine()
})
afterAll(() => {
  for (const each of owned) each.dispose()
})

const keepFor = <T extends Session | Tensor>(each: T): T => {
  owned.push(each)
  return each
}
const open = async (graph: Graph) => keepFor(await openGraph(engine, graph))
const floats = (dims: readonly number[], values: readonly number[]) =>
  keepFor(engine.tensor('float32', dims, Float32Array.from(values)))
const integers = (dims: readonly number[], values: readonly number[]) =>
  keepFor(engine.tensor('int64', dims, int64Tensor(dims, values).data))
const whole = (dims: readonly number[], value: number) => keepFor(engine.tensor('int32', dims, Int32Array.of(value)))
async function run(session: Session, feeds: Record<string, Tensor>): Promise<Record<string, Tensor>> {
  const results = await session.run(feeds)
  Object.values(results).forEach(keepFor)
  return results
}

/** Within 1e-4 of the largest number that was expected. */
function expectClose(got: Tensor | undefined, expected: readonly number[]): void {
  const data = got!.data as Float32Array
  expect(data.length).toBe(expected.length)
  const scale = Math.max(...expected.map(Math.abs))
  let worst = 0
  for (const [i, value] of expected.entries()) worst = Math.max(worst, Math.abs(data[i]! - value))
  expect(worst / scale).toBeLessThan(1e-4)
}

const { encoder: ENCODER, decoder: DECODER } = TINY
const CASES: readonly (readonly [name: string, config: TtsTransformerConfig, ids: readonly number[]])[] = [
  ['norms first, statistics', { ...TINY, frameStatistics: STATISTICS }, [4, 9, 10, 5, 5, 8, 2]],
  [
    'norms behind, one frame a step',
    { ...TINY, encoder: { ...ENCODER, normFirst: false }, decoder: { ...DECODER, normFirst: false }, framesPerStep: 1 },
    [6, 2],
  ],
  ['several voices', { ...TINY, speakers: 4, speakerWidth: 6 }, [7, 4, 2]],
  ['no convolutions in front', { ...TINY, encoder: { ...ENCODER, convLayers: 0, convKernel: 1 } }, [2]],
]

describe.each(CASES)('%s', (_, config, ids) => {
  const file = checkpointOf(config)
  const plain = reference(config, file)
  const speaker = config.speakerWidth ? 2 : undefined
  const memory = plain.encode(ids, speaker)
  const read = ttsTransformerConfig({ format: 'torch', metadata: metadataOf(config), weights: file })
  const graphs = acoustic.graphs(read, acoustic.weights(read, file), OPTIONS)
  const width = config.melBands * config.framesPerStep
  let encoded: Record<string, Tensor>

  test('sizes out of the checkpoint', () => expect(read).toEqual(config))

  beforeAll(async () => {
    const who = speaker === undefined ? {} : { speaker: integers([1], [speaker]) }
    encoded = await run(await open(graphs.encode!()), { ids: integers([1, ids.length], ids), ...who })
  })

  test('encode', () => {
    expect(encoded.memory!.dims).toEqual([1, ids.length, config.encoder.width])
    expectClose(encoded.memory, memory.flat())
  })

  test('decode, step after step with the cache', async () => {
    const next = normalSource(3)
    const steps = 4
    const inputs = Array.from({ length: steps }, () => Array.from({ length: width }, next))
    const keep = inputs.map(() =>
      Array.from({ length: config.prenet.layers }, () =>
        Array.from({ length: config.prenet.width }, () => (next() > 0 ? 2 : 0)),
      ),
    )
    const expected = plain.decode(memory, inputs, keep)
    const decode = await open(graphs.decode!())
    using binding = decode.bind()
    const { heads, layers } = config.decoder
    for (let l = 0; l < layers; l++)
      for (const kind of ['key', 'value']) {
        // Longer than the sentence, and full of what must not be read.
        const dims = [1, heads, 8, config.decoder.width / heads]
        const cache = floats(dims, new Array(count(dims)).fill(1e3))
        binding.bindInput(`past/layers.${l}/${kind}`, cache)
        binding.bindOutput(`present/layers.${l}/${kind}`, cache)
        binding.bindInput(`cross/layers.${l}/${kind}`, encoded[`cross/layers.${l}/${kind}`]!)
      }
    const [features, stop] = [floats([1, 1, width], new Array(width).fill(0)), floats([1, 1, 1], [0])]
    binding.bindOutput('features', features)
    binding.bindOutput('stop', stop)
    for (let step = 0; step < steps; step++) {
      binding.bindInput('frames', floats([1, 1, width], inputs[step]!))
      binding.bindInput('position', integers([1], [step]))
      binding.bindInput('keep', floats([config.prenet.layers, config.prenet.width], keep[step]!.flat()))
      binding.bindInput('seqlens_k', whole([1], step))
      binding.bindInput('total_sequence_length', whole([], step + 1))
      await binding.run()
      expectClose(features, expected.features[step]!)
      expectClose(stop, [expected.stop[step]!])
    }
  })

  test('postnet', async () => {
    const next = normalSource(5)
    const features = Array.from({ length: 6 }, () => Array.from({ length: width }, next))
    const { mel } = await run(await open(graphs.postnet!()), { features: floats([1, 6, width], features.flat()) })
    const frames = plain.postnet(features)
    expect(mel!.dims).toEqual([1, config.melBands, frames.length])
    expectClose(mel, Array.from({ length: config.melBands }, (_, m) => frames.map((row) => row[m]!)).flat())
  })
})

describe('reading a checkpoint', () => {
  const code = (act: () => unknown) => {
    try {
      act()
    } catch (error) {
      return (error as M4Error).code
    }
    return undefined
  }
  const configured = (metadata: object, file = checkpointOf(TINY)) =>
    code(() => ttsTransformerConfig({ format: 'torch', metadata: { ...metadataOf(TINY), ...metadata }, weights: file }))

  test('names as fairseq wrote them', () => {
    const names = [...checkpointOf(TINY).keys()]
    for (const name of [
      'encoder.prenet.1.1.running_var',
      'encoder.prenet_proj.weight',
      'encoder.pos_emb_alpha',
      'encoder.transformer_layers.1.self_attn.out_proj.bias',
      'encoder.layer_norm.weight',
      'decoder.prenet.0.layers.1.0.weight',
      'decoder.prenet.1.bias',
      'decoder.transformer_layers.0.encoder_attn.k_proj.weight',
      'decoder.transformer_layers.0.encoder_attn_layer_norm.bias',
      'decoder.transformer_layers.1.final_layer_norm.weight',
      'decoder.feat_proj.weight',
      'decoder.eos_proj.bias',
      'decoder.postnet.convolutions.2.1.running_mean',
    ])
      expect(names).toContain(`model/${name}`)
  })

  test('the optimizer and what only training asks are left alone', () => {
    const file = checkpointOf(TINY)
    const stray: WeightTensor = { name: 'stray', dims: [1], float32: () => new Float32Array(1) }
    file.set('last_optimizer_state/state/0/exp_avg', stray).set('model/decoder.ctc_proj.weight', stray)
    expect(acoustic.weights(TINY, file).size).toBe(Object.keys(ttsTransformerShapes(TINY)).length)
    file.set('model/encoder.adapter.weight', stray)
    expect(code(() => acoustic.weights(TINY, file))).toBe('TENSOR_UNUSED')
  })

  test('what is missing or of another model is an error', () => {
    const file = checkpointOf(TINY)
    file.delete('model/decoder.postnet.convolutions.1.1.running_var')
    expect(code(() => acoustic.weights(TINY, file))).toBe('TENSOR_MISSING')
    expect(code(() => acoustic.weights({ ...TINY, melBands: 4 }, checkpointOf(TINY)))).toBe('SHAPE_MISMATCH')
    expect(configured({})).toBeUndefined()
    expect(configured({ config: {} })).toBe('FORMAT_INVALID')
    expect(configured({ config: { global_cmvn: { mean: [1], std: [1] } } })).toBe('FORMAT_INVALID')
    expect(configured({ 'cfg/model/encoder_attention_heads': undefined })).toBe('FORMAT_INVALID')
    expect(configured({ 'cfg/model/encoder_attention_heads': 4 })).toBe('FORMAT_UNSUPPORTED')
    expect(configured({ 'cfg/model/activation_fn': 'gelu' })).toBe('FORMAT_UNSUPPORTED')
    expect(configured({ 'cfg/task/n_frames_per_step': 3 })).toBe('FORMAT_INVALID')
    expect(configured({ 'cfg/model/prenet_dropout': 1 })).toBe('FORMAT_INVALID')
  })

  test('arguments out of the pickle that fairseq writes', () => {
    const pickle = new ByteWriter().raw([0x80, 2])
    const word = (text: string) => pickle.text('X').u32(text.length).text(text)
    const number = (value: number) => pickle.text('G').raw(new Uint8Array(Float64Array.of(value).buffer).reverse())
    const namespace = (place: string) => {
      // Namespace() and its attributes.
      pickle.text('cargparse\nNamespace\n)').u8(0x81).text('}(')
      for (const [key, value] of Object.entries(argumentsOf(TINY)))
        if (key.startsWith(`cfg/${place}/`)) {
          word(key.slice(`cfg/${place}/`.length))
          if (typeof value === 'string') word(value)
          else number(value)
        }
      pickle.text('ub')
    }
    pickle.text('}(')
    word('args').text('N')
    word('cfg').text('}(')
    for (const place of ['model', 'task']) {
      word(place)
      namespace(place)
    }
    pickle.text('u')
    word('model').text('}u.')
    using checkpoint = openTorchZip(memorySource(torchArchive(pickle.done())))
    const metadata = { ...checkpoint.metadata, config: yamlOf(TINY) }
    expect(ttsTransformerConfig({ format: 'torch', metadata, weights: checkpointOf(TINY) })).toEqual(TINY)
  })

  test('arguments of files before 2021', () => {
    const old = Object.entries(argumentsOf(TINY)).map(([key, value]) => [key.replace(/^cfg\/\w+/, 'args'), value])
    const metadata = { ...Object.fromEntries(old), config: yamlOf(TINY) }
    expect(ttsTransformerConfig({ format: 'torch', metadata, weights: checkpointOf(TINY) })).toEqual(TINY)
  })
})

describe('published sizes', () => {
  const unread = (weights: ReadonlyMap<string, WeightTensor>) =>
    new Map(
      [...weights].map(([name, { dims }]) => {
        const float32 = (): Float32Array => {
          throw new Error(`${name} was read`)
        }
        return [name, { name, dims, float32 }] as const
      }),
    )
  const total = (weights: ReadonlyMap<string, WeightTensor>) =>
    [...weights.values()].reduce((sum, { dims }) => sum + count(dims), 0)

  test('54.4 million parameters and few operators', () => {
    const weights = unread(acoustic.random(TTS_TRANSFORMER_LJSPEECH, 1))
    // Two numbers of each batch norm's channel are learnt, and folded away here.
    const norms = 2 * (3 * 512 + 4 * 512 + 320)
    expect(Math.round((total(weights) + norms) / 1e4)).toBe(5440)
    const graphs = Object.values(acoustic.graphs(TTS_TRANSFORMER_LJSPEECH, weights, OPTIONS)).map((make) => make())
    const vocode = vocoder.graphs(HIFI_GAN_V1, unread(vocoder.random(HIFI_GAN_V1, 1)), OPTIONS).vocode!()
    expect(censusOf([...graphs, vocode]).types.length).toBeLessThanOrEqual(20)
  })

  test('the vocoder: 13.93 million parameters', () => {
    expect(Math.round(total(vocoder.random(HIFI_GAN_V1, 1)) / 1e4)).toBe(1393)
  })
})
