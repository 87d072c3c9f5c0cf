/** From a dictionary to the three files; no claim about what so few steps learn. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { openCheckpoint } from '../../checkpoint/index.js'
import { liveHandles } from '../../core/disposal.js'
import { randomSource } from '../../core/random.js'
import { openEngine } from '../../engine/index.js'
import { readDictionary } from '../../tokenizers/index.js'
import { scoreReader } from './letter-score.js'
import { trainLetterToSound } from './letter-to-sound.js'
import { letterWords } from './letter-words.js'
import { writeLiteModule } from './module.js'

const folder = mkdtempSync(join(tmpdir(), 'm4fm-letters-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

/** A language that is spoken as it is written. */
const LETTERS = { a: 'AE1', b: 'B', d: 'D', e: 'EH0', k: 'K', n: 'N', s: 'S', t: 'T' } as const
const next = randomSource(5)
const words = [
  ...new Set(
    Array.from({ length: 400 }, () =>
      Array.from({ length: 3 + Math.floor(next() * 4) }, () => Object.keys(LETTERS)[Math.floor(next() * 8)]).join(''),
    ),
  ),
]
const DICTIONARY = words
  .map((word) => `${word.toUpperCase()}  ${[...word].map((letter) => LETTERS[letter as 'a']).join(' ')}`)
  .join('\n')

describe('words', () => {
  const dictionary = readDictionary(`${DICTIONARY}\nKATE  K EH1 T\nKATES  K EH1 T S\nKATE'S  K EH1 T S\nXY  K S T\n`)
  const split = (seed: number) => letterWords(dictionary, { seed, longest: 32, leastWords: 1 })

  test('are on one side each, with those of their stem', () => {
    const sides = new Map<string, string>()
    const { train, look, test: held } = split(1)
    for (const { word } of train) sides.set(word, 'train')
    for (const { word } of look) sides.set(word, 'look')
    for (const word of held) sides.set(word, 'test')
    expect(sides.size).toBe(train.length + look.length + held.length)
    expect(train.length).toBeGreaterThan(held.length)
    expect(held.length).toBeGreaterThan(0)
    expect(new Set(['kate', 'kates', "kate's"].map((word) => sides.get(word))).size).toBe(1)
  })

  test('the seed decides; the same gives the same', () => {
    expect(split(1)).toEqual(split(1))
    expect(split(2).test).not.toEqual(split(1).test)
  })

  test('every letter has a class, and the classes say the word', () => {
    const { sounds, train } = split(1)
    for (const { word, letters, sounds: classes } of train) {
      expect(classes).toHaveLength(letters.length)
      const said = classes.map((at) => sounds[at]!).filter((sound) => sound !== '')
      expect(said.join(' ')).toBe(dictionary.lookup(word))
    }
  })
})

test('a score counts errors against the nearest pronunciation, with stress and without', async () => {
  const dictionary = readDictionary('AB  AE1 B\nAB(1)  EY1 B\nBAB  B AE1 B\n')
  const said: Record<string, string> = { ab: 'EY0 B', bab: 'B AE1 T' }
  const score = await scoreReader(async (word) => said[word]!, ['ab', 'bab'], dictionary)
  expect(score).toEqual({
    words: 2,
    phonemeErrorRate: 1 / 5,
    wordAccuracy: 1 / 2,
    phonemeErrorRateWithStress: 2 / 5,
    wordAccuracyWithStress: 0,
  })
})

test('a few steps: the loss falls, the files belong together, the same seed gives the same bytes', async () => {
  const data = join(folder, 'dictionary.txt')
  writeFileSync(data, DICTIONARY)
  const lines: string[] = []
  const onLine = (line: string) => lines.push(line)
  const train = async (seed: number) => {
    const engine = await openEngine()
    const made = await trainLetterToSound({ engine, data: folder, seed, smoke: true, onLine }, data)
    await writeLiteModule(folder, 'letter-to-sound', made)
    return { report: made.record, bytes: readFileSync(join(folder, 'letter-to-sound.safetensors')) }
  }
  const { report, bytes } = await train(1)
  const card = JSON.parse(readFileSync(join(folder, 'letter-to-sound.json'), 'utf8'))
  const sounds = JSON.parse(readFileSync(join(folder, 'letter-to-sound.sounds.json'), 'utf8'))
  const losses = lines.map((line) => Number(/held out ([\d.]+)/.exec(line)![1]))
  expect(losses.at(-1)).toBeLessThan(losses[0]!)
  expect(card).toMatchObject({ ...report, seed: 1, licence: 'Apache-2.0', bytes: bytes.byteLength })
  using checkpoint = openCheckpoint(join(folder, 'letter-to-sound.safetensors'))
  expect(checkpoint.tensors.get('head')!.dims[0]).toBe(sounds.length)
  expect((await train(1)).bytes.equals(bytes)).toBe(true)
  expect((await train(2)).bytes.equals(bytes)).toBe(false)
})

test('stops when told to', async () => {
  const data = join(folder, 'dictionary.txt')
  writeFileSync(data, DICTIONARY)
  const engine = await openEngine()
  const request = { engine, data: folder, seed: 1, smoke: true, signal: AbortSignal.abort() }
  await expect(trainLetterToSound(request, data)).rejects.toMatchObject({ code: 'ABORTED' })
})
