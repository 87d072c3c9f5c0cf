/** Mistakes in compositions — adapters, soft tokens, scores — must be found by their cases. */

import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../src/core/disposal.js'
import { runParity } from '../src/parity/index.js'

const OWN = fileURLToPath(new URL('goldens', import.meta.url))
const SHARED = fileURLToPath(new URL('../../shared/goldens', import.meta.url))
const scratch: string[] = []
afterAll(() => {
  for (const folder of scratch) rmSync(folder, { recursive: true, force: true })
})

type Json = Record<string, unknown>

function mutated(base: string, name: string, file: string, edit: (json: Json) => Json): string {
  const root = mkdtempSync(join(tmpdir(), 'm4-compositions-'))
  scratch.push(root)
  const folder = join(root, name)
  cpSync(join(base, name), folder, { recursive: true })
  const path = join(folder, file)
  const json = JSON.parse(readFileSync(path, 'utf8')) as Json
  rmSync(path)
  writeFileSync(path, JSON.stringify(edit(json)))
  return folder
}

const failing = async (folder: string) => {
  const { pass, outputs } = await runParity(folder)
  expect(pass).toBe(false)
  expect(liveHandles()).toEqual({})
  return outputs.filter((output) => !output.pass).map(({ name }) => name)
}

test('LLaMA-Adapter: gates of the other file', async () => {
  const folder = mutated(OWN, 'litllama-adapter', 'case.json', (json) => json)
  const [oneAHead, oneForAll] = ['', '-old'].map((kind) => join(folder, `lit-llama-adapter-finetuned${kind}.pth`))
  cpSync(oneForAll!, oneAHead!, { force: true })
  expect(await failing(folder)).toEqual(['logits'])
})

describe('scores', () => {
  test('one number that is not what comes out', async () => {
    const folder = mutated(OWN, 'metric-retrieval', 'cases.json', (json) => ({
      ...json,
      expected: { ...(json.expected as Json), mapPlain: 0.465381 },
    }))
    expect(await failing(folder)).toEqual(['mapPlain'])
  })

  test('a number that nobody computes', async () => {
    const folder = mutated(OWN, 'metric-slurp', 'cases.json', (json) => ({
      ...json,
      expected: { ...(json.expected as Json), more: [1] },
    }))
    expect(await failing(folder)).toEqual(['more'])
  })
})

describe.runIf(existsSync(join(SHARED, 'pandagpt')))('PandaGPT', () => {
  test('another alpha of the LoRA', async () => {
    const folder = mutated(SHARED, 'pandagpt', 'case.json', (json) => ({
      ...json,
      config: { ...(json.config as Json), lora_alpha: 12 },
    }))
    expect(await failing(folder)).toContain('logits_zero_soft_token')
  })

  test('another stop', async () => {
    const folder = mutated(SHARED, 'pandagpt', 'case.json', (json) => ({
      ...json,
      config: { ...(json.config as Json), stop_token: 299 },
    }))
    expect(await failing(folder)).toEqual(['generated_until_stop', 'kept_tokens'])
  })

  test('another question', async () => {
    const folder = mutated(SHARED, 'e2e-pandagpt', 'case.json', (json) => ({
      ...json,
      config: { ...(json.config as Json), question: 'What is it?' },
    }))
    expect(await failing(folder)).toEqual(expect.arrayContaining(['fragments', 'fragment ids']))
  })
})
