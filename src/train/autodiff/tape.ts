/**
 * A graph that is being differentiated: its builder, and the composites in it. The builder's own nodes are the tape; nothing is
 * recorded twice.
 */

import type { GraphBuilder, Value } from '../../graph/index.js'
import type { Composite } from './types.js'

export class Tape {
  readonly #composites = new Map<string, Composite>()

  constructor(readonly g: GraphBuilder) {}

  /** The gradient of `composite.output` is the composite's; the nodes between its inputs and its output are not looked at. */
  composite(composite: Composite): Value {
    this.#composites.set(composite.output.name, composite)
    return composite.output
  }

  compositeOf(output: string): Composite | undefined {
    return this.#composites.get(output)
  }
}
