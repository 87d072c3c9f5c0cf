/** Recipes whose files lie in a folder. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRecipe, sourcesOf } from '../recipes.js'
import { recipeFrom } from './local.js'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'm4-local-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function put(...path: string[]): string {
  const file = join(root, ...path)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, 'x')
  return file
}

const localFiles = (name = 'standard') =>
  sourcesOf(recipeFrom(findRecipe(name), root))
    .map(({ uris }) => uris[0]!)
    .filter((uri) => uri.startsWith('file:'))

test('by owner and repository, by repository, from the cache of the hub, and by the name on the web', () => {
  const files = [
    put('huggyllama', 'llama-7b', 'tokenizer.model'),
    put('whisper-tiny.en', 'model.safetensors'),
    put('models--facebook--mms-tts-eng', 'snapshots', 'abc', 'vocab.json'),
    put('imagebind_huge.pth'),
    put('pandagpt_7b_max_len_512', 'pytorch_model.pt'),
  ]
  writeFileSync(put('models--facebook--mms-tts-eng', 'refs', 'main'), 'abc\n')
  expect(new Set(localFiles())).toEqual(new Set(files.map((file) => `file:${file}`)))
})

test('the rest is pulled as before, digests stay', () => {
  put('bpe_simple_vocab_16e6.txt.gz')
  const before = sourcesOf(findRecipe('standard'))
  const merges = sourcesOf(recipeFrom(findRecipe('standard'), root)).find(({ name }) => name?.endsWith('.gz'))!
  expect(merges.uris.slice(1)).toEqual(before.find(({ name }) => name === merges.name)!.uris)
  expect(merges.sha256).toMatch(/^924691ac/)
})

test('a folder with nothing of it, and none at all', () => {
  expect(() => localFiles()).toThrow(/No file of the recipe standard/)
  root = join(root, 'none')
  expect(() => localFiles()).toThrow(/not a folder/)
})
