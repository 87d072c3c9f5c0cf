/**
 * A graph that someone else wrote, as a module: an ONNX file is taken as it is — any operators, any names, half precision
 * only stored — and its recipe says what its ports mean to the runtime. Kokoro-82M speaks through this (reference: its exporter's model, see runtime/foreign-voice.ts).
 * Nothing in it is checked against our tables, so it counts apart in the operator census of M4's own graphs.
 */

import { M4Error } from '../core/errors.js'
import type { Graph } from '../graph/index.js'
import type { CheckpointFacts } from './architecture.js'
import type { WeightTensor } from './weights.js'

export interface ForeignConfig {
  readonly graph: () => Graph
  /** What the recipe says under `config`, for the runtime. */
  readonly facts: Readonly<Record<string, unknown>>
}

/** @throws M4Error `FORMAT_UNSUPPORTED` when the file is no ONNX model */
export function foreignConfig({ format, graph, metadata }: CheckpointFacts): ForeignConfig {
  if (graph) return { graph, facts: { ...(metadata.config as Record<string, unknown> | undefined) } }
  throw new M4Error('FORMAT_UNSUPPORTED', `A foreign module is an ONNX file, this is ${format}.`, {
    hint: 'Name the architecture of this checkpoint in the recipe instead.',
  })
}

/** There is no size to draw weights for. */
export function foreignRandom(): Map<string, WeightTensor> {
  throw new M4Error('NOT_AVAILABLE', 'A foreign graph cannot have random weights: its sizes are in its own file.', {
    hint: 'Give the ONNX file as the source of the module.',
  })
}
