/**
 * A diffusers folder (`model_index.json` beside `unet/`, `vae/`, `text_encoder/`…) as one checkpoint: every tensor's name begins
 * with its folder, and `metadata.config` holds each part's config.json.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { M4Error, wrapSystemError } from '../core/errors.js'
import { parseJson } from './json.js'
import { makeCheckpoint } from './tensor.js'
import type { Checkpoint, CheckpointTensor } from './types.js'

/** Folders with weights that models here use → their place in `metadata.config`. Whoever lacks the last of them is no unCLIP. */
const PARTS = { text_encoder: 'text', unet: 'unet', vae: 'vae', image_normalizer: 'augment' } as const
const SCHEDULER = 'scheduler/scheduler_config.json'

/**
 * @param open how one part is opened
 * @throws M4Error `FILE_NOT_FOUND` when no part is there, and what `open` throws
 */
export function openDiffusers(folder: string, open: (path: string) => Checkpoint): Checkpoint {
  const names = Object.keys(PARTS).filter((name) => existsSync(join(folder, name))) as (keyof typeof PARTS)[]
  if (!names.length)
    throw new M4Error('FILE_NOT_FOUND', `${folder} has model_index.json, but no part of a model beside it.`, {
      hint: `Fetch its folders ${Object.keys(PARTS).join(', ')}.`,
    })
  const parts: Checkpoint[] = []
  try {
    const tensors: CheckpointTensor[] = []
    const config: Record<string, unknown> = {}
    for (const name of names) {
      const part = open(join(folder, name))
      parts.push(part)
      for (const tensor of part.tensors.values()) tensors.push(renamed(tensor, `${name}/${tensor.name}`))
      config[PARTS[name]] = configAt(join(folder, name, 'config.json'))
    }
    config.scheduler = configAt(join(folder, SCHEDULER))
    return makeCheckpoint(parts[0]!.format, folder, tensors, { config }, parts)
  } catch (error) {
    for (const part of parts) part.dispose()
    throw error
  }
}

const renamed = (tensor: CheckpointTensor, name: string): CheckpointTensor => ({
  name,
  dims: tensor.dims,
  storage: tensor.storage,
  storedBytes: tensor.storedBytes,
  bytes: () => tensor.bytes(),
  read: () => tensor.read(),
  float32: (rows) => tensor.float32(rows),
})

function configAt(path: string): Readonly<Record<string, unknown>> {
  if (!existsSync(path)) return {}
  try {
    return parseJson(path, readFileSync(path, 'utf8'))
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
}
