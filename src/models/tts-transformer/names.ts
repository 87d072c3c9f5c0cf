/** Every tensor that speaking needs: our name, its shape, fairseq's name; batch norms folded into the convolutions before them. */

import { randomWeights } from '../random-weights.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import { foldBatchNorm, isBatchNorm } from './batch-norm.js'
import { stepWidth, type TransformerSizes, type TtsTransformerConfig } from './config.js'

interface Row {
  readonly ours: string
  readonly dims: readonly number[]
  readonly theirs: string
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** `…/bias` beside a weight. */
const withBias = (ours: string, dims: readonly number[], theirs: string): Row[] => [
  { ours, dims, theirs: `${theirs}.weight` },
  { ours: `${ours}/bias`, dims: [dims[0]!], theirs: `${theirs}.bias` },
]

/** A convolution and its batch norm: `nn.Sequential(Conv1d, BatchNorm1d, …)`. */
const convolution = (ours: string, dims: readonly number[], theirs: string): Row[] => [
  ...withBias(ours, dims, `${theirs}.0`),
  ...Object.entries({ gamma: 'weight', beta: 'bias', mean: 'running_mean', variance: 'running_var' }).map(
    ([part, name]) => ({ ours: `${ours}/${part}`, dims: [dims[0]!], theirs: `${theirs}.1.${name}` }),
  ),
]

/** @param memoryWidth of keys and values where they come from another stack */
function attentionRows(ours: string, theirs: string, norm: string, width: number, memoryWidth = width): Row[] {
  return [
    ...withBias(`${ours}/norm`, [width], norm),
    ...withBias(`${ours}/q`, [width, width], `${theirs}.q_proj`),
    ...withBias(`${ours}/k`, [width, memoryWidth], `${theirs}.k_proj`),
    ...withBias(`${ours}/v`, [width, memoryWidth], `${theirs}.v_proj`),
    ...withBias(`${ours}/o`, [width, width], `${theirs}.out_proj`),
  ]
}

/** @param memoryWidth what the layers of the decoder attend to; absent in the encoder */
function stackRows(part: 'encoder' | 'decoder', sizes: TransformerSizes, memoryWidth?: number): Row[] {
  const { width, feedForward, layers, normFirst } = sizes
  return [
    { ours: `${part}/positionScale`, dims: [1], theirs: `${part}.pos_emb_alpha` },
    ...range(layers).flatMap((l) => {
      const [ours, theirs] = [`${part}/layers.${l}`, `${part}.transformer_layers.${l}`]
      const cross =
        memoryWidth === undefined
          ? []
          : attentionRows(
              `${ours}/cross`,
              `${theirs}.encoder_attn`,
              `${theirs}.encoder_attn_layer_norm`,
              width,
              memoryWidth,
            )
      return [
        ...attentionRows(`${ours}/attn`, `${theirs}.self_attn`, `${theirs}.self_attn_layer_norm`, width),
        ...cross,
        ...withBias(`${ours}/mlp/norm`, [width], `${theirs}.final_layer_norm`),
        ...withBias(`${ours}/mlp/fc1`, [feedForward, width], `${theirs}.fc1`),
        ...withBias(`${ours}/mlp/fc2`, [width, feedForward], `${theirs}.fc2`),
      ]
    }),
    ...(normFirst ? withBias(`${part}/norm`, [width], `${part}.layer_norm`) : []),
  ]
}

function rowsOf(config: TtsTransformerConfig): Row[] {
  const { vocabulary, encoder, decoder, prenet, postnet, speakers, speakerWidth } = config
  const frames = stepWidth(config)
  const spoken: Row[] = [
    { ours: 'speakers', dims: [speakers, speakerWidth], theirs: 'encoder.embed_speaker.weight' },
    ...withBias('encoder/speaker', [encoder.width, encoder.width + speakerWidth], 'encoder.spk_emb_proj'),
  ]
  return [
    { ours: 'encoder/embed', dims: [vocabulary, encoder.width], theirs: 'encoder.embed_tokens.weight' },
    ...range(encoder.convLayers).flatMap((i) =>
      convolution(`encoder/prenet.${i}`, [encoder.width, encoder.width, encoder.convKernel], `encoder.prenet.${i}`),
    ),
    ...withBias('encoder/in', [encoder.width, encoder.width], 'encoder.prenet_proj'),
    ...stackRows('encoder', encoder),
    ...(speakerWidth ? spoken : []),
    ...range(prenet.layers).flatMap((i) =>
      withBias(`decoder/prenet.${i}`, [prenet.width, i ? prenet.width : frames], `decoder.prenet.0.layers.${i}.0`),
    ),
    ...withBias('decoder/in', [decoder.width, prenet.width], 'decoder.prenet.1'),
    ...stackRows('decoder', decoder, encoder.width),
    ...withBias('decoder/frames', [frames, decoder.width], 'decoder.feat_proj'),
    ...withBias('decoder/stop', [1, decoder.width], 'decoder.eos_proj'),
    ...range(postnet.layers).flatMap((i) => {
      const inputs = i ? postnet.width : frames
      const outputs = i < postnet.layers - 1 ? postnet.width : frames
      return convolution(`postnet/convs.${i}`, [outputs, inputs, postnet.kernel], `decoder.postnet.convolutions.${i}`)
    }),
  ]
}

/** Our name of each tensor of the file → its name there and its shape. */
export const ttsTransformerNames = (
  config: TtsTransformerConfig,
): Map<string, { readonly name: string; readonly dims: readonly number[] }> =>
  new Map(rowsOf(config).map(({ ours, theirs, dims }) => [ours, { name: theirs, dims }]))

/** Expected shapes under our names, batch norms folded away. */
export const ttsTransformerShapes = (config: TtsTransformerConfig): Record<string, readonly number[]> =>
  Object.fromEntries(
    rowsOf(config)
      .filter(({ ours }) => !isBatchNorm(ours))
      .map(({ ours, dims }) => [ours, dims]),
  )

/** Folder of the tensors in fairseq's `{cfg, model, optimizer_history, extra_state, …}`; the reader joins paths with `/`. */
const MODEL_FOLDER = 'model/'
const OPTIMIZER = /^last_optimizer_state\//

/** A checkpoint's tensors without the folder `model/` and without the optimizer's state. */
export const fairseqTensors = (stored: Weights): Weights =>
  new Map(
    [...stored]
      .filter(([name]) => !OPTIMIZER.test(name))
      .map(([name, tensor]) => [name.startsWith(MODEL_FOLDER) ? name.slice(MODEL_FOLDER.length) : name, tensor]),
  )

/** Where computed positions once stood; counters; and the CTC head, which only training asks. */
const IGNORED = [/\.embed_positions\._float_tensor$/, /\.num_batches_tracked$/, /^decoder\.ctc_proj\./]

/**
 * A checkpoint's tensors under our names.
 * @throws M4Error `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function ttsTransformerWeights(config: TtsTransformerConfig, stored: Weights): Map<string, WeightTensor> {
  const rows = rowsOf(config)
  const names = Object.fromEntries(rows.map(({ ours, theirs }) => [ours, theirs]))
  const shapes = Object.fromEntries(rows.map(({ ours, dims }) => [ours, dims]))
  return foldBatchNorm(resolveWeights(fairseqTensors(stored), { names, ignore: IGNORED }, 1, shapes))
}

/** Seeded weights. Any step is the last: nothing random would say when a sentence ends. */
export function ttsTransformerRandom(config: TtsTransformerConfig, seed: number): Map<string, WeightTensor> {
  const weights = randomWeights(ttsTransformerShapes(config), () => 1, seed)
  const set = (name: string, value: number) => {
    const { dims } = weights.get(name)!
    weights.set(name, { name, dims, float32: () => new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(value) })
  }
  set('encoder/positionScale', 1)
  set('decoder/positionScale', 1)
  set('decoder/stop', 0)
  set('decoder/stop/bias', 10)
  return weights
}
