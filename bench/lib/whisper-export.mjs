/**
 * Whisper as a folder that @huggingface/transformers reads, from the checkpoint that M4's image is built from: the same weights on
 * both sides, since npm has no ONNX export of base.en. The encoder is M4's graph. The decoder is what Optimum exports after fusion:
 * one model that either reads the encoder's output (first step) or the caches (all others), with attention as one operator;
 * plain products and softmax, as in a file straight from Optimum, are slower.
 *
 * @see https://huggingface.co/Xenova/whisper-base.en (the layout)
 */

import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { openCheckpoint } from '../../dist/checkpoint/index.js'
import { pullSource } from '../../dist/checkpoint/sources/index.js'
import { weightsOf } from '../../dist/firmware/build.js'
import { findRecipe, openImage } from '../../dist/firmware/index.js'
import { encodeModel, GraphBuilder } from '../../dist/graph/index.js'
import { ARCHITECTURES, whisperEncoderGraph } from '../../dist/models/index.js'
import { linear, vector } from '../../dist/models/linear.js'
import { dense, layerNorm, need } from '../../dist/models/transformer.js'
import { home, imageOf } from './prepare.mjs'
import { ENCODERS_HOME } from './random-models.mjs'
import { say } from './say.mjs'

const EXACT = { default: 'fp32' }
/** Raised when the export changes. */
const VERSION = 1

/** Folder below which the model is called `name`; written when it is not there. */
export async function exportedWhisper(name) {
  const folder = join(ENCODERS_HOME, `transformers-js-${VERSION}`)
  const target = join(folder, name)
  if (existsSync(target)) return folder
  say(`writing ${name} for @huggingface/transformers`)
  const staging = `${target}.tmp`
  rmSync(staging, { recursive: true, force: true })
  mkdirSync(join(staging, 'onnx'), { recursive: true })
  const { whisper } = ARCHITECTURES
  const source = await pullSource(findRecipe('lite').modules['AUD-I'].weights, { home })
  const checkpoint = openCheckpoint(source)
  try {
    const tensors = weightsOf(checkpoint)
    const config = whisper.configure({ format: checkpoint.format, metadata: checkpoint.metadata, weights: tensors })
    const weights = whisper.weights(config, tensors)
    const encoder = renamed(whisperEncoderGraph(config, weights, EXACT), (name) => ENCODER_NAMES[name] ?? name)
    await writeModel(join(staging, 'onnx'), 'encoder_model', encoder)
    await writeModel(join(staging, 'onnx'), 'decoder_model_merged', mergedDecoder(config, weights))
    const image = await openImage(await imageOf('int4'))
    const entry = image.manifest.modules['AUD-I']
    const tokenizer = await image.readFile('AUD-I', 'tokenizer')
    for (const [file, content] of Object.entries(descriptions(config, entry.config)))
      writeFileSync(join(staging, file), JSON.stringify(content))
    writeFileSync(join(staging, 'tokenizer.json'), tokenizer)
  } finally {
    checkpoint[Symbol.dispose]()
  }
  renameSync(staging, target)
  return folder
}

const ENCODER_NAMES = { mel: 'input_features', features: 'last_hidden_state' }

async function writeModel(folder, name, graph) {
  const location = `${name}.onnx_data`
  const file = openSync(join(folder, location), 'w')
  try {
    const write = (chunk) => void writeSync(file, chunk)
    writeFileSync(join(folder, `${name}.onnx`), await encodeModel(graph, { externalData: { location, write } }))
  } finally {
    closeSync(file)
  }
}

/** One graph with the two as branches: their weights move outside, where both see them. */
function mergedDecoder(config, weights) {
  const [first, next] = [true, false].map((isFirst) => decoderBranch(config, weights, isFirst))
  const flag = { name: 'use_cache_branch', dtype: 'bool', dims: [1] }
  // Shapes of caches must be told in full: transformers.js makes empty ones of them.
  const inputs = [
    ...first.inputs,
    ...next.inputs.filter(({ name }) => !first.inputs.some((each) => each.name === name)),
  ]
  const outputs = first.outputs
  return {
    ...first,
    name: 'decoder_model_merged',
    inputs: [...inputs, flag],
    nodes: [
      {
        name: 'branch',
        op: 'If',
        domain: '',
        inputs: [flag.name],
        outputs: outputs.map(({ name }) => name),
        attributes: { then_branch: branchOf(next), else_branch: branchOf(first) },
      },
    ],
    initializers: new Map([...first.initializers, ...next.initializers]),
    values: new Map([...inputs, ...outputs, flag].map((value) => [value.name, value])),
  }
}

