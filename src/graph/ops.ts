/**
 * The operators of M4: one row each with domain, inputs, outputs and attributes. Total tables over `OpName` (shape rules,
 * test cases, gradients) make the compiler list what a new row still lacks.
 *
 * @see https://github.com/onnx/onnx/blob/v1.16.0/docs/Operators.md (ai.onnx, opset 21)
 * @see https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md (com.microsoft, ONNX Runtime 1.30)
 *
 * SimplifiedLayerNormalization is ONNX Runtime's own but registered in ai.onnx; it is RMSNorm, arXiv:1910.07467.
 */

import { type AttributesFrom, type OpSignature, optional, required } from './op-types.js'

const unary = { domain: '', inputs: ['x'], outputs: ['y'], attributes: {} } as const satisfies OpSignature
const binary = { domain: '', inputs: ['a', 'b'], outputs: ['y'], attributes: {} } as const satisfies OpSignature
const variadic = { domain: '', inputs: ['x...'], outputs: ['y'], attributes: {} } as const satisfies OpSignature
const reduce = {
  domain: '',
  inputs: ['data', 'axes?'],
  outputs: ['reduced'],
  attributes: { keepdims: optional('int', 1), noop_with_empty_axes: optional('int', 0) },
} as const satisfies OpSignature

export const OPS = Object.freeze({
  // arithmetic
  Add: binary,
  Sub: binary,
  Mul: binary,
  Div: binary,
  Pow: binary,
  Max: variadic,
  Min: variadic,
  Neg: unary,
  Abs: unary,
  Sqrt: unary,
  Exp: unary,
  Log: unary,
  Round: unary,
  Floor: unary,
  Reciprocal: unary,
  Clip: { domain: '', inputs: ['x', 'min?', 'max?'], outputs: ['y'], attributes: {} },
  Equal: binary,
  Less: binary,
  Not: unary,
  Where: { domain: '', inputs: ['condition', 'x', 'y'], outputs: ['output'], attributes: {} },
  ReduceMax: reduce,
  ReduceMean: reduce,
  ReduceSum: reduce,

  // activations
  Sigmoid: unary,
  Tanh: unary,
  Relu: unary,
  Gelu: { domain: '', inputs: ['x'], outputs: ['y'], attributes: { approximate: optional('string', 'none') } },
  QuickGelu: {
    domain: 'com.microsoft',
    inputs: ['x'],
    outputs: ['y'],
    attributes: { alpha: optional('float', 1.702) },
  },
  Softmax: { domain: '', inputs: ['x'], outputs: ['y'], attributes: { axis: optional('int', -1) } },

  // shape and movement
  Identity: unary,
  Cast: {
    domain: '',
    inputs: ['x'],
    outputs: ['y'],
    attributes: { to: required('int'), saturate: optional('int', 1) },
  },
  Shape: {
    domain: '',
    inputs: ['data'],
    outputs: ['shape'],
    attributes: { start: optional('int', 0), end: optional('int') },
  },
  Reshape: {
    domain: '',
    inputs: ['data', 'shape'],
    outputs: ['reshaped'],
    attributes: { allowzero: optional('int', 0) },
  },
  Transpose: { domain: '', inputs: ['data'], outputs: ['transposed'], attributes: { perm: optional('ints') } },
  Unsqueeze: { domain: '', inputs: ['data', 'axes'], outputs: ['expanded'], attributes: {} },
  Squeeze: { domain: '', inputs: ['data', 'axes?'], outputs: ['squeezed'], attributes: {} },
  Expand: { domain: '', inputs: ['x', 'shape'], outputs: ['y'], attributes: {} },
  Concat: { domain: '', inputs: ['x...'], outputs: ['y'], attributes: { axis: required('int') } },
  Split: {
    domain: '',
    inputs: ['x', 'split?'],
    outputs: ['y...'],
    attributes: { axis: optional('int', 0), num_outputs: optional('int') },
  },
  Slice: { domain: '', inputs: ['data', 'starts', 'ends', 'axes?', 'steps?'], outputs: ['y'], attributes: {} },
  Gather: { domain: '', inputs: ['data', 'indices'], outputs: ['y'], attributes: { axis: optional('int', 0) } },
  Pad: {
    domain: '',
    inputs: ['data', 'pads', 'constant_value?', 'axes?'],
    outputs: ['y'],
    attributes: { mode: optional('string', 'constant') },
  },
  Range: { domain: '', inputs: ['start', 'limit', 'delta'], outputs: ['y'], attributes: {} },

  // products and norms
  MatMul: binary,
  Conv: {
    domain: '',
    inputs: ['x', 'w', 'b?'],
    outputs: ['y'],
    attributes: {
      auto_pad: optional('string', 'NOTSET'),
      dilations: optional('ints'),
      group: optional('int', 1),
      kernel_shape: optional('ints'),
      pads: optional('ints'),
      strides: optional('ints'),
    },
  },
  LayerNormalization: {
    domain: '',
    inputs: ['x', 'scale', 'b?'],
    outputs: ['y', 'mean?', 'inv_std_dev?'],
    attributes: { axis: optional('int', -1), epsilon: optional('float', 1e-5), stash_type: optional('int', 1) },
  },
  SimplifiedLayerNormalization: {
    domain: '',
    inputs: ['x', 'scale'],
    outputs: ['y', 'inv_std_var?'],
    attributes: { axis: optional('int', -1), epsilon: optional('float', 1e-5), stash_type: optional('int', 1) },
  },
  SkipSimplifiedLayerNormalization: {
    domain: 'com.microsoft',
    inputs: ['input', 'skip', 'gamma', 'bias?'],
    outputs: ['output', 'mean?', 'inv_std_var?', 'input_skip_bias_sum?'],
    attributes: { epsilon: optional('float', 1e-12) },
  },

  // gradients (src/train): transposed products without a Transpose, scatters, and the input gradient of a strided Conv
  FusedMatMul: {
    domain: 'com.microsoft',
    inputs: ['a', 'b'],
    outputs: ['y'],
    attributes: {
      alpha: optional('float', 1),
      transA: optional('int', 0),
      transB: optional('int', 0),
      transBatchA: optional('int', 0),
      transBatchB: optional('int', 0),
    },
  },
  RotaryEmbedding: {
    domain: 'com.microsoft',
    inputs: ['input', 'position_ids', 'cos_cache', 'sin_cache'],
    outputs: ['output'],
    attributes: {
      interleaved: optional('int', 0),
      is_packed_batching: optional('int', 0),
      num_heads: optional('int', 0),
      rotary_embedding_dim: optional('int', 0),
      scale: optional('float', 1),
    },
  },
  ConvTranspose: {
    domain: '',
    inputs: ['x', 'w', 'b?'],
    outputs: ['y'],
    attributes: {
      auto_pad: optional('string', 'NOTSET'),
      dilations: optional('ints'),
      group: optional('int', 1),
      kernel_shape: optional('ints'),
      output_padding: optional('ints'),
      output_shape: optional('ints'),
      pads: optional('ints'),
      strides: optional('ints'),
    },
  },
  GatherElements: {
    domain: '',
    inputs: ['data', 'indices'],
    outputs: ['y'],
    attributes: { axis: optional('int', 0) },
  },
  ScatterElements: {
    domain: '',
    inputs: ['data', 'indices', 'updates'],
    outputs: ['y'],
    attributes: { axis: optional('int', 0), reduction: optional('string', 'none') },
  },
  ScatterND: {
    domain: '',
    inputs: ['data', 'indices', 'updates'],
    outputs: ['y'],
    attributes: { reduction: optional('string', 'none') },
  },
  Unique: {
    domain: '',
    inputs: ['x'],
    outputs: ['y', 'indices?', 'inverse_indices?', 'counts?'],
    attributes: { axis: optional('int'), sorted: optional('int', 1) },
  },

  // attention
  GroupQueryAttention: {
    domain: 'com.microsoft',
    inputs: [
      'query',
      'key?',
      'value?',
      'past_key?',
      'past_value?',
      'seqlens_k',
      'total_sequence_length',
      'cos_cache?',
      'sin_cache?',
      'position_ids?',
      'attention_bias?',
      'head_sink?',
      'k_scale?',
      'v_scale?',
      'q_norm_weight?',
      'k_norm_weight?',
    ],
    outputs: ['output', 'present_key', 'present_value', 'output_qk?'],
    attributes: {
      num_heads: required('int'),
      kv_num_heads: required('int'),
      scale: optional('float'),
      softcap: optional('float', 0),
      causal: optional('int', 1),
      local_window_size: optional('int', -1),
      sliding_window_cache: optional('int', 0),
      do_rotary: optional('int', 0),
      rotary_interleaved: optional('int', 0),
      smooth_softmax: optional('int', 0),
      qk_output: optional('int', 0),
      k_quant_type: optional('string', 'NONE'),
      v_quant_type: optional('string', 'NONE'),
      kv_cache_bit_width: optional('int', 0),
      qk_norm_epsilon: optional('float', 1e-6),
    },
  },
  MultiHeadAttention: {
    domain: 'com.microsoft',
    inputs: [
      'query',
      'key?',
      'value?',
      'bias?',
      'key_padding_mask?',
      'attention_bias?',
      'past_key?',
      'past_value?',
      'past_sequence_length?',
      'cache_indirection?',
    ],
    outputs: ['output', 'present_key?', 'present_value?', 'qk?'],
    attributes: {
      num_heads: required('int'),
      scale: optional('float'),
      mask_filter_value: optional('float', -10000),
      unidirectional: optional('int', 0),
    },
  },

  // quantised
  DynamicQuantizeLinear: { domain: '', inputs: ['x'], outputs: ['y', 'y_scale', 'y_zero_point'], attributes: {} },
  DequantizeLinear: {
    domain: '',
    inputs: ['x', 'x_scale', 'x_zero_point?'],
    outputs: ['y'],
    attributes: { axis: optional('int', 1), block_size: optional('int', 0) },
  },
  MatMulInteger: {
    domain: '',
    inputs: ['a', 'b', 'a_zero_point?', 'b_zero_point?'],
    outputs: ['y'],
    attributes: {},
  },
  DynamicQuantizeMatMul: {
    domain: 'com.microsoft',
    inputs: ['a', 'b', 'b_scale', 'b_zero_point?', 'bias?'],
    outputs: ['y'],
    attributes: {},
  },
  MatMulNBits: {
    domain: 'com.microsoft',
    inputs: ['a', 'b', 'scales', 'zero_points?', 'g_idx?', 'bias?'],
    outputs: ['y'],
    attributes: {
      K: required('int'),
      N: required('int'),
      bits: optional('int', 4),
      block_size: required('int'),
      accuracy_level: optional('int', 0),
      weight_prepacked: optional('int', 0),
    },
  },
  GatherBlockQuantized: {
    domain: 'com.microsoft',
    inputs: ['data', 'indices', 'scales', 'zero_points?'],
    outputs: ['output'],
    attributes: {
      gather_axis: optional('int', 0),
      quantize_axis: optional('int', 1),
      block_size: optional('int', 128),
      bits: optional('int', 4),
    },
  },
} as const satisfies Record<string, OpSignature>)

export type OpName = keyof typeof OPS

/** The attributes of one operator as a caller writes them. */
export type AttributesOf<K extends OpName> = AttributesFrom<(typeof OPS)[K]['attributes']>

/** The row of an operator of any file, or undefined when M4 does not know it. */
export function signatureOf(op: string, domain: string): OpSignature | undefined {
  const signature: OpSignature | undefined = Object.hasOwn(OPS, op) ? OPS[op as OpName] : undefined
  return signature && signature.domain === (domain === 'ai.onnx' ? '' : domain) ? signature : undefined
}
