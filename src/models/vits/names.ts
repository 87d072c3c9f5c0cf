/** Every tensor that speaking needs: our name, its shape, its name in both layouts. */

import { randomWeights } from '../random-weights.js'
import { resolveWeights, type Weights, type WeightTensor } from '../weights.js'
import type { VitsConfig } from './config.js'
import { type VitsLayout, vitsLayout } from './layout.js'

/** Shapes with sizes of one left out are those of matrices that stand as 1×1 convolutions in the file. */
interface Row {
  readonly ours: string
  readonly dims: readonly number[]
  readonly hf: string
  readonly original: string
}

/** `…/bias` beside a weight. */
const withBias = (ours: string, dims: readonly number[], hf: string, original: string, outputs = dims[0]!): Row[] => [
  { ours, dims, hf: `${hf}.weight`, original: `${original}.weight` },
  { ours: `${ours}/bias`, dims: [outputs], hf: `${hf}.bias`, original: `${original}.bias` },
]

const norm = (ours: string, width: number, hf: string, original: string): Row[] => [
  { ours, dims: [width], hf: `${hf}.weight`, original: `${original}.gamma` },
  { ours: `${ours}/bias`, dims: [width], hf: `${hf}.bias`, original: `${original}.beta` },
]

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

function textRows(c: VitsConfig): Row[] {
  const hf = 'text_encoder'
  const layers = range(c.layers).flatMap((l): Row[] => {
    const [path, theirs, original] = [`text/layers.${l}`, `${hf}.encoder.layers.${l}`, 'enc_p.encoder']
    const projections = ['q', 'k', 'v'].flatMap((part) =>
      withBias(
        `${path}/attn/${part}`,
        [c.width, c.width],
        `${theirs}.attention.${part}_proj`,
        `${original}.attn_layers.${l}.conv_${part}`,
      ),
    )
    const positions = ['k', 'v'].map((part) => ({
      ours: `${path}/attn/positions/${part}`,
      dims: [c.sharedPositions ? 1 : c.heads, 2 * c.window + 1, c.width / c.heads],
      hf: `${theirs}.attention.emb_rel_${part}`,
      original: `${original}.attn_layers.${l}.emb_rel_${part}`,
    }))
    const [wide, k] = [c.feedForward, c.feedForwardKernel]
    const ffn = `${original}.ffn_layers.${l}`
    return [
      ...projections,
      ...withBias(
        `${path}/attn/o`,
        [c.width, c.width],
        `${theirs}.attention.out_proj`,
        `${original}.attn_layers.${l}.conv_o`,
      ),
      ...(c.window > 0 ? positions : []),
      ...norm(`${path}/attn/norm`, c.width, `${theirs}.layer_norm`, `${original}.norm_layers_1.${l}`),
      ...withBias(`${path}/mlp/conv1`, [wide, c.width, k], `${theirs}.feed_forward.conv_1`, `${ffn}.conv_1`),
      ...withBias(`${path}/mlp/conv2`, [c.width, wide, k], `${theirs}.feed_forward.conv_2`, `${ffn}.conv_2`),
      ...norm(`${path}/mlp/norm`, c.width, `${theirs}.final_layer_norm`, `${original}.norm_layers_2.${l}`),
    ]
  })
  return [
    {
      ours: 'text/embed',
      dims: [c.vocabulary, c.width],
      hf: `${hf}.embed_tokens.weight`,
      original: 'enc_p.emb.weight',
    },
    ...layers,
    ...withBias('text/project', [2 * c.latentWidth, c.width], `${hf}.project`, 'enc_p.proj'),
  ]
}

/** Depthwise separable, dilated layers. */
function separableRows(path: string, c: VitsConfig, hf: string, original: string): Row[] {
  const { durations: d } = c
  if (d.kind !== 'stochastic') return []
  return range(d.separableLayers).flatMap((i) => [
    ...withBias(
      `${path}/layers.${i}/depthwise`,
      [d.width, 1, d.kernel],
      `${hf}.convs_dilated.${i}`,
      `${original}.convs_sep.${i}`,
    ),
    ...withBias(
      `${path}/layers.${i}/pointwise`,
      [d.width, d.width],
      `${hf}.convs_pointwise.${i}`,
      `${original}.convs_1x1.${i}`,
    ),
    ...norm(`${path}/layers.${i}/depthwise/norm`, d.width, `${hf}.norms_1.${i}`, `${original}.norms_1.${i}`),
    ...norm(`${path}/layers.${i}/pointwise/norm`, d.width, `${hf}.norms_2.${i}`, `${original}.norms_2.${i}`),
  ])
}

