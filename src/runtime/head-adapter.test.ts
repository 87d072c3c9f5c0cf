/** Packages of kind `head`: read, checked, and what is wrong with one said. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { HeadTensor } from '../adapters/head-tensors.js'
import { type AdapterFacts, writeAdapterPackage } from '../adapters/index.js'
import { applyHead, probabilitiesOf } from './class-head.js'
import { featureAbi, headAdapter, readHeadAdapter, usableHead } from './head-adapter.js'

const modules = { IMG: { architecture: 'imagebind-vision' } } as never
const facts: AdapterFacts = {
  name: 'pets',
  version: '1.0.0',
  app: 'local',
  task: 'match',
  path: 3,
  kind: 'head',
  head: { type: 'classifier', in: 3, out: 2, labels: ['cat', 'dog'] },
  base: {
    abi: featureAbi({ modules }, 'IMG', 3),
    module: 'IMG',
    image: { name: 'toy', digest: 'a'.repeat(64) },
  },
  licence: 'CC0-1.0',
  created: '2026-11-20T09:30:00Z',
}
const tensor = (dims: readonly number[], ...data: number[]): HeadTensor => ({ dims, data: Float32Array.from(data) })
/** 3 → 2 → 2 with a ReLU between. */
const layers = {
  'layers.0.weight': tensor([2, 3], 1, 0, -1, 0.5, 0.5, 0.5),
  'layers.0.bias': tensor([2], 0.25, -1),
  'layers.1.weight': tensor([2, 2], 1, 2, -1, 1),
  'layers.1.bias': tensor([2], 0, 0.5),
}
const read = (changes: Readonly<Record<string, HeadTensor | undefined>> = {}, head = facts.head) => {
  const tensors = Object.entries({ ...layers, ...changes }).flatMap(([name, data]) =>
    data ? [[name, data] as const] : [],
  )
  return headAdapter({ ...facts, ...(head ? { head } : {}) }, new Map(tensors))
}

describe('arithmetic', () => {
  test('layers with a ReLU between them, and a softmax', () => {
    const adapter = usableHead(read())
    // [0.5, 0.25, 1] → [-0.25, -0.125] → ReLU [0, 0] → [0, 0.5]
    expect([...applyHead(adapter, Float32Array.of(0.5, 0.25, 1))]).toEqual([0, 0.5])
    // [2, 1, 0] → [2.25, 0.5] → [3.25, -1.25]
    expect([...applyHead(adapter, Float32Array.of(2, 1, 0))]).toEqual([3.25, -1.25])
    const [first, second] = probabilitiesOf([1000, 1000 + Math.log(3)])
    expect(first).toBeCloseTo(0.25, 12)
    expect(second).toBeCloseTo(0.75, 12)
  })

  test('features of another width', () => {
    const wrong = () => applyHead(usableHead(read()), new Float32Array(4))
    expect(wrong).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }))
  })
})

describe('findings', () => {
  test.each([
    ['not-finite', { 'layers.1.bias': tensor([2], 0, Number.NaN) }],
    ['wrong-shape', { 'layers.0.weight': tensor([2, 2], 1, 2, 3, 4) }],
    ['wrong-shape', { 'layers.1.bias': tensor([1], 0) }],
    ['incomplete-pair', { 'layers.1.bias': undefined }],
    ['incomplete-pair', { 'layers.0.weight': undefined, 'layers.0.bias': undefined }],
    ['unknown-tensor', { logScale: tensor([], 1) }],
    ['unknown-tensor', { 'layers.3.weight': tensor([1, 2], 1, 2) }],
    [
      'no-effect',
      { 'layers.0.weight': tensor([2, 3], 0, 0, 0, 0, 0, 0), 'layers.1.weight': tensor([2, 2], 0, 0, 0, 0) },
    ],
  ] as const)('%s', (code, changes) => {
    const found = read(changes)
    expect(found.findings).toContainEqual(expect.objectContaining({ code, severity: 'error' }))
    expect(() => usableHead(found)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })

  test('a count of labels or outputs that is not that of the tensors', () => {
    const few = read({}, { ...facts.head!, labels: ['cat'] })
    expect(few.findings).toEqual([expect.objectContaining({ code: 'wrong-shape' })])
    const wide = read({}, { ...facts.head!, out: 3, labels: ['a', 'b', 'c'] })
    expect(wide.findings).toEqual([expect.objectContaining({ code: 'wrong-shape' })])
    expect(read().findings).toEqual([])
    expect(read()).toMatchObject({ matched: 4, total: 4 })
  })

  test('a type or module that nobody knows', () => {
    expect(() => read({}, { ...facts.head!, type: 'clasifier' })).toThrow(/classifier/)
    const base = { ...facts.base, module: 'IMX' }
    expect(() => headAdapter({ ...facts, base }, new Map())).toThrow(expect.objectContaining({ code: 'UNKNOWN_NAME' }))
  })
})

describe('packages', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'm4-head-adapter-'))
    await writeAdapterPackage(join(folder, 'pets'), { facts, head: layers })
  })
  afterAll(() => rm(folder, { recursive: true, force: true }))

  test('is read back; its base is compared with the image', async () => {
    const path = join(folder, 'pets')
    const found = await readHeadAdapter(path)
    expect(found.findings).toEqual([])
    expect(usableHead(found)).toEqual(usableHead(read()))
    const image = (name: string, digest: string, own: object) =>
      ({ manifest: { name, modules: own }, digest }) as unknown as Parameters<typeof readHeadAdapter>[1]
    const same = await readHeadAdapter(path, image('toy', 'a'.repeat(64), modules))
    expect(same.findings).toEqual([])
    const updated = await readHeadAdapter(path, image('toy', 'b'.repeat(64), modules))
    expect(updated.findings).toEqual([expect.objectContaining({ code: 'other-base', severity: 'warning' })])
    expect(usableHead(updated).name).toBe('pets')
    for (const own of [{}, { IMG: { architecture: 'resnet' } }]) {
      const other = await readHeadAdapter(path, image('other', 'b'.repeat(64), own))
      expect(() => usableHead(other)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    }
  })
})
