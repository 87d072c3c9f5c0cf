/** `m4fm adapter` on `tiny-random`, as processes: its help, what `inspect` tells, signatures. */

import { generateKeyPairSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { beforeAll, describe, expect, test } from 'vitest'
import { type TrainedAdapter, writePeftFolder } from '../src/adapters/index.js'
import { trainedLora } from '../src/adapters/testing/fixtures.js'
import { COMMANDS, isGroup } from '../src/cli/commands.js'
import { both, type ErrorJson, LABELS, OTHER_BASE, useAdapterHome } from './helpers/adapter-home.js'

const on = useAdapterHome()
const { at, m4fm, ask, packageAt, onOtherImage } = on

describe('help', () => {
  test('every command of the group has an example and its exit codes', async () => {
    const group = COMMANDS.adapter!
    if (!isGroup(group)) throw new Error('adapter is a group')
    const names = Object.keys(group.commands)
    expect(names).toEqual(expect.arrayContaining(['inspect', 'merge', 'convert', 'install', 'list', 'remove', 'sign']))
    for (let i = 0; i < names.length; i += 2)
      for (const { code, stdout } of await Promise.all(
        names.slice(i, i + 2).map((name) => m4fm('adapter', name, '--help')),
      )) {
        expect(code).toBe(0)
        expect(stdout).toMatch(/Example:\n {2}\$ m4fm adapter [\w-]+/)
        expect(stdout).toMatch(/Exit codes: 0 done;/)
        expect(stdout).toContain('--json')
      }
  })

  test('a bare group shows its commands and is misuse', async () => {
    const [bare, json] = await both(m4fm('adapter'), m4fm('adapter', '--json'))
    expect(bare.code).toBe(2)
    expect(bare.stderr).toContain('inspect [options] <adapter>')
    expect(json.code).toBe(2)
    expect(json.json<ErrorJson>().error).toMatchObject({ code: 'USAGE', details: { known: expect.any(Array) } })
    const [unknown, without] = await both(m4fm('adapter', 'inspct', 'x'), m4fm('adapter', 'sign', 'x', '--json'))
    expect(unknown.code).toBe(2)
    expect(unknown.stderr).toMatch(/inspct.*inspect/)
    expect(without.code).toBe(2)
    expect(without.json<ErrorJson>().error.message).toContain('--key')
  })
})

describe('inspect', () => {
  test('a package: all that its author said, and that it fits', async () => {
    const { digest: packageDigest, bytes } = await packageAt('mail')
    const words = ['adapter', 'inspect', at('mail'), '--image', 'tiny-random']
    const [json, text] = await both(m4fm(...words, '--json'), m4fm(...words))
    expect([json.code, json.stderr, text.code]).toEqual([0, '', 0])
    expect(json.json()).toMatchObject({
      folder: at('mail'),
      package: true,
      kind: 'lora',
      bytes,
      digest: packageDigest,
      manifest: { name: 'mail', prompt: { labels: LABELS }, metric: { value: 0.5 }, training: { steps: 30 } },
      tensors: {
        tensors: 4 * on.manifest.abi.layers,
        types: ['F32'],
        places: [
          { module: 'self_attn.q_proj', layers: on.manifest.abi.layers, ranks: [2], alphas: [8], scales: [4] },
          { module: 'self_attn.v_proj', layers: on.manifest.abi.layers, ranks: [2], alphas: [8], scales: [4] },
        ],
      },
      signature: { signed: false },
      image: {
        fit: 'same',
        digest: on.digest,
        matched: 4 * on.manifest.abi.layers,
        total: 4 * on.manifest.abi.layers,
        findings: [],
      },
    })
    for (const word of [
      'mail 1.2.0 of org.example.reader',
      '"Say of {text}:"',
      'good, bad, so so',
      'self_attn.q_proj of 2 layers: rank 2, alpha 8, scale 4',
      'accuracy 0.500 ± 0.350 on 2 samples',
      '30 steps on 40 samples, seed 7',
      'Apache-2.0',
      'same: made on this very image',
      '8 of 8 fit',
    ])
      expect(text.stdout).toContain(word)
  })

  test('what does not fit has the exit code with which run refuses it', async () => {
    await packageAt('older', { base: onOtherImage() })
    await packageAt('foreign', { base: OTHER_BASE })
    const inspect = (name: string) => m4fm('adapter', 'inspect', at(name), '--image', 'tiny-random')
    const [older, foreign] = await both(inspect('older'), inspect('foreign'))
    expect(older.code).toBe(0)
    expect(older.stdout).toContain('revalidate')
    expect(older.stderr).toContain('m4fm adapter revalidate')
    expect(foreign.code).toBe(2)
    expect(foreign.stdout).toContain('other-abi')
  })

  test('a plain PEFT folder, with no image to compare with, and with one that it does not fit', async () => {
    await writePeftFolder(at('plain'), on.manifest.abi, on.lora(3))
    const deeper = { ...on.manifest.abi, layers: 3 }
    await writePeftFolder(at('deeper'), deeper, trainedLora(deeper, 3))
    const [plain, deep] = await both(
      m4fm('adapter', 'inspect', at('plain'), '--json'),
      m4fm('adapter', 'inspect', at('deeper'), '--image', 'tiny-random', '--json'),
    )
    expect(plain.code).toBe(0)
    expect(plain.json()).toMatchObject({ package: false, kind: 'lora', tensors: { places: [{}, {}] } })
    expect(plain.json<object>()).not.toHaveProperty('image')
    expect(plain.json<object>()).not.toHaveProperty('manifest')
    expect(deep.code).toBe(3)
    const { image } = deep.json<{ image: { matched: number; total: number; findings: { code: string }[] } }>()
    expect(image).toMatchObject({ matched: 8, total: 12 })
    expect(image.findings.map(({ code }) => code)).toContain('unknown-site')
  })

  test('virtual tokens; a file; a folder that is none', async () => {
    const { width } = on.manifest.abi
    const prompt: TrainedAdapter = { kind: 'prompt', tokens: 3, embeddings: new Float32Array(3 * width).fill(0.1) }
    await writePeftFolder(at('soft'), on.manifest.abi, prompt)
    const inspect = (path: string) => m4fm('adapter', 'inspect', path, '--image', 'tiny-random', '--json')
    const [soft, file] = await both(inspect(at('soft')), inspect(at('soft', 'adapter_model.safetensors')))
    expect(soft.json()).toMatchObject({ kind: 'prompt', tensors: { tokens: 3, parameters: 3 * width } })
    expect(file.json<ErrorJson>().error).toMatchObject({
      code: 'FORMAT_UNSUPPORTED',
      hint: expect.stringContaining('import'),
    })
    const [none, name] = await both(inspect(at('images')), inspect('mial'))
    expect([none.code, none.json<ErrorJson>().error.code]).toEqual([3, 'FILE_NOT_FOUND'])
    expect([name.code, name.json<ErrorJson>().error.code]).toEqual([2, 'UNKNOWN_NAME'])
  })
})

describe('sign and verify', () => {
  const sign = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const stranger = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })

  beforeAll(async () => {
    await writeFile(at('private.pem'), sign.privateKey.export({ type: 'pkcs8', format: 'pem' }))
    await writeFile(at('public.pem'), sign.publicKey.export({ type: 'spki', format: 'pem' }))
    await writeFile(at('stranger.pem'), stranger.publicKey.export({ type: 'spki', format: 'pem' }))
  })

  test('signed, verified with the key and without, refused with another and after a change', async () => {
    await packageAt('sealed')
    const verify = (...words: string[]) => m4fm('adapter', 'verify', at('sealed'), ...words, '--json')
    const [open, wanted] = await both(verify(), verify('--key', at('public.pem')))
    expect([open.code, open.json()]).toMatchObject([0, { ok: true, intact: true, signature: { signed: false } }])
    expect([wanted.code, wanted.json()]).toMatchObject([3, { ok: false, intact: true }])
    const signed = await m4fm('adapter', 'sign', at('sealed'), '--key', at('private.pem'), '--json')
    expect([signed.code, signed.stderr]).toEqual([0, ''])
    const { keyId } = signed.json<{ keyId: string }>()
    const [mine, anybody] = await both(verify('--key', at('public.pem')), verify())
    expect(mine.json()).toMatchObject({ ok: true, signature: { valid: true, trusted: true, keyId } })
    expect(anybody.json()).toMatchObject({ ok: true, signature: { valid: true, trusted: false } })
    const [theirs, install] = await both(
      verify('--key', at('stranger.pem')),
      m4fm('adapter', 'install', at('sealed'), '--image', 'tiny-random', '--key', at('stranger.pem'), '--json'),
    )
    expect([theirs.code, theirs.json()]).toMatchObject([3, { ok: false, signature: { valid: false } }])
    expect(install.json<ErrorJson>().error).toMatchObject({ details: { reason: 'adapter-not-trusted' } })
    const weights = at('sealed', 'adapter_model.safetensors')
    const bytes = await readFile(weights)
    bytes[bytes.length - 1]! ^= 1
    await writeFile(weights, bytes)
    const [changed, run] = await both(verify(), ask('generate', 'a', '--adapter', at('sealed')))
    expect([changed.code, changed.json()]).toMatchObject([3, { ok: false, intact: false }])
    expect([run.code, run.json<ErrorJson>().error.code]).toEqual([3, 'DIGEST_MISMATCH'])
  })
})