function durationRows(c: VitsConfig): Row[] {
  const { durations: d, speakerWidth } = c
  const [hf, original] = ['duration_predictor', 'dp']
  const condition = (width: number) =>
    speakerWidth ? withBias('durations/speaker', [width, speakerWidth], `${hf}.cond`, `${original}.cond`) : []
  if (d.kind === 'plain')
    return [
      ...withBias('durations/conv1', [d.width, c.width, d.kernel], `${hf}.conv_1`, `${original}.conv_1`),
      ...norm('durations/conv1/norm', d.width, `${hf}.norm_1`, `${original}.norm_1`),
      ...withBias('durations/conv2', [d.width, d.width, d.kernel], `${hf}.conv_2`, `${original}.conv_2`),
      ...norm('durations/conv2/norm', d.width, `${hf}.norm_2`, `${original}.norm_2`),
      ...withBias('durations/project', [1, d.width], `${hf}.proj`, `${original}.proj`),
      ...condition(c.width),
    ]
  // Number 1 is left out: the reference does not run it to speak.
  const splines = range(d.flows - 1).flatMap((i) => {
    const [path, theirs, old] = [`durations/splines.${i}`, `${hf}.flows.${i + 2}`, `${original}.flows.${2 * i + 3}`]
    return [
      ...withBias(`${path}/in`, [d.width, 1], `${theirs}.conv_pre`, `${old}.pre`),
      ...separableRows(path, c, `${theirs}.conv_dds`, `${old}.convs`),
      ...withBias(`${path}/out`, [3 * d.bins - 1, d.width], `${theirs}.conv_proj`, `${old}.proj`),
    ]
  })
  return [
    ...withBias('durations/in', [d.width, c.width], `${hf}.conv_pre`, `${original}.pre`),
    ...separableRows('durations', c, `${hf}.conv_dds`, `${original}.convs`),
    ...withBias('durations/out', [d.width, d.width], `${hf}.conv_proj`, `${original}.proj`),
    { ours: 'durations/affine/shift', dims: [2], hf: `${hf}.flows.0.translate`, original: `${original}.flows.0.m` },
    {
      ours: 'durations/affine/logScale',
      dims: [2],
      hf: `${hf}.flows.0.log_scale`,
      original: `${original}.flows.0.logs`,
    },
    ...splines,
    ...condition(d.width),
  ]
}

function couplingRows(c: VitsConfig): Row[] {
  const { width, layers, kernel, flows } = c.coupling
  const half = c.latentWidth / 2
  return range(flows).flatMap((f) => {
    const [path, hf, original] = [`flow/couplings.${f}`, `flow.flows.${f}`, `flow.flows.${2 * f}`]
    const waves = range(layers).flatMap((l) => [
      ...withBias(
        `${path}/layers.${l}/in`,
        [2 * width, width, kernel],
        `${hf}.wavenet.in_layers.${l}`,
        `${original}.enc.in_layers.${l}`,
      ),
      ...withBias(
        `${path}/layers.${l}/out`,
        // The last layer has no next one to feed.
        [l < layers - 1 ? 2 * width : width, width, 1],
        `${hf}.wavenet.res_skip_layers.${l}`,
        `${original}.enc.res_skip_layers.${l}`,
      ),
    ])
    const speaker = withBias(
      `${path}/speaker`,
      [2 * width * layers, c.speakerWidth],
      `${hf}.wavenet.cond_layer`,
      `${original}.enc.cond_layer`,
    )
    return [
      ...withBias(`${path}/in`, [width, half, 1], `${hf}.conv_pre`, `${original}.pre`),
      ...waves,
      ...withBias(`${path}/out`, [half, width, 1], `${hf}.conv_post`, `${original}.post`),
      ...(c.speakerWidth ? speaker : []),
    ]
  })
}

