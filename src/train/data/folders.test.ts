import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { sha256Hex } from '../../core/hash.js'
import { motionWindows } from '../../media/motion.js'
import { readMotionSamples } from './motion.js'
import { openDataSet } from './open.js'
import type { DataSet } from './samples.js'
import { splitDataSet } from './split.js'
import { codesOf, findingOf, type Scratch, scratchFolder } from './testing/scratch.js'

let scratch: Scratch
beforeEach(() => {
  scratch = scratchFolder()
})
afterEach(() => rmSync(scratch.path, { recursive: true }))

const PICTURES = { 'd/dog/2.JPG': 'two', 'd/dog/1.png': 'one', 'd/cat/x/3.webp': 'three' }
const folder = (name = 'd') => join(scratch.path, name)

describe('folders by class', () => {
  test('pictures: the first folder is the class, the digest is of sorted paths and bytes', async () => {
    scratch.write(PICTURES)
    const set = await openDataSet(folder())
    expect(set).toMatchObject({ kind: 'image-label', labels: ['cat', 'dog'], findings: [] })
    expect(set.samples).toEqual([
      { kind: 'image-label', path: join(folder(), 'cat/x/3.webp'), label: 'cat' },
      { kind: 'image-label', path: join(folder(), 'dog/1.png'), label: 'dog' },
      { kind: 'image-label', path: join(folder(), 'dog/2.JPG'), label: 'dog' },
    ])
    const lines = Object.entries(PICTURES).map(([path, text]) => `${path.slice(2)}\0${sha256Hex(text)}\n`)
    expect(set.digest).toBe(sha256Hex(lines.sort().join('')))
    scratch.write({ 'd/dog/2.JPG': 'TWO' })
    expect((await openDataSet(folder())).digest).not.toBe(set.digest)
  })

  test('the digest does not depend on where the folder lies', async () => {
    scratch.write(PICTURES)
    scratch.write({ 'e/dog/2.JPG': 'two', 'e/dog/1.png': 'one', 'e/cat/x/3.webp': 'three', 'e/.DS_Store': 'x' })
    expect((await openDataSet(folder('e'))).digest).toBe((await openDataSet(folder())).digest)
  })

  test('what is left out is said: other files, files without a class, files without bytes', async () => {
    scratch.write({ ...PICTURES, 'd/README.md': 'x', 'd/dog/a.heic': 'x', 'd/loose.png': 'x', 'd/cat/empty.gif': '' })
    const set = await openDataSet(folder())
    expect(set.samples).toHaveLength(3)
    expect(set.findings.map(({ code, severity, file }) => [code, severity, file])).toEqual([
      ['other-file', 'warning', 'README.md'],
      ['other-file', 'warning', 'dog/a.heic'],
      ['missing-label', 'warning', 'loose.png'],
      ['empty-file', 'warning', 'cat/empty.gif'],
    ])
  })

  test('the same bytes twice: a copy in one class, a contradiction in two', async () => {
    scratch.write({ ...PICTURES, 'd/dog/again.png': 'one', 'd/cat/wrong.png': 'one' })
    const { findings } = await openDataSet(folder())
    // In order of the paths: cat/wrong.png, dog/1.png, dog/again.png.
    expect(findings).toMatchObject([
      { code: 'contradiction', message: 'Dog/1.png says "dog" of what cat/wrong.png calls "cat".' },
      { code: 'contradiction' },
    ])
    rmSync(join(folder(), 'cat/wrong.png'))
    expect(codesOf((await openDataSet(folder())).findings)).toEqual(['duplicate'])
  })

  test('one class only', async () => {
    scratch.write({ 'd/dog/1.png': 'one', 'd/dog/2.png': 'two' })
    expect((await openDataSet(folder())).findings).toMatchObject([{ code: 'one-class', severity: 'error' }])
  })

  test('folders called train and test are no classes', async () => {
    scratch.write({ 'd/train/dog/1.png': 'one', 'd/test/cat/2.png': 'two' })
    await expect(openDataSet(folder())).rejects.toThrow(
      /holds test, train, expected one folder a class.*d\/train to train/,
    )
  })

  test('sounds, their labels and speakers from the names', async () => {
    scratch.write({ 'd/7_anna_0.wav': 'a', 'd/8_ben_1.wav': 'b', 'd/other.wav': 'c' })
    const set = await openDataSet(folder(), { pathPattern: '^(?<label>\\d)_(?<subject>[a-z]+)_' })
    expect(set.samples).toEqual([
      { kind: 'sound-label', path: join(folder(), '7_anna_0.wav'), label: '7', subject: 'anna' },
      { kind: 'sound-label', path: join(folder(), '8_ben_1.wav'), label: '8', subject: 'ben' },
    ])
    expect(findingOf(set.findings, 'other-file')?.file).toBe('other.wav')
    for (const pathPattern of ['(', '^\\d'])
      await expect(openDataSet(folder(), { pathPattern })).rejects.toMatchObject({ code: 'USAGE' })
  })

  test('folders that are none of the kinds', async () => {
    mkdirSync(folder())
    await expect(openDataSet(folder())).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    scratch.write({ 'd/a/x.mp3': 'x' })
    await expect(openDataSet(folder())).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
    await expect(openDataSet(folder(), { format: 'sound-folder' })).rejects.toMatchObject({ code: 'EMPTY_INPUT' })
    scratch.write({ 'd/a/x.png': 'x', 'd/a/x.wav': 'y', 'd/b/y.wav': 'z' })
    await expect(openDataSet(folder())).rejects.toThrow('pictures and sounds')
    expect((await openDataSet(folder(), { format: 'sound-folder' })).kind).toBe('sound-label')
  })

  test.skipIf(process.platform === 'win32')('links are followed, rings are not', async () => {
    scratch.write({ ...PICTURES, 'more/9.png': 'nine' })
    symlinkSync(folder('more'), join(folder(), 'bird'))
    symlinkSync(folder(), join(folder(), 'dog/ring'))
    const set = await openDataSet(folder())
    expect(set.labels).toEqual(['bird', 'cat', 'dog'])
    expect(set.samples).toHaveLength(4)
  })
})

