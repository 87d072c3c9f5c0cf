/** What the engine needs to know of the processor. */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { arch, cpus, platform } from 'node:os'
import type { Engine } from './types.js'

/** Features that change which kernels ONNX Runtime picks, as /proc/cpuinfo spells them. */
const NOTABLE = [
  'avx2',
  'fma',
  'f16c',
  'avx512f',
  'avx512_vnni',
  'avx_vnni',
  'avx512_bf16',
  'amx_int8',
  'asimd',
  'asimddp',
  'i8mm',
  'sve',
  'bf16',
]

export interface CpuFacts {
  readonly model: string
  /** All feature flags, sorted; empty where the system does not list them. */
  readonly flags: readonly string[]
  /** The few of them that matter for speed. */
  readonly notable: readonly string[]
}

export function cpuFacts(): CpuFacts {
  const flags = [...new Set(readFlags())].sort()
  return { model: cpus()[0]?.model.trim() || 'unknown', flags, notable: NOTABLE.filter((flag) => flags.includes(flag)) }
}

function readFlags(): string[] {
  try {
    const line = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))
    return line?.[1]?.trim().split(/\s+/) ?? []
  } catch {
    // Only Linux has this file; elsewhere the model name has to do.
    return []
  }
}

/** Changes with the processor's model and features and with ONNX Runtime's version: weights prepacked under one key fit only there. */
export function cpuKey(engine: Pick<Engine, 'version'>): string {
  const { model, flags } = cpuFacts()
  const hash = createHash('sha256').update(JSON.stringify([platform(), arch(), model, flags, engine.version]))
  return `${arch()}-ort${engine.version}-${hash.digest('hex').slice(0, 16)}`
}