function decoderRows(c: VitsConfig): Row[] {
  const { width, kernels, blockKernels, dilations, edgeKernels, outputBias } = c.decoder
  const widthAfter = (stage: number) => Math.floor(width / 2 ** (stage + 1))
  const stages = kernels.flatMap((kernel, i) => [
    ...withBias(
      `decoder/stages.${i}/up`,
      [Math.floor(width / 2 ** i), widthAfter(i), kernel],
      `decoder.upsampler.${i}`,
      `dec.ups.${i}`,
      widthAfter(i),
    ),
    ...blockKernels.flatMap((blockKernel, j) =>
      dilations[j]!.flatMap((_, d) =>
        [1, 2].flatMap((n) => {
          const place = `resblocks.${i * blockKernels.length + j}.convs${n}.${d}`
          const dims = [widthAfter(i), widthAfter(i), blockKernel]
          return withBias(`decoder/stages.${i}/blocks.${j}/conv${n}.${d}`, dims, `decoder.${place}`, `dec.${place}`)
        }),
      ),
    ),
  ])
  const output = withBias(
    'decoder/out',
    [1, widthAfter(kernels.length - 1), edgeKernels[1]],
    'decoder.conv_post',
    'dec.conv_post',
  )
  return [
    ...withBias('decoder/in', [width, c.latentWidth, edgeKernels[0]], 'decoder.conv_pre', 'dec.conv_pre'),
    ...stages,
    ...(outputBias ? output : output.slice(0, 1)),
    ...(c.speakerWidth ? withBias('decoder/speaker', [width, c.speakerWidth], 'decoder.cond', 'dec.cond') : []),
  ]
}

function vitsRows(config: VitsConfig): Row[] {
  const { speakers, speakerWidth } = config
  return [
    ...textRows(config),
    ...durationRows(config),
    ...couplingRows(config),
    ...decoderRows(config),
    ...(speakerWidth
      ? [{ ours: 'speakers', dims: [speakers, speakerWidth], hf: 'embed_speaker.weight', original: 'emb_g.weight' }]
      : []),
  ]
}

/** Our name of each tensor → its name and shape in one of the layouts. */
export const vitsNames = (
  config: VitsConfig,
  layout: VitsLayout['name'],
): Map<string, { readonly name: string; readonly dims: readonly number[] }> =>
  new Map(vitsRows(config).map((row) => [row.ours, { name: row[layout], dims: row.dims }]))

/** In a checkpoint without a table of voices these are never run: the reference gives them no voice. */
const CONDITIONING = /\.cond(_layer)?\./

/** Expected shapes under our names. */
export const vitsShapes = (config: VitsConfig): Record<string, readonly number[]> =>
  Object.fromEntries(vitsRows(config).map(({ ours, dims }) => [ours, dims]))

/**
 * A checkpoint's tensors under our names.
 * @throws M4Error `FORMAT_UNSUPPORTED`, `TENSOR_MISSING`, `TENSOR_UNUSED`, `SHAPE_MISMATCH`
 */
export function vitsWeights(config: VitsConfig, stored: Weights): Map<string, WeightTensor> {
  const { layout, weights } = vitsLayout(stored)
  const named = [...vitsNames(config, layout.name)]
  const names = Object.fromEntries(named.map(([ours, { name }]) => [ours, name]))
  const ignore = config.speakerWidth ? layout.ignore : [...layout.ignore, CONDITIONING]
  return resolveWeights(weights, { names, ignore }, 1, vitsShapes(config))
}

/** Seeded weights; the last flow of the durations is the identity, so that no random sentence lasts for minutes. */
export function vitsRandom(config: VitsConfig, seed: number): Map<string, WeightTensor> {
  const weights = randomWeights(vitsShapes(config), () => 1, seed)
  for (const name of ['durations/affine/shift', 'durations/affine/logScale']) {
    const tensor = weights.get(name)
    if (tensor) weights.set(name, { ...tensor, float32: () => new Float32Array(2) })
  }
  return weights
}
