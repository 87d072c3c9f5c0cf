/**
 * The two layouts of VITS checkpoints: Hugging Face's `VitsModel`, and the original `G_*.pth` (LJSpeech, VCTK, MMS as fairseq
 * published it), whose flows are numbered with the parameter-free flips between them.
 */

import { foldWeightNorm } from '../weight-norm.js'
import { findLayout, type Weights } from '../weights.js'

/** Where each part is, `{}` standing for a number. Enough to read sizes; all names are in names.ts. */
export interface VitsLayout {
  readonly name: 'hf' | 'original'
  readonly embed: string
  readonly positions: string
  readonly layer: string
  readonly feedForward: string
  readonly project: string
  readonly speakers: string
  readonly plainDurations: string
  readonly separable: string
  readonly spline: string
  readonly splineParameters: string
  readonly splineCount: (highest: number) => number
  readonly coupling: string
  readonly couplingCount: (highest: number) => number
  readonly wave: string
  readonly decoderIn: string
  readonly upsample: string
  readonly block: string
  readonly decoderOut: string
  readonly decoderOutBias: string
  /** Training only, or not used to speak: the posterior, and the first spline of the durations. */
  readonly ignore: readonly RegExp[]
}

export const VITS_LAYOUTS: Readonly<Record<VitsLayout['name'], VitsLayout>> = Object.freeze({
  hf: {
    name: 'hf',
    embed: 'text_encoder.embed_tokens.weight',
    positions: 'text_encoder.encoder.layers.0.attention.emb_rel_k',
    layer: 'text_encoder.encoder.layers.{}.layer_norm.weight',
    feedForward: 'text_encoder.encoder.layers.0.feed_forward.conv_1.weight',
    project: 'text_encoder.project.weight',
    speakers: 'embed_speaker.weight',
    plainDurations: 'duration_predictor.conv_1.weight',
    separable: 'duration_predictor.conv_dds.convs_dilated.{}.weight',
    spline: 'duration_predictor.flows.{}.conv_pre.weight',
    splineParameters: 'duration_predictor.flows.2.conv_proj.weight',
    // The affine flow is number 0.
    splineCount: (count) => count - 1,
    coupling: 'flow.flows.{}.conv_pre.weight',
    couplingCount: (count) => count,
    wave: 'flow.flows.0.wavenet.in_layers.{}.weight',
    decoderIn: 'decoder.conv_pre.weight',
    upsample: 'decoder.upsampler.{}.weight',
    block: 'decoder.resblocks.{}.convs1.0.weight',
    decoderOut: 'decoder.conv_post.weight',
    decoderOutBias: 'decoder.conv_post.bias',
    ignore: [/^posterior_encoder\./, /^duration_predictor\.post_/, /^duration_predictor\.flows\.1\./],
  },
  original: {
    name: 'original',
    embed: 'enc_p.emb.weight',
    positions: 'enc_p.encoder.attn_layers.0.emb_rel_k',
    layer: 'enc_p.encoder.norm_layers_1.{}.gamma',
    feedForward: 'enc_p.encoder.ffn_layers.0.conv_1.weight',
    project: 'enc_p.proj.weight',
    speakers: 'emb_g.weight',
    plainDurations: 'dp.conv_1.weight',
    separable: 'dp.convs.convs_sep.{}.weight',
    spline: 'dp.flows.{}.pre.weight',
    splineParameters: 'dp.flows.3.proj.weight',
    // affine, spline, flip, spline, flip, …: the splines are 1, 3, 5, 7.
    splineCount: (count) => count / 2,
    coupling: 'flow.flows.{}.pre.weight',
    // coupling, flip, …: the couplings are 0, 2, 4, 6.
    couplingCount: (count) => (count + 1) / 2,
    wave: 'flow.flows.0.enc.in_layers.{}.weight',
    decoderIn: 'dec.conv_pre.weight',
    upsample: 'dec.ups.{}.weight',
    block: 'dec.resblocks.{}.convs1.0.weight',
    decoderOut: 'dec.conv_post.weight',
    decoderOutBias: 'dec.conv_post.bias',
    ignore: [/^enc_q\./, /^dp\.post_/, /^dp\.flows\.1\./],
  },
})

const RECOGNISED = {
  hf: { names: { embed: VITS_LAYOUTS.hf.embed, out: VITS_LAYOUTS.hf.decoderOut } },
  original: { names: { embed: VITS_LAYOUTS.original.embed, out: VITS_LAYOUTS.original.decoderOut } },
}

/** Folder of the tensors in `{model, iteration, optimizer, learning_rate}`; the reader joins paths with `/`. */
const MODEL_FOLDER = 'model/'
const OPTIMIZER = /^optimizer\//

/**
 * The layout of a checkpoint, and its tensors by their names in it: without the folder `model/`, without the optimizer's state,
 * weight normalisation folded.
 * @throws M4Error `FORMAT_UNSUPPORTED` when it is neither layout
 */
export function vitsLayout(stored: Weights): { readonly layout: VitsLayout; readonly weights: Weights } {
  const named = [...stored]
    .filter(([name]) => !OPTIMIZER.test(name))
    .map(([name, tensor]) => [name.startsWith(MODEL_FOLDER) ? name.slice(MODEL_FOLDER.length) : name, tensor] as const)
  const weights = foldWeightNorm(new Map(named))
  return { layout: VITS_LAYOUTS[findLayout(weights, RECOGNISED)], weights }
}
