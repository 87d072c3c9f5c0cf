/** Hyper-parameters of fairseq's TTS Transformer: sizes from the tensors, what no tensor tells from the checkpoint's own arguments. */

import { M4Error } from '../../core/errors.js'
import type { CheckpointFacts } from '../architecture.js'
import { countLayers, dimsOf, factAt, numberFact } from '../facts.js'
import { fairseqTensors } from './names.js'

export interface TransformerSizes {
  readonly width: number
  readonly feedForward: number
  readonly heads: number
  readonly layers: number
  /** Norms stand in front of attention and feed-forward, and one behind the last layer (`--encoder-normalize-before`). */
  readonly normFirst: boolean
}

export interface TtsTransformerConfig {
  /** Symbols of `vocab.txt` and the four that fairseq puts in front of them. */
  readonly vocabulary: number
  readonly encoder: TransformerSizes & { readonly convLayers: number; readonly convKernel: number }
  readonly decoder: TransformerSizes
  /** Linear layers that the frames of the last step go through. Dropout is on when speaking, too. */
  readonly prenet: { readonly layers: number; readonly width: number; readonly dropout: number }
  readonly postnet: { readonly layers: number; readonly width: number; readonly kernel: number }
  readonly melBands: number
  readonly framesPerStep: number
  /** 1: no speaker is asked for. */
  readonly speakers: number
  readonly speakerWidth: number
  /** Most ids of one sentence, the end included. */
  readonly maxSymbols: number
  /** Most steps of one sentence. */
  readonly maxSteps: number
  /** A sentence ends where the probability of its end is above this. */
  readonly stopProbability: number
  readonly sampleRateHz: number
  /** Samples of one frame. */
  readonly hopSamples: number
  /** What training subtracted from each mel band and divided it by; null where it did neither. */
  readonly frameStatistics: { readonly mean: readonly number[]; readonly deviation: readonly number[] } | null
}

/** Frames of one step, one behind the other. */
export const stepWidth = ({ melBands, framesPerStep }: TtsTransformerConfig): number => melBands * framesPerStep

/** Attention kernels with a cache take heads of whole vectors of 8 floats. */
const HEAD_STEP = 8

/**
 * fairseq saves the arguments of its training run: below `cfg/model` and `cfg/task`, before 2021 below `args`. What it keeps in the
 * YAML beside the data — rate, hop, statistics — is asked of config.json or the recipe's `config`, by the YAML's names; the
 * statistics are numbers there, read once from `*gcmvn_stats.npz`.
 * @throws M4Error `FORMAT_INVALID` when a fact is missing, `FORMAT_UNSUPPORTED`, `TENSOR_MISSING`
 */
