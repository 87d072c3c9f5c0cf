/** The package of a finished run, and its loss curve beside it. */

import { basename, dirname, join, resolve } from 'node:path'
import { ADAPTER_MAX_BYTES, type AdapterFacts, writeAdapterPackage } from '../adapters/index.js'
import { M4Error } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'
import type { Course, Finished, Sides, TrainRequest } from './course.js'
import type { FitResult } from './fit.js'
import { lossPlot } from './loss-plot.js'
import { peakMemoryBytes } from './process-memory.js'

/** Of the adapter: as asked for, else after its folder. */
export const nameOf = ({ name, out }: Pick<TrainRequest, 'name' | 'out'>): string =>
  name ??
  (basename(resolve(out))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[._-]+|[._-]+$/g, '') ||
    'adapter')

/** @throws M4Error `INVALID_REQUEST` with what would fit */
export function requireSmall(bytes: number, hint: (share: number) => string): void {
  if (bytes <= ADAPTER_MAX_BYTES) return
  throw new M4Error(
    'INVALID_REQUEST',
    `The adapter would have ${bytes} bytes; at most ${ADAPTER_MAX_BYTES} are allowed.`,
    {
      hint: hint(ADAPTER_MAX_BYTES / bytes),
      details: { reason: 'adapter-too-large', bytes, most: ADAPTER_MAX_BYTES },
    },
  )
}

/** Whole or not at all. @throws M4Error as `writeAdapterPackage` */
export async function pack(
  request: TrainRequest,
  { data }: Sides,
  { plan: { options } }: Course,
  result: FitResult,
  finished: Finished,
): Promise<{ digest: string; bytes: number; plot: string }> {
  const { outputs: _, ...metric } = finished.metric ?? { outputs: [] }
  const facts: AdapterFacts = {
    name: nameOf(request),
    version: '1.0.0',
    app: request.app ?? 'local',
    ...finished.facts,
    training: {
      data: { digest: data.digest, samples: finished.trainSamples },
      recipe: JSON.parse(JSON.stringify({ ...options, data: basename(data.path) })) as Record<string, never>,
      seed: options.seed,
      steps: result.step,
      seconds: Math.round(result.seconds),
      peakMemoryBytes: peakMemoryBytes(),
      // Of the step that was kept: what came behind it may not even be a number.
      loss: { first: result.losses[0]!, last: result.losses[result.step - 1]! },
    },
    ...(finished.metric ? { metric: metric as NonNullable<AdapterFacts['metric']> } : {}),
    licence: request.licence ?? 'LicenseRef-unspecified',
    created: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
  }
  const { digest, bytes } = await writeAdapterPackage(resolve(request.out), { facts, ...finished.parts })
  return { digest, bytes, plot: await plotLosses(request, facts, result) }
}

async function plotLosses(
  { image, out }: TrainRequest,
  { name, task }: AdapterFacts,
  { losses, evaluations, step }: FitResult,
): Promise<string> {
  const plot = join(dirname(resolve(out)), `${basename(resolve(out))}.loss.svg`)
  const random = image.manifest.weights === 'random' ? ' (random weights)' : ''
  const title = `${name}: ${task} on ${image.manifest.name}${random}`
  const best = evaluations.length ? { bestStep: step } : {}
  await atomicWriteFile(plot, lossPlot({ title, losses, evaluations, ...best }))
  return plot
}
