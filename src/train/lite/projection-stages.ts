/** The two stages of the projection as the loop takes them: beside the backbone's token embeddings, and through the backbone. */

import { rm } from 'node:fs/promises'
import { hostTensor, int64Tensor } from '../../core/tensor.js'
import type { Engine, Session } from '../../engine/types.js'
import type { Image } from '../../firmware/image.js'
import { encodeModel } from '../../graph/index.js'
import { answerTokens, backboneBatch } from '../backbone/batch.js'
import { backboneProgram } from '../backbone/program.js'
import { projectedTokens, softTokenShapes } from '../backbone/soft-tokens.js'
import { openWorkspace } from '../backbone/workspace.js'
import type { FitBatch, FitSubject } from '../fit.js'
import { mseLoss } from '../losses/index.js'
import { type Program, stepGraph } from '../step-graph.js'
import type { LiteRequest } from './module.js'
import { type Material, noisyPoints, SOFT } from './projection-material.js'

/** First stage: soft token i is drawn to the embedding of the answer's token i; the last stands for all that are missing. */
export async function aligned(
  image: Image,
  material: Material,
  { engine, seed = 7 }: LiteRequest,
): Promise<FitSubject> {
  const { abi } = image.manifest
  const ids = material.rows.map(({ answer }) =>
    Array.from({ length: SOFT.tokens }, (_, i) => answer[Math.min(i, answer.length - 1)]!),
  )
  const embeddings = await embeddingsOf(image, engine, [...new Set(ids.flat())])
  const program: Program = (tape, parameter) => {
    const { g } = tape
    const features = g.input('features', 'float32', ['B', SOFT.features])
    const tokens = projectedTokens(g.scope('soft'), abi, SOFT, features, parameter)
    const wanted = g.input('wanted', 'float32', ['B', SOFT.tokens * abi.width])
    return { loss: mseLoss(tape, g.scope('loss'), tokens, wanted) }
  }
  const features = noisyPoints(material, seed)
  const open = async () =>
    engine.createSession({
      bytes: await encodeModel(stepGraph('projection', softTokenShapes(abi, SOFT), program, 'adamw')),
    })
  return subjectOf(image, material, open, (side, indices) => ({
    feeds: {
      features: features(indices, side === 'held'),
      wanted: hostTensor(
        'float32',
        [indices.length, SOFT.tokens * abi.width],
        Float32Array.from(indices.flatMap((i) => ids[i]!.flatMap((id) => [...embeddings.get(id)!]))),
      ),
    },
    weight: indices.length,
    units: indices.length,
  }))
}

/** Second stage: the answer's tokens, by the backbone that stays as it is. */
export function throughBackbone(image: Image, material: Material, request: LiteRequest): FitSubject {
  const { engine, home, seed = 7, signal } = request
  const { abi } = image.manifest
  const shape = { promptTokens: 0, prefixTokens: 0, kvHeads: abi.kvHeads, headWidth: abi.headWidth }
  const features = noisyPoints(material, seed + 1)
  const open = async () => {
    const workspace = await openWorkspace(image, {
      ...(home === undefined ? {} : { home }),
      forward: 'int8',
      ...(signal ? { signal } : {}),
    })
    const { frozen } = workspace
    const program = backboneProgram(
      workspace.graphs,
      abi,
      { kind: 'full' },
      { ...(frozen ? { frozen } : {}), soft: SOFT },
    )
    const graph = stepGraph('projection.backbone', softTokenShapes(abi, SOFT), program, 'adamw')
    const path = await workspace.write(`projection-${process.pid}`, graph)
    return engine
      .createSession({ path }, { memoryPattern: false, prepacking: frozen !== undefined })
      .finally(() => rm(path, { force: true }))
  }
  return subjectOf(image, material, open, (side, indices) => {
    const rows = indices.map((i) => material.rows[i]!)
    const length = Math.max(...rows.map(({ ids }) => ids.length))
    const slots = rows.flatMap(({ firstSlot }, b) =>
      Array.from({ length: SOFT.tokens }, (_, i) => b * length + firstSlot + i),
    )
    return {
      feeds: {
        ...backboneBatch(rows, shape),
        features: features(indices, side === 'held'),
        slots: int64Tensor([slots.length], slots),
      },
      weight: answerTokens(rows, shape),
      units: rows.reduce((sum, { ids }) => sum + ids.length, 0),
    }
  })
}

/** What both stages share: the split, and one session that holds the optimiser. */
function subjectOf(
  image: Image,
  material: Material,
  open: () => Promise<Session>,
  batch: (side: 'train' | 'held', indices: readonly number[]) => FitBatch,
): FitSubject {
  const shapes = softTokenShapes(image.manifest.abi, SOFT)
  const chosen = { train: material.train, eval: material.held }
  return {
    shapes,
    initial: new Map(),
    trainCount: material.train.length,
    evalCount: material.held.length,
    weightOf: (indices) => indices.length,
    batch: (side, indices) =>
      batch(
        side === 'eval' ? 'held' : 'train',
        indices.map((i) => chosen[side][i]!),
      ),
    open,
    openOptimiser: open,
  }
}

/** Rows of the backbone's table. [C] each */
async function embeddingsOf(image: Image, engine: Engine, ids: readonly number[]): Promise<Map<number, Float32Array>> {
  const { width } = image.manifest.abi
  using embed = await engine.createSession({ path: image.graphPath('backbone', 'embed') })
  using input = engine.tensor('int64', [1, ids.length], BigInt64Array.from(ids, BigInt))
  const { embeddings } = await embed.run({ ids: input }, ['embeddings'])
  using rows = embeddings!
  const data = rows.data as Float32Array
  return new Map(ids.map((id, i) => [id, data.slice(i * width, (i + 1) * width)]))
}
