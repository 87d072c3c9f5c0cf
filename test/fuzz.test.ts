/**
 * Damaged bytes at every other door: sound, vocabularies, manifests, adapters. A typed error or a value, never a crash or a hang.
 * The checkpoint readers have their own, src/checkpoint/fuzz.test.ts, and the ONNX codec has src/graph/proto/.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readPeftAdapter } from '../src/adapters/index.js'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { isM4Error } from '../src/core/errors.js'
import { hostTensor } from '../src/core/tensor.js'
import { abiOf } from '../src/firmware/describe.js'
import { buildFirmware, findRecipe } from '../src/firmware/index.js'
import { canonicalJson, parseManifest } from '../src/firmware/manifest.js'
import { encodeWav16, speechSamples } from '../src/media/index.js'
import { fromSentencePiece, loadTokenizer, tinyTokenizer } from '../src/tokenizers/index.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'm4fm-fuzz-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A few bytes overwritten anywhere, often in the first 64, and perhaps a cut end. */
const damage = (length: number) =>
  fc.record({
    edits: fc.array(fc.tuple(fc.oneof(fc.nat(63), fc.nat(length - 1)), fc.nat(255)), { maxLength: 6 }),
    keep: fc.oneof(fc.constant(length), fc.nat(length)),
  })

function damaged(bytes: Uint8Array, { edits, keep }: { edits: [number, number][]; keep: number }): Uint8Array {
  const copy = bytes.slice()
  for (const [at, value] of edits) copy[at % copy.length] = value
  return copy.subarray(0, keep)
}

/** Runs `read` on damaged copies; anything but a value or an M4Error fails. Gives how many were read all the same. */
function survives(bytes: Uint8Array, read: (bytes: Uint8Array) => unknown, runs = 400): number {
  let readable = 0
  fc.assert(
    fc.property(damage(bytes.length), (how) => {
      try {
        read(damaged(bytes, how))
        readable++
      } catch (error) {
        if (!isM4Error(error)) throw error
      }
    }),
    { seed: 2308, numRuns: runs },
  )
  return readable
}

const text = new TextEncoder()
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

describe('damaged bytes', () => {
  test('wav', () => {
    const wav = encodeWav16(
      Float32Array.from({ length: 4000 }, (_, i) => Math.sin(i / 9)),
      16_000,
    )
    const readable = survives(wav, speechSamples)
    expect(readable).toBeGreaterThan(20) // the damage is not always fatal, so both outcomes were seen
    expect(readable).toBeLessThan(400)
  })

  test('SentencePiece vocabulary', () => {
    const piece = (name: string, score: number) => {
      const body = [0x0a, name.length, ...text.encode(name), 0x15, ...new Uint8Array(Float32Array.of(score).buffer)]
      return [0x0a, body.length, ...body]
    }
    const model = Uint8Array.from(['<unk>', '<s>', '</s>', 'a', 'b', 'ab'].flatMap((name, i) => piece(name, -i)))
    survives(model, fromSentencePiece)
  })

  test('tokenizer.json', () => {
    survives(text.encode(canonicalJson(tinyTokenizer())), (bytes) => {
      let json: unknown
      try {
        json = JSON.parse(decode(bytes))
      } catch {
        return // not JSON: whoever reads the file says so
      }
      loadTokenizer(json).encode('some text')
    })
  })

  test('manifest', async () => {
    const { manifest } = await buildFirmware(findRecipe('tiny-random'), { out: join(folder, 'image') })
    survives(text.encode(canonicalJson(manifest)), (bytes) => parseManifest(decode(bytes)))
  })

  test('PEFT adapter', () => {
    const sites = { qkv: { path: 'attn/qkv', in: 16, parts: ['q', 'k', 'v'].map((name) => ({ name, out: 16 })) } }
    const abi = abiOf({ layers: 1, width: 16, vocabulary: 32, kvHeads: 1, headWidth: 16, sourceHeadWidth: 16, sites })
    const key = 'base_model.model.model.layers.0.self_attn.q_proj'
    const weights = writeSafetensors({
      [`${key}.lora_A.weight`]: hostTensor('float32', [2, 16], new Float32Array(32).fill(0.1)),
      [`${key}.lora_B.weight`]: hostTensor('float32', [16, 2], new Float32Array(32).fill(0.1)),
    })
    const config = { peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['q_proj'] }
    writeFileSync(join(folder, 'adapter_config.json'), JSON.stringify(config))
    const readable = survives(
      weights,
      (bytes) => {
        writeFileSync(join(folder, 'adapter_model.safetensors'), bytes)
        readPeftAdapter(folder, abi)
      },
      150,
    )
    expect(readable).toBeGreaterThan(5)
  })
})