/**
 *   inputs   input_ids [B, T] · first: encoder_hidden_states [B, P, C] · next: past_key_values.l.encoder.* [B, H, P, D]
 *            past_key_values.l.decoder.* [B, H, S, D]
 *   outputs  logits [B, T, V] · present.l.{decoder,encoder}.{key,value}; those of the encoder are empty in `next`
 */
function decoderBranch(config, weights, isFirst) {
  const { heads, width, decoderLayers } = config
  const g = new GraphBuilder(isFirst ? 'first' : 'next')
  const ctx = { weights, plan: EXACT, normEpsilon: 1e-5 }
  const headDims = (length) => ['batch_size', heads, length, width / heads]
  const past = (l, part, kind) =>
    g.input(`past_key_values.${l}.${part}.${kind}`, 'float32', headDims(`${part}_sequence_length`))
  const ids = g.input('input_ids', 'int64', ['batch_size', 'T'])
  const heard = isFirst ? crossOf(g, ctx, config) : undefined
  const caches = Array.from({ length: decoderLayers }, (_, l) =>
    ['key', 'value'].map((kind) => past(l, 'decoder', kind)),
  )
  const embed = vector(g, need(weights, 'dec/embed'), 'embed')
  const start = g.op('Shape', [caches[0][0]], { start: 2, end: 3 }, 'start')
  const end = g.op('Add', [start, g.op('Shape', [ids], { start: 1, end: 2 }, 'count')], {}, 'end')
  const table = vector(g, need(weights, 'dec/positions'), 'positions')
  const places = g.op('Slice', [table, start, end, g.int64([0])], {}, 'places')
  let x = g.op('Add', [g.op('Gather', [embed, ids], { axis: 0 }, 'tokens'), places], {}, 'in')
  for (let l = 0; l < decoderLayers; l++) {
    const layer = g.scope(`layers.${l}`)
    const path = `dec/layers.${l}`
    const attn = layer.scope('attn')
    const h = layerNorm(ctx, attn, x, `${path}/attn/norm`, 'norm')
    const [q, k, v] = ['q', 'k', 'v'].map((part) => dense(ctx, attn, h, `${path}/attn/${part}`, part))
    const [mixed, ...present] = attn.ops(
      'MultiHeadAttention',
      [q, k, v, undefined, undefined, undefined, ...caches[l]],
      { num_heads: heads, unidirectional: 1 },
      ['mixed', 'presentKey', 'presentValue'],
    )
    for (const [i, kind] of ['key', 'value'].entries()) g.output(`present.${l}.decoder.${kind}`, present[i])
    x = layer.op('Add', [x, dense(ctx, attn, mixed, `${path}/attn/o`, 'o')], {}, 'afterAttn')
    const cross = layer.scope('cross')
    const query = dense(ctx, cross, layerNorm(ctx, cross, x, `${path}/cross/norm`, 'norm'), `${path}/cross/q`, 'q')
    const keys = heard?.[l] ?? ['key', 'value'].map((kind) => past(l, 'encoder', kind))
    for (const [i, kind] of ['key', 'value'].entries())
      g.output(`present.${l}.encoder.${kind}`, isFirst ? keys[i] : emptyOf(cross, keys[i], kind))
    const found = cross.op('MultiHeadAttention', [query, ...keys], { num_heads: heads }, 'mixed')
    x = layer.op('Add', [x, dense(ctx, cross, found, `${path}/cross/o`, 'o')], {}, 'afterCross')
    const mlp = layer.scope('mlp')
    const wide = dense(ctx, mlp, layerNorm(ctx, mlp, x, `${path}/mlp/norm`, 'norm'), `${path}/mlp/fc1`, 'fc1')
    x = layer.op('Add', [x, dense(ctx, mlp, mlp.op('Gelu', [wide], {}, 'gelu'), `${path}/mlp/fc2`, 'fc2')], {}, 'out')
  }
  const normed = layerNorm(ctx, g, x, 'dec/norm', 'norm')
  g.output('logits', linear(g, normed, need(weights, 'dec/embed'), 'fp32', 'head'))
  return g.build()
}

