/** ONNX as data: operators, builder, codec, printer, census. */

export { GraphBuilder, type Operands, type OutputsOf, type Scope } from './builder.js'
export * from './census.js'
export * from './dims-algebra.js'
export * from './infer.js'
export type { AttributeSpec, AttributesFrom, AttributeType, OpSignature } from './op-types.js'
export * from './ops.js'
export * from './printer.js'
export { type DecodeOptions, decodeModel } from './proto/decode.js'
export { type EncodeOptions, EXTERNAL_ALIGNMENT, type ExternalDataOptions, encodeModel } from './proto/encode.js'
export { inferNode, type NodeTypes, SHAPE_RULES, type Typed } from './shapes.js'
export * from './tensors.js'
export * from './types.js'
