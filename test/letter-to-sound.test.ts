/** The letter-to-sound model of the package: its files are those that the recipe pins, and it reads words better than the rules. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../src/checkpoint/index.js'
import { pullSource, type Source } from '../src/checkpoint/sources/index.js'
import { liveHandles } from '../src/core/disposal.js'
import { openEngine } from '../src/engine/index.js'
import { weightsOf } from '../src/firmware/build.js'
import { findRecipe } from '../src/firmware/recipes.js'
import { encodeModel } from '../src/graph/index.js'
import { architecture } from '../src/models/index.js'
import { LetterReader } from '../src/runtime/letter-reader.js'
import { toPhonemes } from '../src/tokenizers/index.js'

const home = mkdtempSync(join(tmpdir(), 'm4fm-letters-'))
const { graphs, files } = findRecipe('lite').modules.TTS!
const part = graphs!.letters!
let reader: LetterReader

beforeAll(async () => {
  const pulled = async (source: unknown) => pullSource(source as Source, { home, offline: true })
  const path = await pulled(part.weights)
  using checkpoint = openCheckpoint(path)
  const model = architecture(part.architecture)
  const weights = weightsOf(checkpoint)
  const config = model.configure({ format: checkpoint.format, metadata: { config: part.config }, weights })
  const graph = model.graphs(config as never, model.weights(config as never, weights), {
    quantisation: part.quantisation,
    embedding: part.embedding!,
    loraSites: [],
  }).letters!()
  const engine = await openEngine()
  const session = await engine.createSession({ bytes: await encodeModel(graph) })
  reader = new LetterReader(engine, session, JSON.parse(readFileSync(await pulled(files!.sounds), 'utf8')))
})
afterAll(() => {
  reader?.dispose()
  rmSync(home, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

describe('words that no dictionary has', () => {
  test.each([
    ['blick', 'B L IH1 K'],
    ['flimp', 'F L IH1 M P'],
    ['thrasp', 'TH R AE1 S P'],
  ])('%s', async (word, arpabet) => expect(await reader.read(word)).toBe(arpabet))

  test('any word has one main stress, and phonemes of the voice; no letter has no sound', async () => {
    for (const word of ['a', 'zzz', 'qwrt', "o'brien's", 'x'.repeat(100), 'antidisestablishmentarianism']) {
      const arpabet = await reader.read(word)
      expect(toPhonemes(arpabet)).not.toBe('')
      expect(arpabet.match(/1/g)).toHaveLength(Math.ceil(word.length / 32))
    }
    expect(await reader.read("'")).toBe('')
  })
})

test('the card says how it was made and that it reads better than the rules', () => {
  const path = fileURLToPath(new URL('../weights/lite/letter-to-sound.json', import.meta.url))
  const { command, seed, licence, data, metrics } = JSON.parse(readFileSync(path, 'utf8'))
  expect(command).toContain('letter-to-sound')
  expect(seed).toBe(1)
  expect(licence).toBe('Apache-2.0')
  expect(data[0].digest).toBe(files!.pronunciations!.sha256)
  expect(metrics.phonemeErrorRate.count).toBeGreaterThan(5000)
  expect(metrics.phonemeErrorRate.value).toBeLessThan(metrics['rules/phonemeErrorRate'].value / 1.5)
})