/** Keys and values of the first step: M4's own graph, put in front. */
function crossOf(g, ctx, { heads, width, decoderLayers }) {
  const features = g.input('encoder_hidden_states', 'float32', ['batch_size', 'encoder_sequence_length', width])
  return Array.from({ length: decoderLayers }, (_, l) =>
    ['k', 'v'].map((part) => {
      const scope = g.scope(`layers.${l}/cross`)
      const y = dense(ctx, scope, features, `dec/layers.${l}/cross/${part}`, part)
      const split = scope.op('Reshape', [y, g.int64([0, 0, heads, width / heads])], {}, `${part}Heads`)
      return scope.op('Transpose', [split], { perm: [0, 2, 1, 3] }, `${part}ByHead`)
    }),
  )
}

/** [B, H, 0, D]: transformers.js keeps the cache that it has. */
const emptyOf = (scope, cache, kind) =>
  scope.op('Slice', [cache, scope.int64([0]), scope.int64([0]), scope.int64([2])], {}, `${kind}Unchanged`)

/** A graph without inputs and weights of its own: those it finds outside. What it computes is named after it. */
function branchOf(graph) {
  const outside = new Set([...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()])
  const own = (name) => (name === '' || outside.has(name) ? name : `${graph.name}/${name}`)
  return { ...renamed(graph, own), inputs: [], initializers: new Map() }
}

/** The same graph with other names of values. */
function renamed(graph, to) {
  const value = (each) => ({ ...each, name: to(each.name) })
  return {
    ...graph,
    inputs: graph.inputs.map(value),
    outputs: graph.outputs.map(value),
    nodes: graph.nodes.map((node) => ({ ...node, inputs: node.inputs.map(to), outputs: node.outputs.map(to) })),
    values: new Map([...graph.values.values()].map(value).map((each) => [each.name, each])),
  }
}

/** The files that transformers.js reads beside the graphs, as openai/whisper-base.en has them. */
function descriptions({ width, heads, encoderLayers, decoderLayers, vocabulary, melBands }, facts) {
  const [start, noTimestamps] = facts.sotSequence
  const ids = { bos_token_id: facts.eotId, eos_token_id: facts.eotId, pad_token_id: facts.eotId }
  const suppressed = { suppress_tokens: facts.suppress, begin_suppress_tokens: facts.beginSuppress }
  const end = '<|endoftext|>'
  return {
    'config.json': {
      model_type: 'whisper',
      architectures: ['WhisperForConditionalGeneration'],
      is_encoder_decoder: true,
      d_model: width,
      encoder_layers: encoderLayers,
      encoder_attention_heads: heads,
      decoder_layers: decoderLayers,
      decoder_attention_heads: heads,
      num_hidden_layers: encoderLayers,
      vocab_size: vocabulary,
      num_mel_bins: melBands,
      max_source_positions: facts.audioContext,
      max_target_positions: facts.textContext,
      decoder_start_token_id: start,
      ...ids,
      'transformers.js_config': {
        use_external_data_format: { 'encoder_model.onnx': 1, 'decoder_model_merged.onnx': 1 },
      },
    },
    'generation_config.json': {
      ...ids,
      ...suppressed,
      decoder_start_token_id: start,
      no_timestamps_token_id: noTimestamps,
      is_multilingual: false,
      return_timestamps: false,
      max_length: facts.textContext,
    },
    'preprocessor_config.json': {
      feature_extractor_type: 'WhisperFeatureExtractor',
      processor_class: 'WhisperProcessor',
      feature_size: melBands,
      sampling_rate: 16_000,
      n_fft: 400,
      hop_length: 160,
      chunk_length: 30,
      n_samples: 480_000,
      nb_max_frames: 3000,
    },
    'tokenizer_config.json': {
      tokenizer_class: 'WhisperTokenizer',
      processor_class: 'WhisperProcessor',
      bos_token: end,
      eos_token: end,
      pad_token: end,
      unk_token: end,
      model_max_length: 1024,
    },
  }
}
