/** A trained module as the two files of `weights/lite/`: halves in safetensors, and what a reader must know of them beside it. */

import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeSafetensors } from '../../checkpoint/index.js'
import type { Source } from '../../checkpoint/sources/index.js'
import { toHalf } from '../../core/dtypes.js'
import { atomicWriteFile } from '../../core/files.js'
import { sha256Hex } from '../../core/hash.js'
import { type HostTensor, hostTensor } from '../../core/tensor.js'
import type { WeightTensor } from '../../models/index.js'
import { checkpointTensors } from '../full.js'

export interface ModuleCard {
  readonly title: string
  /** Makes the file again. */
  readonly command: string
  readonly seed: number
  readonly architecture: string
  readonly config: object
  readonly training: object
  /** Measured on data that were held out. */
  readonly heldOut: object
  readonly data: readonly Source[]
  /** Of the result. */
  readonly licence: string
}

/** `path`.safetensors and `path`.json. @throws M4Error `DISK_FULL`, `IO` */
export async function writeModule(
  path: string,
  weights: ReadonlyMap<string, WeightTensor>,
  { data, ...card }: ModuleCard,
): Promise<void> {
  const tensors: Record<string, HostTensor> = {}
  let parameters = 0
  for (const [name, { dims, data: values }] of Object.entries(checkpointTensors(weights))) {
    tensors[name] = hostTensor('float16', dims, toHalf(values) as HostTensor<'float16'>['data'])
    parameters += values.length
  }
  const bytes = writeSafetensors(tensors)
  const sources = data.map(({ name, sha256, bytes: size, licence, publisher, uris }) => ({
    name,
    sha256,
    bytes: size,
    licence,
    publisher,
    uri: uris[0]!.split('#')[0],
  }))
  const about = { ...card, parameters, file: { sha256: sha256Hex(bytes), bytes: bytes.length }, data: sources }
  await mkdir(dirname(path), { recursive: true })
  await atomicWriteFile(`${path}.safetensors`, bytes)
  await atomicWriteFile(`${path}.json`, new TextEncoder().encode(`${JSON.stringify(about, null, 2)}\n`))
}
