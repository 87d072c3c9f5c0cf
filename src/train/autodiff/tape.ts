/**
 * A graph that is being differentiated: its builder, and the composites in it. The builder's own nodes are the tape; nothing is
 * recorded twice.
 */

import type { GraphBuilder, GraphNode, Value } from '../../graph/index.js'
import type { Composite } from './types.js'

export class Tape {
  readonly #composites = new Map<string, Composite>()

  constructor(readonly g: GraphBuilder) {}

  /** The gradient of `composite.output` is the composite's; the nodes between its inputs and its output are not looked at. */
  composite(composite: Composite): Value {
    this.#composites.set(composite.output.name, composite)
    return composite.output
  }

  /**
   * Names the segment of a node whose values are computed again on the way back instead of being kept (a layer): undefined keeps
   * them. @paper arXiv:1604.06174
   */
  segmentOf: (node: GraphNode) => string | undefined = () => undefined

  compositeOf(output: string): Composite | undefined {
    return this.#composites.get(output)
  }
}
