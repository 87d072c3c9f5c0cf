/** `head.safetensors`: what is read, and what is refused. */

import { describe, expect, test } from 'vitest'
import { writeSafetensors } from '../checkpoint/index.js'
import { hostTensor } from '../core/tensor.js'
import { readHeadTensors } from './head-tensors.js'

describe('tensors of a head', () => {
  test.each(['float32', 'float16'] as const)('%s as it was written', (dtype) => {
    const data = dtype === 'float32' ? Float32Array.of(1.5, -2, 0.25) : Uint16Array.of(0x3e00, 0xc000, 0x3400)
    const bytes = writeSafetensors({ odd: hostTensor(dtype, [3], data as never), x: hostTensor('float32', []) })
    expect(readHeadTensors(bytes, 'it').get('odd')).toEqual({ dims: [3], data: Float32Array.of(1.5, -2, 0.25) })
    // Not aligned, as inside a larger buffer.
    const shifted = new Uint8Array(bytes.length + 3)
    shifted.set(bytes, 3)
    expect(readHeadTensors(shifted.subarray(3), 'it')).toEqual(readHeadTensors(bytes, 'it'))
  })

  test('what is none is refused, wherever it is cut or changed', () => {
    const bytes = writeSafetensors({ x: hostTensor('float32', [4], Float32Array.of(1, 2, 3, 4)) })
    for (let length = 0; length < bytes.length; length++)
      expect(() => readHeadTensors(bytes.subarray(0, length), 'it')).toThrow(
        expect.objectContaining({ code: 'FORMAT_INVALID' }),
      )
    const ints = writeSafetensors({ x: hostTensor('int64', [1], BigInt64Array.of(1n)) })
    expect(() => readHeadTensors(ints, 'it')).toThrow(expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }))
    for (const header of ['[]', '{"x":null}', '{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', '7']) {
      const text = new TextEncoder().encode(header)
      const file = new Uint8Array(8 + text.length + 4)
      new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true)
      file.set(text, 8)
      expect(() => readHeadTensors(file, 'it')).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    }
  })
})
