/**
 * A case folder: `case.json` (architecture, configuration, declared inputs and outputs with tolerances), a checkpoint in its
 * original layout, and `io.safetensors` with `input.*`, `output.*` and `debug.*`.
 */

import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js'
import { formatDims } from '../core/dims.js'
import { M4Error, unknownName, wrapSystemError } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'

export interface OutputSpec {
  readonly name: string
  /** Name in io.safetensors. */
  readonly tensor: string
  readonly shape: readonly number[]
  readonly atol: number
  readonly rtol: number
  /** Some cases also bound the mean of |got - expected|. */
  readonly meanAbs: number | undefined
  /** NaN, infinities, -0 and subnormals count too. */
  readonly bitPattern: boolean
}

export interface ParityCase extends Disposable {
  readonly folder: string
  readonly name: string
  readonly architecture: string
  readonly config: Readonly<Record<string, unknown>>
  /** All of case.json. */
  readonly json: Readonly<Record<string, unknown>>
  readonly outputs: readonly OutputSpec[]
  readonly files: readonly { readonly file: string; readonly role: string }[]
  /** Path of a file of the folder. @throws M4Error `FORMAT_INVALID` for a name that leads out of it */
  path(file: string): string
  /** Path of the checkpoint. @throws M4Error `FORMAT_INVALID` when the case has none */
  checkpointPath(): string
  hasInput(name: string): boolean
  /** @throws M4Error `UNKNOWN_NAME` */
  input(name: string): HostTensor
  /** @throws M4Error `FORMAT_INVALID` when io.safetensors lacks it */
  expected(spec: OutputSpec): HostTensor
  dispose(): void
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * Opens a case folder. Dispose it after use.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`
 */
export function openCase(folder: string): ParityCase {
  const json = readJsonFile(join(folder, 'case.json'))
  if (!isObject(json)) throw invalid(folder, 'expected an object')
  const name = typeof json.name === 'string' ? json.name : basename(resolve(folder))
  const specs = list(folder, json, 'outputs').map((entry) => outputSpec(folder, entry))
  const inputs = new Map(list(folder, json, 'inputs').map((entry) => [String(entry.name), String(entry.tensor)]))
  const ioPath = join(folder, 'io.safetensors')
  const io: Checkpoint | undefined = isFile(ioPath) ? openCheckpoint(ioPath) : undefined
  const tensor = (key: string) => {
    const found = io?.tensors.get(key)
    if (!found) throw invalid(folder, `io.safetensors has no tensor "${key}"`)
    return found
  }
  const path = (file: string) => {
    if (file.split(/[\\/]/).includes('..') || resolve(folder, file) !== join(resolve(folder), file))
      throw invalid(folder, `the file name "${file}" leads out of the folder`)
    return join(folder, file)
  }
  const dispose = () => io?.dispose()
  return {
    folder,
    name,
    architecture: typeof json.architecture === 'string' ? json.architecture : '',
    config: isObject(json.config) ? json.config : {},
    json,
    outputs: specs,
    files: list(folder, json, 'files').map((entry) => ({ file: String(entry.file), role: String(entry.role ?? '') })),
    path,
    checkpointPath: () => {
      if (typeof json.checkpoint !== 'string') throw invalid(folder, 'it names no checkpoint')
      return path(json.checkpoint)
    },
    hasInput: (input) => inputs.has(input),
    input: (input) => {
      const key = inputs.get(input)
      if (key === undefined) throw unknownName(`input of ${name}`, input, inputs.keys())
      return tensor(key).read()
    },
    expected: (spec) => {
      const found = tensor(spec.tensor)
      if (found.dims.join() !== spec.shape.join())
        throw invalid(folder, `${spec.tensor} is ${formatDims(found.dims)}, declared ${formatDims(spec.shape)}`)
      return found.read()
    },
    dispose,
    [Symbol.dispose]: dispose,
  }
}

function outputSpec(folder: string, entry: Record<string, unknown>): OutputSpec {
  const number = (key: string, fallback: number | undefined) => {
    const value = entry[key] ?? fallback
    if (value !== undefined && (typeof value !== 'number' || !(value >= 0)))
      throw invalid(folder, `output "${entry.name}": "${key}" must be a number, 0 or more`)
    return value as number | undefined
  }
  const { name, shape } = entry
  if (typeof name !== 'string') throw invalid(folder, 'an output has no name')
  if (!Array.isArray(shape) || !shape.every(Number.isInteger)) throw invalid(folder, `output "${name}" has no shape`)
  return {
    name,
    tensor: typeof entry.tensor === 'string' ? entry.tensor : `output.${name}`,
    shape,
    atol: number('atol', 0)!,
    rtol: number('rtol', 0)!,
    meanAbs: number('meanAbs', undefined),
    bitPattern: /bit.pattern/i.test(String(entry.desc ?? '')),
  }
}

function list(folder: string, json: Record<string, unknown>, key: string): Record<string, unknown>[] {
  const value = json[key] ?? []
  if (!Array.isArray(value) || !value.every(isObject)) throw invalid(folder, `"${key}" must be a list of objects`)
  return value
}

const invalid = (folder: string, what: string) =>
  new M4Error('FORMAT_INVALID', `${join(folder, 'case.json')}: ${what}.`, {
    hint: 'A case folder is described in README.md of the goldens.',
  })

/** @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` */
export function readJsonFile(path: string): unknown {
  const bytes = readBytes(path)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new M4Error('FORMAT_INVALID', `${path} is not JSON (${(cause as Error).message}).`, { cause })
  }
}

/** @throws M4Error `FILE_NOT_FOUND`, `IO` */
export function readBytes(path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
}

export function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile()
}
