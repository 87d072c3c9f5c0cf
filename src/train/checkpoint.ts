/**
 * Checkpoints: all that the next step depends on, in one safetensors file that appears whole or not at all. Resuming gives the
 * same bytes as never having stopped.
 */

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openCheckpoint, writeSafetensors } from '../checkpoint/index.js'
import { isM4Error, M4Error } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'
import type { BatchCursor } from './data/index.js'
import type { TrainingState } from './state.js'

export const CHECKPOINT_FILE = 'checkpoint.safetensors'

/** What is not a tensor. */
export interface Progressed {
  /** Steps that are done. */
  readonly step: number
  readonly cursor: BatchCursor
  /** Loss of every step. */
  readonly losses: readonly number[]
  /** (step, loss on the held-out samples). */
  readonly evaluations: readonly { readonly step: number; readonly loss: number }[]
  /** Step of the best evaluation, whose parameters are kept as `best/<name>`. */
  readonly bestStep: number | undefined
  readonly seconds: number
}

/** Names the run: data, image and options; a checkpoint of another run is refused. */
export type RunKey = string

const META = 'm4fm'

/** @throws M4Error `DISK_FULL`, `IO`; the old checkpoint is then still there */
export async function saveCheckpoint(
  folder: string,
  key: RunKey,
  state: TrainingState,
  best: ReadonlyMap<string, Float32Array>,
  progressed: Progressed,
): Promise<void> {
  const tensors: Record<string, { dtype: 'float32'; dims: readonly number[]; data: Float32Array }> = {}
  for (const [name, { dims, data }] of state.tensors)
    tensors[name] = { dtype: 'float32', dims, data: data as Float32Array }
  for (const [name, data] of best) tensors[`best/${name}`] = { dtype: 'float32', dims: [data.length], data }
  const bytes = writeSafetensors(tensors as never, { [META]: JSON.stringify({ key, progressed }) })
  await atomicWriteFile(join(folder, CHECKPOINT_FILE), bytes)
}

export interface Restored {
  readonly progressed: Progressed
  readonly best: Map<string, Float32Array>
}

/**
 * Fills `state` from the checkpoint in `folder`, if there is one of this run.
 * @throws M4Error `INVALID_REQUEST` for a checkpoint of another run, `FORMAT_INVALID` for one that is damaged
 */
export function restoreCheckpoint(folder: string, key: RunKey, state: TrainingState): Restored | undefined {
  const path = join(folder, CHECKPOINT_FILE)
  let checkpoint: ReturnType<typeof openCheckpoint>
  try {
    checkpoint = openCheckpoint(path)
  } catch (error) {
    if (isM4Error(error, 'FILE_NOT_FOUND')) return undefined
    throw error
  }
  using opened = checkpoint
  const meta = JSON.parse(String(opened.metadata[META] ?? '{}')) as { key: RunKey; progressed: Progressed }
  if (meta.key !== key)
    throw new M4Error('INVALID_REQUEST', `${path} belongs to another run: its data, image or options differ.`, {
      hint: 'Start again with --fresh, or give the options of that run to go on with it.',
      details: { path },
    })
  const best = new Map<string, Float32Array>()
  for (const [name, tensor] of opened.tensors) {
    if (name.startsWith('best/')) best.set(name.slice('best/'.length), tensor.float32().slice())
    else (state.tensors.get(name)!.data as Float32Array).set(tensor.float32())
  }
  return { progressed: meta.progressed, best }
}

export const removeCheckpoint = (folder: string): Promise<void> => rm(join(folder, CHECKPOINT_FILE), { force: true })
