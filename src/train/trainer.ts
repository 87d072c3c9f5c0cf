/**
 * From samples to an adapter package. This is the whole life of a training run, in order:
 *
 *   data   ─► samples (data/), checked, split so that nothing is on both sides (sides.ts)
 *   course ─► what is trained for data of this kind, on this image: text/, media/ or objects/course.ts
 *   plan   ─► parameters, memory, time; what will not fit is refused here, and a dry run ends here
 *   fit    ─► steps, looks at the held-out loss, checkpoints (fit.ts); one graph is forward, backward and optimiser (step-graph.ts)
 *   finish ─► the best parameters as an adapter, measured through the runtime on samples that it never saw
 *   pack   ─► its files, m4fm.json, the samples it was measured on, the loss curve; whole or not at all (pack.ts)
 */

import { mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { M4Error } from '../core/errors.js'
import { sha256Hex } from '../core/hash.js'
import { canonicalJson } from '../firmware/manifest.js'
import {
  type Course,
  type Finished,
  type Say,
  type Sides,
  type TrainFinding,
  type TrainPlan,
  type TrainRequest,
  warning,
} from './course.js'
import { assertUnchanged } from './data/index.js'
import { type FitResult, fitSubject } from './fit.js'
import { openMediaCourse } from './media/course.js'
import { isMediaKind } from './media/task.js'
import { availableBytes, requireMemory } from './memory.js'
import { openObjectCourse } from './objects/course.js'
import { isObjectKind } from './objects/task.js'
import { pack } from './pack.js'
import { peakMemoryBytes } from './process-memory.js'
import { openSides } from './sides.js'
import { openTextCourse } from './text/course.js'

export interface TrainReport {
  readonly plan: TrainPlan
  readonly out: string
  readonly digest: string
  readonly bytes: number
  readonly fit: Omit<FitResult, 'parameters'>
  readonly metric: Finished['metric']
  readonly base: Finished['base']
  readonly peakMemoryBytes: number
  readonly findings: readonly TrainFinding[]
  readonly plot: string
}

/**
 * What a run would do, without doing it.
 * @throws M4Error as `trainAdapter`
 */
export async function planTraining(request: TrainRequest): Promise<TrainPlan> {
  const say: Say = (finding) => request.onFinding?.(finding)
  const course = await openCourse(request, await openSides(request, say), say)
  const seconds = await course.seconds?.()
  return { ...course.plan, ...(seconds === undefined ? {} : { seconds }) }
}

/**
 * @throws M4Error `FORMAT_INVALID` for data that cannot be trained on, `NOT_AVAILABLE` where the image has nothing to train,
 * `OUT_OF_MEMORY` before it happens, `DIGEST_MISMATCH` when the data change on the way, `INVALID_REQUEST` when training diverges at
 * once, learns nothing, or makes an adapter too large, `ABORTED` (the checkpoint is kept), `DISK_FULL`
 */
export async function trainAdapter(request: TrainRequest): Promise<TrainReport> {
  const findings: TrainFinding[] = []
  const say: Say = (finding) => {
    findings.push(finding)
    request.onFinding?.(finding)
  }
  return { ...(await trainOn(request, await openSides(request, say), say)), findings }
}

/** `trainAdapter` on samples that were read before. */
export async function trainOn(request: TrainRequest, sides: Sides, say: Say): Promise<Omit<TrainReport, 'findings'>> {
  const course = await openCourse(request, sides, say)
  const { plan } = course
  const available = request.availableBytes ?? availableBytes()
  const tooMuch = plan.memory.totalBytes > available
  requireMemory(plan.memory, available, tooMuch ? ((await course.gentler?.()) ?? []) : [])
  const out = resolve(request.out)
  const folder = `${out}.training`
  await mkdir(folder, { recursive: true })
  const result = await fitSubject(request.engine, await course.subject(), {
    ...plan.options,
    checkpoint: {
      folder,
      key: runKey(request, plan, sides),
      everySeconds: request.checkpointSeconds ?? 20,
      fresh: request.fresh ?? false,
    },
    signal: request.signal,
    beforeStep: (step) => (step % 25 === 0 ? assertUnchanged(sides.data) : undefined),
    ...(request.onStep ? { onStep: request.onStep } : {}),
  })
  sayHowItEnded(result, say)
  const finished = await course.finish(result)
  const written = await pack(request, sides, course, result, finished)
  const { parameters: _, ...fit } = result
  const { metric, base } = finished
  return { plan, out, ...written, fit, metric, base, peakMemoryBytes: peakMemoryBytes() }
}

async function openCourse(request: TrainRequest, sides: Sides, say: Say): Promise<Course> {
  const { kind, path } = sides.data
  if (isObjectKind(kind)) return openObjectCourse(request, sides, say)
  if (request.options?.task !== undefined)
    throw new M4Error(
      'INVALID_REQUEST',
      `task ${request.options.task}: ${path} holds ${kind}, not pictures with objects.`,
      {
        hint: 'Leave --task out.',
      },
    )
  return (isMediaKind(kind) ? openMediaCourse : openTextCourse)(request, sides, say)
}

/** What makes two runs the same one. */
function runKey({ image }: TrainRequest, { options, task }: TrainPlan, { data, train, evaluation }: Sides): string {
  const digests = [data, train, evaluation].map(({ digest }) => digest)
  return sha256Hex(canonicalJson({ image: image.digest, digests, options, task }))
}

function sayHowItEnded({ stopped, step, losses }: FitResult, say: Say): void {
  const kept = `step ${step} was kept`
  if (stopped === 'diverged')
    say(warning('diverged', `Training ran away after step ${losses.length}; ${kept}. Lower the learning rate.`))
  if (stopped === 'patience')
    say(warning('early-stop', `Stopped after step ${losses.length}: the held-out loss no longer fell; ${kept}.`))
}
