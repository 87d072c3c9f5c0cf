/** Reference outputs (test/goldens, and ../shared/goldens where it exists) against this build, one test a case. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint, writeSafetensors } from '../src/checkpoint/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { interleavedRow } from '../src/core/heads.js'
import type { HostTensor } from '../src/core/tensor.js'
import { openEngine } from '../src/engine/index.js'
import { caseFolders, runParity, runParityAll } from '../src/parity/index.js'

const OWN = fileURLToPath(new URL('goldens', import.meta.url))
const SHARED = fileURLToPath(new URL('../../shared/goldens', import.meta.url))
const own = (name: string) => join(OWN, name)

/** Families that this version runs: each must have at least one case here, so that none is lost from sight. */
const SUPPORTED =
  /^(codec-(image|wav)|e2e-(imagebind|sd|whisper)|frontend-(imagebind|whisper)|gguf-(blocks|llama)|imagebind-|litllama-|llama-|loader-|metric-|(e2e-)?pandagpt|sd2?-|tokenizer-(clip|llama|vits|whisper)|vits-|whisper-)/

/** What a failing test prints: the report, long values cut. */
const failures = async (folder: string, backend?: 'ffi' | 'node' | 'web') => {
  const report = await runParity(folder, backend ? { engine: await openEngine({ backend }) } : {})
  const { outputs, pass, ...rest } = report
  if (pass) expect(outputs.length).toBeGreaterThan(0)
  return pass ? [] : [rest, ...outputs.filter((output) => !output.pass)]
}

describe('goldens', () => {
  const cases = caseFolders(OWN).map((folder) => [basename(folder), folder] as const)
  test.each(cases)('%s', async (_, folder) => {
    expect(await failures(folder)).toEqual([])
    expect(liveHandles()).toEqual({})
  })

  test('every family is here', () => {
    expect(cases.map(([name]) => name).filter((name) => !SUPPORTED.test(name))).toEqual([])
    expect(cases.length).toBeGreaterThanOrEqual(26)
  })
})

const elsewhere = existsSync(SHARED) ? caseFolders(SHARED).map((folder) => [basename(folder), folder] as const) : []
const unseen = elsewhere.filter(([name]) => SUPPORTED.test(name) && !existsSync(own(name)))

describe.runIf(unseen.length)('shared goldens that are not in the repository', () => {
  test.each(unseen)('%s', async (_, folder) => {
    expect(await failures(folder)).toEqual([])
  })
})

describe('every engine gives the same', () => {
  const names = [
    'llama-hf-gqa',
    'llama-peft-lora-qkvo',
    'llama-peft-prefix-tuning',
    'whisper-openai',
    'imagebind-lora-text',
  ]
  const pairs = names.flatMap((name) => (['ffi', 'node', 'web'] as const).map((backend) => [name, backend] as const))
  test.each(pairs)('%s on %s', async (name, backend) => {
    expect(await failures(own(name), backend)).toEqual([])
  })
})

const scratch: string[] = []
afterAll(() => {
  for (const folder of scratch) rmSync(folder, { recursive: true, force: true })
})

/** A copy of a golden with something changed. */
function mutated(name: string, change: (folder: string) => void): string {
  const folder = join(mkdtempSync(join(tmpdir(), 'm4-parity-')), name)
  scratch.push(join(folder, '..'))
  cpSync(own(name), folder, { recursive: true })
  change(folder)
  return folder
}

const editJson = (folder: string, file: string, edit: (json: Record<string, unknown>) => Record<string, unknown>) => {
  const path = join(folder, file)
  writeFileSync(path, JSON.stringify(edit(JSON.parse(readFileSync(path, 'utf8')))))
}

function editTensors(path: string, edit: (name: string, tensor: HostTensor) => HostTensor): void {
  const tensors: Record<string, HostTensor> = {}
  using checkpoint = openCheckpoint(path)
  for (const [name, tensor] of checkpoint.tensors) tensors[name] = edit(name, tensor.read())
  writeFileSync(path, writeSafetensors(tensors))
}

const mapRows = ({ dtype, dims, data }: HostTensor, source: (row: number) => number): HostTensor => {
  const width = data.length / dims[0]!
  const out = data.slice() as Float32Array<ArrayBuffer>
  for (let row = 0; row < dims[0]!; row++)
    out.set((data as Float32Array).subarray(source(row) * width, (source(row) + 1) * width), row * width)
  return { dtype, dims, data: out }
}

