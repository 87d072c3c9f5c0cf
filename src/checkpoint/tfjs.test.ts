/** TensorFlow.js models: weights that cross shards, quantised weights, and files that lie. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { openCheckpoint } from './open.js'

const folders: string[] = []
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

const WEIGHTS = [
  { name: 'conv/kernel', shape: [2, 3], dtype: 'float32' },
  { name: 'conv/bias', shape: [3], dtype: 'float32', quantization: { dtype: 'uint8', scale: 0.5, min: -1 } },
  { name: 'wide', shape: [2], dtype: 'float32', quantization: { dtype: 'uint16', scale: 2, min: 1 } },
]

/** 24 + 3 + 4 bytes, cut in the middle of the first weight. */
function model(change: (json: Record<string, unknown>) => Record<string, unknown> = (json) => json): string {
  const folder = mkdtempSync(join(tmpdir(), 'm4-tfjs-'))
  folders.push(folder)
  const bytes = new Uint8Array(31)
  bytes.set(new Uint8Array(Float32Array.of(1, 2, 3, 4, 5, 6).buffer))
  bytes.set([0, 2, 255], 24)
  bytes.set(new Uint8Array(Uint16Array.of(3, 1000).buffer), 27)
  writeFileSync(join(folder, 'a.bin'), bytes.subarray(0, 10))
  writeFileSync(join(folder, 'b.bin'), bytes.subarray(10))
  const json = {
    format: 'layers-model',
    modelTopology: { model_config: { class_name: 'Model' } },
    weightsManifest: [{ paths: ['a.bin', 'b.bin'], weights: WEIGHTS }],
  }
  writeFileSync(join(folder, 'model.json'), JSON.stringify(change(json)))
  return folder
}

test('weights over shards, rows of them, quantised ones widened', () => {
  const folder = model()
  for (const path of [folder, join(folder, 'model.json')]) {
    using checkpoint = openCheckpoint(path)
    expect(checkpoint.format).toBe('tfjs')
    expect(checkpoint.metadata).toMatchObject({
      format: 'layers-model',
      topology: { model_config: { class_name: 'Model' } },
    })
    const values = (name: string) => Array.from(checkpoint.tensors.get(name)!.float32())
    expect(values('conv/kernel')).toEqual([1, 2, 3, 4, 5, 6])
    expect(Array.from(checkpoint.tensors.get('conv/kernel')!.float32({ from: 1, to: 2 }))).toEqual([4, 5, 6])
    expect(values('conv/bias')).toEqual([-1, 0, 126.5])
    expect(values('wide')).toEqual([7, 2001])
  }
})

test.each([
  ['a shard elsewhere', { paths: ['../a.bin'], weights: WEIGHTS }],
  ['too few bytes', { paths: ['a.bin'], weights: WEIGHTS }],
  ['bytes left over', { paths: ['a.bin', 'b.bin'], weights: WEIGHTS.slice(0, 1) }],
  ['an unknown type', { paths: ['a.bin'], weights: [{ name: 's', shape: [1], dtype: 'string' }] }],
  ['no shape', { paths: ['a.bin'], weights: [{ name: 's', dtype: 'float32' }] }],
])('%s', (_, group) => {
  const folder = model((json) => ({ ...json, weightsManifest: [group] }))
  expect(() => openCheckpoint(folder)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
})

test('a shard that is missing', () => {
  const folder = model((json) => ({ ...json, weightsManifest: [{ paths: ['c.bin'], weights: WEIGHTS }] }))
  expect(() => openCheckpoint(folder)).toThrow(expect.objectContaining({ code: 'FILE_NOT_FOUND' }))
})
