/** Text samples and a backbone, as the loop takes them. */

import { rm } from 'node:fs/promises'
import type { LongOperation } from '../../core/progress.js'
import { hostTensor } from '../../core/tensor.js'
import type { Engine } from '../../engine/types.js'
import type { Image } from '../../firmware/image.js'
import type { Abi } from '../../firmware/manifest.js'
import { encodeModel, type Graph } from '../../graph/index.js'
import { answerTokens, type BatchShape, backboneBatch, type SoftRow, slotsOf } from '../backbone/batch.js'
import { backboneProgram, type Trained, trainedShapes, virtualTokens } from '../backbone/program.js'
import { openWorkspace, type Workspace } from '../backbone/workspace.js'
import type { AskedSample } from '../data/index.js'
import type { FitSubject } from '../fit.js'
import type { ResolvedOptions } from '../options.js'
import { optimiserGraph, type StepKind, stepGraph } from '../step-graph.js'
import { type EncodedSample, encodeSample, type SoftSource, type TextEncoder, type TextSample } from './task.js'

export interface TextSubjectParts extends LongOperation {
  readonly engine: Engine
  readonly image: Image
  readonly home?: string | undefined
  readonly trained: Trained
  readonly initial: ReadonlyMap<string, Float32Array>
  readonly encoder: TextEncoder
  readonly train: readonly TextSample[]
  readonly eval: readonly TextSample[]
  readonly options: ResolvedOptions
}

export interface TextSubject extends FitSubject {
  /** Samples that were cut to fit, of those that were used. */
  truncated(): number
  /** Without the optimiser's session: for estimates. */
  graph(kind: StepKind): Promise<Graph>
  /** Whether weights are packed, which takes their memory again. Float32 stays mapped: packing it twice would take 8 GB for 4. */
  packs(): Promise<boolean>
}

/** Training sessions: their memory is used as it comes, and all shapes share one session. */
const SESSION = { memoryPattern: false } as const

export function textSubject(parts: TextSubjectParts): TextSubject {
  const { engine, image, trained, encoder, options } = parts
  const { abi } = image.manifest
  const shape = batchShape(trained, abi)
  const shapes = trainedShapes(abi, trained)
  const inParts = options.batch * options.maxTokens > options.tokensAtOnce
  const chosen = { train: parts.train, eval: parts.eval }
  const sides = { train: encoded(encoder, parts.train), eval: encoded(encoder, parts.eval) }
  let opened: Promise<Workspace> | undefined
  const workspace = () => {
    opened ??= openWorkspace(image, {
      ...(parts.home === undefined ? {} : { home: parts.home }),
      forward: options.forward,
      ...(parts.onProgress ? { onProgress: parts.onProgress } : {}),
      ...(parts.signal ? { signal: parts.signal } : {}),
    })
    return opened
  }
  const made = new Map<StepKind, Graph>()
  const graph = async (kind: StepKind) => {
    const { graphs, frozen, project } = await workspace()
    const program = backboneProgram(graphs, abi, trained, {
      ...(frozen ? { frozen } : {}),
      ...(encoder.soft ? { project: project! } : {}),
      recompute: options.recompute,
    })
    if (!made.has(kind)) made.set(kind, stepGraph(`train.${kind}`, shapes, program, kind))
    return made.get(kind)!
  }
  return {
    shapes,
    initial: parts.initial,
    trainCount: parts.train.length,
    evalCount: parts.eval.length,
    ...(inParts
      ? {
          parts: (side, indices) =>
            partsOf((i) => sides[side].row(i).ids.length + virtualTokens(trained), indices, options.tokensAtOnce),
        }
      : {}),
    lengthOf: (i) => sides.train.row(i).ids.length,
    weightOf: (indices) => answerTokens(indices.map(sides.train.row), shape),
    batch: (side, indices, normaliser) => {
      const rows = indices.map(sides[side].row)
      const weight = answerTokens(rows, shape)
      const units = rows.reduce((sum, { ids }) => sum + ids.length, 0)
      const feeds = {
        ...backboneBatch(rows, shape, normaliser ?? weight),
        ...(encoder.soft
          ? softFeeds(
              encoder.soft,
              rows as SoftRow[],
              indices.map((i) => chosen[side][i]!),
            )
          : {}),
      }
      return { feeds, weight, units }
    },
    graph,
    packs: async () => (await workspace()).frozen !== undefined,
    open: async (kind) => {
      const { write, frozen } = await workspace()
      // Only the weights that it names are mapped for as long as the session lives; the file itself has been read then.
      const path = await write(`step-${process.pid}`, await graph(kind))
      const session = { ...SESSION, prepacking: frozen !== undefined }
      return engine.createSession({ path }, session).finally(() => rm(path, { force: true }))
    },
    openOptimiser: async () =>
      engine.createSession({ bytes: await encodeModel(optimiserGraph('train.update', shapes)) }, SESSION),
    truncated: () => sides.train.truncated() + sides.eval.truncated(),
  }
}

const batchShape = (trained: Trained, { kvHeads, headWidth }: Abi): BatchShape => ({
  promptTokens: trained.kind === 'prompt' ? trained.tokens : 0,
  prefixTokens: trained.kind === 'prefix' ? trained.tokens : 0,
  kvHeads,
  headWidth,
})

/** Vectors of the items, and where their tokens go. */
function softFeeds({ vectors, tokens }: SoftSource, rows: readonly SoftRow[], samples: readonly TextSample[]) {
  const heads = samples.map((sample) => vectors.get((sample as AskedSample).path)!)
  const width = heads[0]!.length
  const head = new Float32Array(heads.length * width)
  for (const [i, vector] of heads.entries()) head.set(vector, i * width)
  return { head: hostTensor('float32', [heads.length, 1, width], head), slots: slotsOf(rows, tokens) }
}

/** As many rows at once as fit when padded to the longest of them; shortest first, so that long ones are among themselves. */
function partsOf(lengthOf: (i: number) => number, indices: readonly number[], tokens: number): number[][] {
  const parts: number[][] = []
  for (const i of [...indices].sort((a, b) => lengthOf(a) - lengthOf(b) || a - b)) {
    const last = parts.at(-1)
    if (last && (last.length + 1) * lengthOf(i) <= tokens) last.push(i)
    else parts.push([i])
  }
  return parts
}

/** Rows are made when they are first used: a short run on a large set does not read all of it. */
function encoded(encoder: TextEncoder, samples: readonly TextSample[]) {
  const rows = new Map<number, EncodedSample>()
  const row = (i: number): EncodedSample => {
    const known = rows.get(i)
    if (known) return known
    const made = encodeSample(encoder, samples[i]!)
    rows.set(i, made)
    return made
  }
  return { row, truncated: () => [...rows.values()].filter(({ truncated }) => truncated).length }
}
