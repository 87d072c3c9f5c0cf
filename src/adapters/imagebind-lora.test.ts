/** Files of ImageBind-LoRA: two designs, and every way in which one can be wrong. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { writeSafetensors } from '../checkpoint/index.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import { readImageBindLora, usableAdapter } from './index.js'

const TOWER = { width: 6, layers: 3 }

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4-imagebind-lora-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const matrix = (rows: number, columns: number, value: (i: number) => number = (i) => i + 1): HostTensor =>
  hostTensor(
    'float32',
    [rows, columns],
    Float32Array.from({ length: rows * columns }, (_, i) => value(i)),
  )

function file(pairs: number, width: number, b?: (i: number) => number, more: Record<string, HostTensor> = {}): string {
  const tensors: Record<string, HostTensor> = { ...more }
  for (let i = 0; i < pairs; i++) {
    tensors[`w_a_00${i}`] = matrix(2, width)
    tensors[`w_b_00${i}`] = matrix(width, 2, b)
  }
  const path = join(folder, 'imagebind-lora-imu_last.safetensors')
  writeFileSync(path, writeSafetensors(tensors))
  return path
}

test('beside the attention: packed as inputs, A and B turned', () => {
  const { design, adapter, findings, matched, total } = readImageBindLora(file(3, 6), TOWER)
  expect({ design, findings, matched, total }).toEqual({ design: 'attention', findings: [], matched: 6, total: 6 })
  expect([...adapter.lora.keys()]).toEqual(['layers.0/attn', 'layers.1/attn', 'layers.2/attn'])
  const { rank, a, b } = adapter.lora.get('layers.1/attn')!
  expect(rank).toBe(2)
  expect(Array.from(a)).toEqual([1, 7, 2, 8, 3, 9, 4, 10, 5, 11, 6, 12]) // [in, R]
  expect(Array.from(b)).toEqual([1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12]) // [R, out]
})

test('some layers only: the file does not say which', () => {
  const path = file(1, 6)
  expect(() => readImageBindLora(path, TOWER)).toThrow(/3 pairs for 3 layers, got 1/)
  expect([...readImageBindLora(path, TOWER, [2]).adapter.lora.keys()]).toEqual(['layers.2/attn'])
})

test("MobileFM's design is known to do nothing, and says so", () => {
  const read = readImageBindLora(file(6, 18), TOWER)
  expect(read).toMatchObject({
    design: 'inert',
    matched: 12,
    total: 12,
    findings: [{ code: 'no-effect', severity: 'warning' }],
  })
  expect(usableAdapter(read).lora.size).toBe(0)
})

test('an adapter whose B is zero is refused', () => {
  expect(() =>
    usableAdapter(
      readImageBindLora(
        file(3, 6, () => 0),
        TOWER,
      ),
    ),
  ).toThrow(/every pair is zero/)
})

test('of another tower, with foreign tensors, beyond the layers', () => {
  expect(() => readImageBindLora(file(3, 8), TOWER)).toThrow(/made for this tower/)
  const foreign = readImageBindLora(file(3, 6, undefined, { w_c_000: matrix(1, 1) }), TOWER)
  expect(() => usableAdapter(foreign)).toThrow(/w_c_000/)
  expect(() => usableAdapter(readImageBindLora(file(1, 6), TOWER, [3]))).toThrow(/3 layers/)
})