describe('mistakes are found', () => {
  const isOutOfTolerance = async (folder: string) => {
    const report = await runParity(folder)
    expect(report).toMatchObject({ pass: false, code: 'PARITY_FAILED' })
    expect(report.outputs.find(({ name }) => name === 'logits')).toMatchObject({ pass: false })
  }

  test('rotary pairs in the wrong order', () =>
    isOutOfTolerance(
      mutated('llama-hf-mha', (folder) => {
        const headWidth = 12
        editTensors(join(folder, 'model.safetensors'), (name, tensor) =>
          /[qk]_proj/.test(name) ? mapRows(tensor, (row) => interleavedRow(row, headWidth)) : tensor,
        )
      }),
    ))

  test('another norm epsilon', () =>
    isOutOfTolerance(
      mutated('llama-hf-mha', (folder) => editJson(folder, 'config.json', (json) => ({ ...json, rms_norm_eps: 1e-5 }))),
    ))

  test.each(['llama-peft-lora-qv', 'llama-peft-lora-qkvo', 'llama-peft-prefix-tuning'])('%s: adapter ignored', (name) =>
    isOutOfTolerance(
      mutated(name, (folder) => editJson(folder, 'case.json', (json) => ({ ...json, architecture: 'llama' }))),
    ))

  test('lit-llama adapter ignored', () =>
    isOutOfTolerance(
      mutated('litllama-lora', (folder) =>
        editJson(folder, 'case.json', (json) => ({ ...json, architecture: 'lit-llama' })),
      ),
    ))

  test('alpha of another size', () =>
    isOutOfTolerance(
      mutated('llama-peft-lora-qv', (folder) =>
        editJson(folder, 'adapter_config.json', (json) => ({ ...json, lora_alpha: 9 })),
      ),
    ))

  test('adapter without effect is refused', async () => {
    const folder = mutated('llama-peft-lora-qv', (path) =>
      editTensors(join(path, 'adapter_model.safetensors'), (name, { dtype, dims, data }) => ({
        dtype,
        dims,
        data: name.includes('lora_B') ? new Float32Array(data.length) : (data as Float32Array<ArrayBuffer>),
      })),
    )
    expect(await runParity(folder)).toMatchObject({ pass: false, code: 'FORMAT_INVALID' })
  })

  test('one wrong greedy token', async () => {
    const folder = mutated('llama-hf-gqa', (path) =>
      editTensors(join(path, 'io.safetensors'), (name, tensor) => {
        if (name === 'output.greedy_tokens') (tensor.data as BigInt64Array)[7]! += 1n
        return tensor
      }),
    )
    const { outputs } = await runParity(folder)
    expect(outputs.filter(({ pass }) => !pass)).toMatchObject([{ name: 'greedy_tokens', maxAbs: 1 }])
  })

  test('one wrong bit of a loaded tensor', async () => {
    const folder = mutated('loader-safetensors', (path) =>
      editTensors(join(path, 'io.safetensors'), (name, tensor) => {
        if (name === 'output.nan_inf') new Uint8Array(tensor.data.buffer, tensor.data.byteOffset)[0]! ^= 1
        return tensor
      }),
    )
    const { outputs } = await runParity(folder)
    expect(outputs.filter(({ pass }) => !pass).map(({ name }) => name)).toEqual(['nan_inf'])
  })

  test('a file that should be refused and is not', async () => {
    const folder = mutated('loader-safetensors', (path) =>
      cpSync(join(path, 'model.safetensors'), join(path, 'bad-overlap.safetensors')),
    )
    const { outputs } = await runParity(folder)
    expect(outputs.filter(({ pass }) => !pass).map(({ name }) => name)).toEqual(['bad-overlap.safetensors refused'])
  })

  test('a wrong decoding and a wrong text', async () => {
    const folder = mutated('tokenizer-whisper-en', (path) => {
      const file = join(path, 'cases.json')
      const cases = JSON.parse(readFileSync(file, 'utf8'))
      cases[5].ids.push(0)
      writeFileSync(file, JSON.stringify(cases))
    })
    const { outputs } = await runParity(folder)
    expect(outputs.filter(({ pass }) => !pass)).toMatchObject([
      { name: 'ids', maxAbs: 1 },
      { name: 'decoded', maxAbs: 1 },
    ])
  })

  test('an output that nobody computes', async () => {
    const folder = mutated('litllama-gptq-int4', (path) =>
      editJson(path, 'case.json', (json) => ({
        ...json,
        outputs: [...(json.outputs as object[]), { name: 'hidden', tensor: 'output.logits', shape: [1] }],
      })),
    )
    const { pass, outputs } = await runParity(folder)
    expect(pass).toBe(false)
    expect(outputs).toMatchObject([
      { name: 'logits', pass: true },
      { name: 'hidden', pass: false },
    ])
  })

  test('an architecture of another version, and a checkpoint that is missing', async () => {
    const other = mutated('metric-wer', (path) =>
      editJson(path, 'case.json', (json) => ({ ...json, architecture: 'of-tomorrow' })),
    )
    expect(await runParity(other)).toMatchObject({ pass: false, code: 'NOT_AVAILABLE', outputs: [] })
    const missing = mutated('llama-hf-mha', (path) => rmSync(join(path, 'model.safetensors')))
    expect(await runParity(missing)).toMatchObject({ pass: false, code: 'FILE_NOT_FOUND' })
    expect(liveHandles()).toEqual({})
  })

  test('no case at all; a cancelled run', async () => {
    await expect(runParity(OWN)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    for (const folder of [join(OWN, 'none'), join(OWN, 'shared')])
      await expect(runParityAll(folder)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    await expect(runParity(own('llama-hf-mha'), { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'ABORTED',
    })
  })
})