const DATA = fileURLToPath(new URL('../../../../shared/data/', import.meta.url))
describe.skipIf(!existsSync(DATA))('real layouts', () => {
  const errorsOf = (set: DataSet) => set.findings.filter(({ severity }) => severity === 'error')

  test('CIFAR-10: folders by class', async () => {
    const set = await openDataSet(join(DATA, 'cifar10/test'))
    expect(set.samples).toHaveLength(2000)
    expect(set.labels).toHaveLength(10)
    expect(errorsOf(set)).toEqual([])
  })

  test('SST-2: no header; SLURP: other names; ESC-50: sounds that a table names', async () => {
    const sst2 = await openDataSet(join(DATA, 'sst2/dev.tsv'), { columns: { text: 0, label: 1 } })
    expect([sst2.samples.length, sst2.labels]).toEqual([872, ['0', '1']])
    const slurp = await openDataSet(join(DATA, 'slurp/test.jsonl'), { columns: { text: 'sentence', label: 'intent' } })
    expect([slurp.samples.length, errorsOf(slurp)]).toEqual([2974, []])
    const esc50 = await openDataSet(join(DATA, 'esc50/esc50.csv'), {
      columns: { sound: 'filename', label: 'category' },
      mediaFolder: join(DATA, 'esc50/audio'),
    })
    expect([esc50.samples.length, errorsOf(esc50)]).toEqual([5, []])
  })

  test('AP-10K: key points of COCO', async () => {
    const set = await openDataSet(join(DATA, 'ap10k/ap10k/test_ap10k.json'))
    expect(set.samples).toHaveLength(2)
    expect(set.samples[0]).toMatchObject({ objects: [{ label: 'jaguar', keypoints: { names: { length: 17 } } }] })
  })

  test('SP-SW-HAR: gzipped tables with a clock of ms, subjects in the path', async () => {
    const set = await openDataSet(join(DATA, 'sp_sw_har/DATA'), { pathPattern: '^(?<subject>s\\d+)/.*_sp\\.csv' })
    expect(set.labels).toEqual(['SEATED', 'SITTING_DOWN', 'STANDING_UP', 'TURNING', 'WALKING'])
    expect(errorsOf(set)).toEqual([])
    const apart = splitDataSet(set, { evalFraction: 0.2, seed: 1, keepTogether: 'subject' })
    expect(codesOf(apart.findings)).not.toContain('subject-across-splits')
    const indices = [0, 1, 2, 3, 4]
    for (const recording of await readMotionSamples(set, indices)) {
      expect(recording.channels).toHaveLength(6)
      expect(() => motionWindows(recording, { sampleRateHz: 50, channels: 6, windowSamples: 10 })).not.toThrow()
    }
  })
})
