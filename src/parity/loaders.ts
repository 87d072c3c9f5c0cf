/** Loader cases: every tensor of a checkpoint bit for bit, its plain values, and files that must be refused. */

import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js'
import { isM4Error, M4Error } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { countReport } from './compare.js'
import type { OutputReport, Runner } from './types.js'

export const runLoader: Runner = async ({ parityCase }) => {
  const { outputs, files } = parityCase
  const path = parityCase.checkpointPath()
  const mustRefuse = files.filter(({ role }) => /must be (rejected|refused)/i.test(role))
  const refusals = mustRefuse.map(({ file }) => refusal(file, parityCase.path(file)))
  // A case that declares no tensor has nothing to load: its checkpoint carries code.
  if (!outputs.length) return { checks: [...refusals, refusal('checkpoint', path, 'UNSAFE_PICKLE')] }
  using checkpoint = openCheckpoint(path)
  const tensors = new Map<string, HostTensor>()
  for (const { name } of outputs) {
    const tensor = checkpoint.tensors.get(name)
    if (tensor) tensors.set(name, tensor.read())
  }
  return { tensors, exact: true, checks: [...refusals, ...scalarChecks(parityCase, checkpoint)] }
}

/** Opening the file, or reading a tensor of it, must fail with a typed error (of one code, if given). */
function refusal(name: string, path: string, code?: M4Error['code']): OutputReport {
  try {
    using checkpoint = openCheckpoint(path)
    for (const tensor of checkpoint.tensors.values()) tensor.read()
  } catch (error) {
    const right = error instanceof M4Error && (code === undefined || isM4Error(error, code))
    return countReport(`${name} refused`, right ? [] : [`expected a refusal, got ${String(error)}`])
  }
  return countReport(`${name} refused`, ['it was opened and read'])
}

/** Python types whose value JSON can say. Others may be told in any form. */
const PLAIN = new Set(['int', 'float', 'bool', 'str', 'NoneType'])
const SCALARS = 'expected-scalars.json'

function scalarChecks(parityCase: ParityCase, { metadata }: Checkpoint): OutputReport[] {
  if (!isFile(parityCase.path(SCALARS))) return []
  const scalars = readJsonFile(parityCase.path(SCALARS))
  if (!Array.isArray(scalars)) throw new M4Error('FORMAT_INVALID', `${parityCase.path(SCALARS)}: expected a list.`)
  const wrong = (scalars as { path: string; python: string; value: unknown }[])
    .filter(({ python }) => PLAIN.has(python))
    .flatMap(({ path, value }) => {
      const got = metadata[path]
      // Numbers beyond 2^53 are written as text.
      const same = typeof got === 'bigint' ? String(got) === String(value) : got === value
      return same ? [] : [`${path}: expected ${JSON.stringify(value)}, got ${String(got)}`]
    })
  return [countReport('scalars', wrong)]
}