export function ttsTransformerConfig({ metadata, weights: stored }: CheckpointFacts): TtsTransformerConfig {
  const weights = fairseqTensors(stored)
  const dims = (name: string) => dimsOf(weights, [name])
  const argument = (name: string, fallback?: number) => numberFact(metadata, argumentKeys(name), fallback)
  const activation = argumentKeys('activation_fn')
    .map((key) => factAt(metadata, key))
    .find((value) => value !== undefined)
  if (activation !== undefined && activation !== 'relu')
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `A TTS Transformer with activation ${JSON.stringify(activation)} is not known.`,
      {
        hint: 'Published checkpoints have relu.',
      },
    )
  const [vocabulary, width] = dims('encoder.embed_tokens.weight') as [number, number]
  const [frames, decoderWidth] = dims('decoder.feat_proj.weight') as [number, number]
  const framesPerStep = argument('n_frames_per_step')
  const stackOf = (part: 'encoder' | 'decoder', partWidth: number): TransformerSizes => ({
    width: partWidth,
    feedForward: dims(`${part}.transformer_layers.0.fc1.weight`)[0]!,
    heads: headsOf(part, partWidth, argument(`${part}_attention_heads`)),
    layers: countLayers(weights, [`${part}.transformer_layers.{}.fc1.weight`]),
    normFirst: weights.has(`${part}.layer_norm.weight`),
  })
  const convLayers = countLayers(weights, ['encoder.prenet.{}.0.weight'])
  const [postnetWidth, , postnetKernel] = dims('decoder.postnet.convolutions.0.0.weight') as [number, number, number]
  const speakers = weights.get('encoder.embed_speaker.weight')?.dims ?? [1, 0]
  if (!Number.isInteger(framesPerStep) || framesPerStep < 1 || frames % framesPerStep !== 0)
    throw new M4Error('FORMAT_INVALID', `${frames} numbers a step are not ${framesPerStep} frames.`, {
      hint: 'Do the arguments belong to this checkpoint?',
    })
  const melBands = frames / framesPerStep
  return {
    vocabulary,
    encoder: {
      ...stackOf('encoder', width),
      convLayers,
      convKernel: convLayers ? dims('encoder.prenet.0.0.weight')[2]! : 1,
    },
    decoder: stackOf('decoder', decoderWidth),
    prenet: {
      layers: countLayers(weights, ['decoder.prenet.0.layers.{}.0.weight']),
      width: dims('decoder.prenet.1.weight')[1]!,
      dropout: share('prenet_dropout', argument('prenet_dropout')),
    },
    postnet: {
      layers: countLayers(weights, ['decoder.postnet.convolutions.{}.0.weight']),
      width: postnetWidth,
      kernel: postnetKernel,
    },
    melBands,
    framesPerStep,
    speakers: speakers[0]!,
    speakerWidth: speakers[1]!,
    // Defaults of fairseq's task text_to_speech.
    maxSymbols: argument('max_source_positions', 1024),
    maxSteps: argument('max_target_positions', 1200),
    stopProbability: share('eos_prob_threshold', argument('eos_prob_threshold', 0.5)),
    // Defaults of its get_feature_manifest.
    sampleRateHz: numberFact(metadata, ['config/features/sample_rate', 'config/sample_rate'], 22_050),
    hopSamples: numberFact(metadata, ['config/features/hop_length', 'config/hop_length'], 256),
    frameStatistics: statisticsOf(metadata, melBands),
  }
}

const argumentKeys = (name: string) => ['cfg/model', 'cfg/task', 'args', 'config'].map((place) => `${place}/${name}`)

function headsOf(part: string, width: number, heads: number): number {
  if (Number.isInteger(heads) && heads > 0 && width % (heads * HEAD_STEP) === 0) return heads
  throw new M4Error('FORMAT_UNSUPPORTED', `The ${part}: ${heads} heads of ${width} numbers together are not known.`, {
    hint: `Heads must be a multiple of ${HEAD_STEP} numbers wide.`,
  })
}

function share(name: string, value: number): number {
  if (value >= 0 && value < 1) return value
  throw new M4Error('FORMAT_INVALID', `${name}: expected 0 or more and below 1, got ${value}.`, {
    hint: 'Do the arguments belong to this checkpoint?',
  })
}

/**
 * Whether frames were normalised is in the YAML alone, and a voice without the right statistics only makes noise: so it must be
 * said either way.
 */
function statisticsOf(
  metadata: CheckpointFacts['metadata'],
  melBands: number,
): TtsTransformerConfig['frameStatistics'] {
  const given = factAt(metadata, 'config/global_cmvn')
  if (given === null) return null
  const { mean, std } = (given ?? {}) as { readonly mean?: unknown; readonly std?: unknown }
  const isRow = (value: unknown): value is number[] =>
    Array.isArray(value) && value.length === melBands && value.every((item) => Number.isFinite(item))
  if (isRow(mean) && isRow(std)) return { mean, deviation: std }
  throw new M4Error('FORMAT_INVALID', `global_cmvn: expected {mean, std} of ${melBands} numbers each, or null.`, {
    hint: 'Write both rows of the *gcmvn_stats.npz that config.yaml names into config.json; null if it names none.',
    details: { got: given },
  })
}
