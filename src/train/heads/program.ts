/** Heads as training programs, and as graphs that answer. */

import { type Graph, GraphBuilder, type Value } from '../../graph/index.js'
import { Tape } from '../autodiff/tape.js'
import type { Program, ProgramResult } from '../step-graph.js'
import { requireFeatures } from './checks.js'
import type { Emit, TaskHead, Values } from './types.js'

/** Input of a target in a training graph. */
export const targetInput = (name: string): string => `target/${name}`

/**
 * A head behind features that are there: its targets become inputs `target/<name>`, its outputs are given out.
 * @throws M4Error `SHAPE_MISMATCH` for features that the head does not read
 */
export function attachHead(
  head: TaskHead,
  tape: Tape,
  features: Value,
  parameter: (name: string) => Value,
): ProgramResult {
  requireFeatures(head, features)
  const emit: Emit = { tape, scope: tape.g.scope('head'), parameter }
  const outputs = head.program(emit, features)
  // Rows of features are the items, whatever the encoder calls their number: items times clips, for one.
  const items = features.dims[0]!
  const targets: Values = Object.fromEntries(
    Object.entries(head.targets).map(([name, { dtype, dims }]) => {
      const own = dims.map((dim) => (dim === 'B' ? items : dim))
      return [name, tape.g.input(targetInput(name), dtype, own)]
    }),
  )
  const loss = head.loss({ ...emit, scope: tape.g.scope('loss') }, outputs, targets)
  return { loss, outputs }
}

const featureDims = ({ takes, in: width, patches }: TaskHead) =>
  takes === 'vector' ? ['B', width] : ['B', patches!, width]

/** Inputs `features` and `target/<name>`: for features that were computed once and kept (encoders/features.ts). */
export const headProgram =
  (head: TaskHead): Program =>
  (tape, parameter) =>
    attachHead(head, tape, tape.g.input('features', 'float32', featureDims(head)), parameter)

/** Inputs `features` and `p/<parameter>`; outputs as the head names them, for `decode`. */
export function headGraph(head: TaskHead): Graph {
  const g = new GraphBuilder(`head.${head.name}`)
  const features = g.input('features', 'float32', featureDims(head))
  const parameter = (name: string) => {
    const { dims } = head.parameters.find((each) => each.name === name)!
    return g.value(`p/${name}`) ?? g.input(`p/${name}`, 'float32', dims)
  }
  const outputs = head.program({ tape: new Tape(g), scope: g.scope('head'), parameter }, features)
  for (const [name, value] of Object.entries(outputs)) g.output(name, value)
  return g.build({ dropIdle: true })
}
