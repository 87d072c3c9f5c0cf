/** `m4fm adapter …` and `--adapter` on `tiny-random`, as processes: packages, plain PEFT folders, names, what is refused. */

import { generateKeyPairSync } from 'node:crypto'
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type AdapterFacts,
  type AdapterTensors,
  packTrained,
  peftFiles,
  readPeftAdapter,
  type TrainedAdapter,
  type TrainedPart,
  usableAdapter,
  writeAdapterPackage,
  writePeftFolder,
} from '../src/adapters/index.js'
import { openCheckpoint, writeSafetensors } from '../src/checkpoint/index.js'
import { COMMANDS, isGroup } from '../src/cli/commands.js'
import { unpackLora } from '../src/cli/packed-lora.js'
import { hostTensor, normalSource } from '../src/core/index.js'
import { type Abi, type Manifest, manifestDigest, readManifest } from '../src/firmware/index.js'
import { ensureCompiled, runCli } from './helpers/cli.js'

interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string; readonly details: object }
}
interface RunJson {
  readonly output: { readonly text: string; readonly label: string; readonly scores: { label: string }[] }
  readonly report: { readonly adapter?: string; readonly tokens: { readonly prompt: number } }
  readonly adapter?: { readonly name: string; readonly fit?: string; readonly warnings: readonly string[] }
}

const LABELS = ['good', 'bad', 'so so']
let home: string
let manifest: Manifest
let digest: string
const m4fm = (...words: string[]) => runCli(words, { home })
/** Two at a time: a start costs a whole core for a quarter of a second. */
const both = <A, B>(a: Promise<A>, b: Promise<B>) => Promise.all([a, b])
const at = (...names: string[]) => join(home, ...names)
const ask = (...words: string[]) => m4fm('run', 'tiny-random', '--task', ...words, '--json')
const sign = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
const stranger = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })

beforeAll(async () => {
  ensureCompiled()
  home = await mkdtemp(join(tmpdir(), 'm4-adapter-cli-'))
  const built = await m4fm('build', 'tiny-random', '--json')
  expect(built.stderr).toBe('')
  manifest = await readManifest(at('images', 'tiny-random'))
  digest = manifestDigest(manifest)
  await writeFile(at('private.pem'), sign.privateKey.export({ type: 'pkcs8', format: 'pem' }))
  await writeFile(at('public.pem'), sign.publicKey.export({ type: 'spki', format: 'pem' }))
  await writeFile(at('stranger.pem'), stranger.publicKey.export({ type: 'spki', format: 'pem' }))
}, 120_000)
afterAll(() => rm(home, { recursive: true, force: true }))

/** LoRA of queries and values in every layer, large enough to change what tiny-random says. */
function lora(abi: Abi, seed: number, size = 1): TrainedAdapter {
  const normal = normalSource(seed)
  const fill = (count: number) => Float32Array.from({ length: count }, () => size * normal())
  const site = abi.sites.qkv!
  const parts = Array.from({ length: abi.layers }, (_, layer) =>
    (['q', 'v'] as const).map((part): TrainedPart => {
      const { out } = site.parts.find(({ name }) => name === part)!
      return { layer, site: 'qkv', part, rank: 2, alpha: 4, a: fill(site.in * 2), b: fill(2 * out) }
    }),
  ).flat()
  return { kind: 'lora', rsLora: false, parts }
}

interface PackageOptions extends Partial<AdapterFacts> {
  readonly trained?: TrainedAdapter
}

/** A package made on the image, unless told otherwise. */
async function packageAt(name: string, { trained = lora(manifest.abi, 5), ...facts }: PackageOptions = {}) {
  const samples = [
    { text: 'a lovely film', label: 'good' },
    { text: 'a dull one', label: 'bad' },
  ]
  return writeAdapterPackage(at(name), {
    facts: {
      name,
      version: '1.2.3',
      app: 'org.example.mail',
      task: 'classify',
      path: 2,
      kind: trained.kind,
      prompt: { template: 'Say of {text}:', labels: LABELS },
      base: { abi: manifest.abi.id, module: 'backbone', image: { name: manifest.name, digest }, sizes: { width: 64 } },
      training: {
        data: { digest: 'b'.repeat(64), samples: 40 },
        recipe: { rank: 2, parts: ['q', 'v'] },
        seed: 7,
        steps: 30,
        seconds: 12.5,
        peakMemoryBytes: 90_000_000,
        loss: { first: 4.61, last: 0.37 },
      },
      metric: { name: 'accuracy', value: 0.5, count: 2, stderr: 0.35 },
      licence: 'Apache-2.0',
      created: '2026-11-20T09:30:00Z',
      ...facts,
    },
    peft: peftFiles(manifest.abi, trained),
    evaluation: samples,
  })
}

const OTHER_BASE = { abi: 'abi-0123456789abcdef', module: 'backbone', image: { name: 'other', digest: 'a'.repeat(64) } }
const onOtherImage = () => ({
  abi: manifest.abi.id,
  module: 'backbone',
  image: { name: 'tiny-older', digest: 'c'.repeat(64) },
})
/** What the runtime would take from a PEFT folder. */
const tensorsOf = (folder: string) => usableAdapter(readPeftAdapter(folder, manifest.abi))
const expectSame = (found: AdapterTensors, wanted: AdapterTensors) => expect(found.lora).toEqual(wanted.lora)

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
        tensors: 4 * manifest.abi.layers,
        types: ['F32'],
        places: [
          { module: 'self_attn.q_proj', layers: manifest.abi.layers, ranks: [2], alphas: [4], scales: [2] },
          { module: 'self_attn.v_proj', layers: manifest.abi.layers, ranks: [2], alphas: [4], scales: [2] },
        ],
      },
      signature: { signed: false },
      image: { fit: 'same', digest, matched: 4 * manifest.abi.layers, total: 4 * manifest.abi.layers, findings: [] },
    })
    for (const word of [
      'mail 1.2.3 of org.example.mail',
      '"Say of {text}:"',
      'good, bad, so so',
      'self_attn.q_proj of 2 layers: rank 2, alpha 4, scale 2',
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
    await writePeftFolder(at('plain'), manifest.abi, lora(manifest.abi, 6))
    const deeper = { ...manifest.abi, layers: 3 }
    await writePeftFolder(at('deeper'), deeper, lora(deeper, 6))
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
    const { width } = manifest.abi
    const prompt: TrainedAdapter = { kind: 'prompt', tokens: 3, embeddings: new Float32Array(3 * width).fill(0.1) }
    await writePeftFolder(at('soft'), manifest.abi, prompt)
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

describe('the store', () => {
  test('install, list, use by name, remove', async () => {
    await packageAt('letters')
    const install = await m4fm('adapter', 'install', at('letters'), '--image', 'tiny-random', '--json')
    expect([install.code, install.stderr]).toEqual([0, ''])
    expect(install.json()).toMatchObject({ name: 'letters', fit: 'same', path: at('adapters', 'letters') })
    const [list, inspect] = await both(
      m4fm('adapter', 'list', '--image', 'tiny-random', '--json'),
      m4fm('adapter', 'inspect', 'letters', '--json'),
    )
    expect(list.json()).toMatchObject({
      adapters: [{ name: 'letters', version: '1.2.3', kind: 'lora', fit: 'same', signed: false }],
    })
    expect(inspect.json()).toMatchObject({ folder: at('adapters', 'letters'), manifest: { name: 'letters' } })
    const words = ['generate', 'a b', '--max-tokens', '24']
    const [base, adapted] = await both(ask(...words), ask(...words, '--adapter', 'letters'))
    expect(adapted.json<RunJson>()).toMatchObject({
      report: { adapter: 'letters' },
      adapter: { name: 'letters', fit: 'same', warnings: [] },
    })
    expect(adapted.json<RunJson>().output.text).not.toBe(base.json<RunJson>().output.text)
    expect(base.json<object>()).not.toHaveProperty('adapter')
    const [mistyped, imported] = await both(
      ask(...words, '--adapter', 'leters'),
      m4fm('import', 'letters', '--image', 'tiny-random', '--json'),
    )
    expect(imported.json()).toMatchObject({ kind: 'peft', matched: 8, total: 8 })
    expect(mistyped.json<ErrorJson>().error.hint).toBe('Did you mean letters?')
    const removed = await m4fm('adapter', 'remove', 'letters', '--json')
    expect(removed.json()).toEqual({ removed: 'letters' })
    const [empty, again] = await both(m4fm('adapter', 'list', '--json'), m4fm('adapter', 'remove', 'letters', '--json'))
    expect(empty.json()).toEqual({ adapters: [] })
    expect([again.code, again.json<ErrorJson>().error.code]).toEqual([2, 'UNKNOWN_NAME'])
  })

  test('another ABI only with --force, another app only with --replace; a damaged one is listed as that', async () => {
    await packageAt('foreign', { base: OTHER_BASE })
    await packageAt('shared')
    await cp(at('shared'), at('theirs'), { recursive: true })
    const theirs = await writeTheirs()
    const install = (...words: string[]) => m4fm('adapter', 'install', ...words, '--image', 'tiny-random', '--json')
    const [refused, forced] = await both(install(at('foreign')), install(at('shared')))
    expect([refused.code, refused.json<ErrorJson>().error.code]).toEqual([2, 'NOT_AVAILABLE'])
    expect(refused.json<ErrorJson>().error.details).toMatchObject({ reason: 'adapter-incompatible' })
    expect(forced.code).toBe(0)
    const [taken, other] = await both(install(theirs), install(at('foreign'), '--force'))
    expect(taken.json<ErrorJson>().error).toMatchObject({ details: { reason: 'adapter-name-taken' } })
    expect(other.json()).toMatchObject({ fit: 'other-abi' })
    expect((await install(theirs, '--replace')).json()).toMatchObject({ app: 'org.example.other' })
    await writeFile(at('adapters', 'shared', 'eval.jsonl'), '{"text":"changed"}\n')
    const list = await m4fm('adapter', 'list', '--image', 'tiny-random')
    expect(list.stdout).toMatch(/^foreign .*other-abi/m)
    expect(list.stdout).toMatch(/^shared {2,}damaged/m)
    const { adapters } = (await m4fm('adapter', 'list', '--json')).json<{ adapters: { problem?: object }[] }>()
    expect(adapters[1]!.problem).toMatchObject({ code: 'DIGEST_MISMATCH' })
    for (const name of ['foreign', 'shared']) await m4fm('adapter', 'remove', name)
  })

  /** The name `shared` in the hands of another app. */
  async function writeTheirs(): Promise<string> {
    const folder = at('theirs')
    const path = join(folder, 'm4fm.json')
    await writeFile(path, (await readFile(path, 'utf8')).replace('org.example.mail', 'org.example.other'))
    return folder
  }
})

describe('sign and verify', () => {
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

describe('other forms', () => {
  const convert = (from: string, to: string, out: string, ...words: string[]) =>
    m4fm('adapter', 'convert', from, '--to', to, '--out', out, '--image', 'tiny-random', ...words, '--json')

  test('PEFT → GGUF → .onnx_adapter → PEFT and the other way round are the same adapter', async () => {
    await packageAt('round')
    const wanted = tensorsOf(at('round'))
    const [gguf, onnx] = await both(
      convert(at('round'), 'gguf', at('round.gguf')),
      convert(at('round'), 'onnx', at('round.onnx_adapter')),
    )
    expect([gguf.code, gguf.stderr, onnx.code, onnx.stderr]).toEqual([0, '', 0, ''])
    expect((await readFile(at('round.gguf'))).length).toBe(gguf.json<{ bytes: number }>().bytes)
    const [fromGguf, fromOnnx] = await both(
      convert(at('round.gguf'), 'peft', at('from-gguf')),
      convert(at('round.onnx_adapter'), 'peft', at('from-onnx')),
    )
    expect([fromGguf.code, fromOnnx.code]).toEqual([0, 0])
    expectSame(tensorsOf(at('from-gguf')), wanted)
    expectSame(tensorsOf(at('from-onnx')), wanted)
    const [there, back] = await both(
      convert(at('round.gguf'), 'onnx', at('second.onnx_adapter')),
      convert(at('round.onnx_adapter'), 'gguf', at('second.gguf')),
    )
    expect([there.code, back.code]).toEqual([0, 0])
    expect(await readFile(at('second.onnx_adapter'))).toEqual(await readFile(at('round.onnx_adapter')))
    await convert(at('second.gguf'), 'peft', at('from-second'))
    expectSame(tensorsOf(at('from-second')), wanted)
    const half = await convert(at('round'), 'gguf', at('half.gguf'), '--dtype', 'float16')
    expect(half.json<{ bytes: number }>().bytes).toBeLessThan(gguf.json<{ bytes: number }>().bytes)
  })

  test('what cannot be converted is refused, and nothing is written', async () => {
    await packageAt('stay')
    await packageAt('alien', { base: OTHER_BASE })
    const cases: readonly (readonly [readonly [string, string, string], number, string])[] = [
      [[at('stay'), 'peft', at('x')], 2, 'USAGE'],
      [[at('stay'), 'gguff', at('x')], 2, 'UNKNOWN_NAME'],
      [[at('stay'), 'gguf', at('stay', 'x.gguf')], 2, 'USAGE'],
      [[at('alien'), 'gguf', at('x')], 2, 'NOT_AVAILABLE'],
      [[at('public.pem'), 'peft', at('x')], 3, 'FORMAT_UNSUPPORTED'],
      [[at('nothing'), 'gguf', at('x')], 3, 'FILE_NOT_FOUND'],
    ]
    for (const [words, code, name] of cases) {
      const result = await convert(...words)
      expect([result.code, result.json<ErrorJson>().error.code], words.join(' ')).toEqual([code, name])
    }
    expect(await readdir(home)).not.toContain('x')
    expect(await readdir(at('stay'))).not.toContain('x.gguf')
  })

  test('merge adds the product to the weights, and only there', async () => {
    await packageAt('mergeable')
    const names = ['model.layers.0.self_attn.q_proj.weight', 'model.layers.1.self_attn.q_proj.weight']
    const values = ['model.layers.0.self_attn.v_proj.weight', 'model.layers.1.self_attn.v_proj.weight']
    const { sourceHeadWidth, kvHeads, width } = manifest.abi
    const base = Object.fromEntries([
      ...names.map((name) => [name, hostTensor('float32', [width, width])] as const),
      ...values.map((name) => [name, hostTensor('float32', [kvHeads * sourceHeadWidth, width])] as const),
      ['model.norm.weight', hostTensor('float32', [width], new Float32Array(width).fill(1))] as const,
    ])
    await mkdir(at('base'))
    await writeFile(at('base', 'model.safetensors'), writeSafetensors(base))
    const merge = (out: string) =>
      m4fm('adapter', 'merge', at('mergeable'), '--base', at('base'), '--out', out, '--json')
    const [done, inside] = await both(merge(at('merged', 'model.safetensors')), merge(at('base', 'model2.safetensors')))
    expect([done.code, done.stderr]).toEqual([0, ''])
    expect(done.json()).toMatchObject({ tensors: 5, merged: 4 })
    expect(inside.json<ErrorJson>().error.code).toBe('INVALID_REQUEST')
    using merged = openCheckpoint(at('merged', 'model.safetensors'))
    using adapter = openCheckpoint(at('mergeable', 'adapter_model.safetensors'))
    const half = (letter: string) =>
      adapter.tensors.get(`base_model.model.${names[0]!.replace('weight', `lora_${letter}.weight`)}`)!.float32()
    const [a, b] = [half('A'), half('B')]
    // Scale 4 / 2; the base is zero, so what is there is B·A.
    const wanted = 2 * (b[0]! * a[0]! + b[1]! * a[width]!)
    expect(merged.tensors.get(names[0]!)!.float32()[0]).toBeCloseTo(wanted, 5)
    expect(
      merged.tensors
        .get('model.norm.weight')!
        .float32()
        .every((value) => value === 1),
    ).toBe(true)
  })

  test('packed LoRA comes apart: what q and k share goes to both, what is zero to none', () => {
    const site = manifest.abi.sites.qkv!
    const out = site.parts.reduce((sum, part) => sum + part.out, 0)
    const a = Float32Array.from({ length: site.in * 2 }, (_, i) => i + 1)
    const b = new Float32Array(2 * out)
    b[0] = 1
    b[site.parts[0]!.out] = 2
    const packed = new Map([['layers.1/attn/qkv', { rank: 2, a, b }]])
    const { parts } = unpackLora(manifest.abi, { lora: packed })
    expect(parts.map(({ layer, part, rank, alpha }) => [layer, part, rank, alpha])).toEqual([
      [1, 'q', 1, 1],
      [1, 'k', 1, 1],
    ])
    for (const part of parts)
      expect(Array.from(part.a)).toEqual(Array.from({ length: site.in }, (_, row) => 2 * row + 1))
    expect(parts.map((part) => part.b[0])).toEqual([1, 2])
    expect(
      packTrained(manifest.abi, 'again', { kind: 'lora', rsLora: false, parts }).lora.get('layers.1/attn/qkv')!.rank,
    ).toBe(2)
    expect(() => unpackLora({ ...manifest.abi, sites: {} }, { lora: packed })).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_NAME' }),
    )
  })
})

describe('run and chat with an adapter', () => {
  test('classify takes labels and prompt from the package; given ones win', async () => {
    await packageAt('judge')
    const words = ['classify', 'a film', '--adapter', at('judge')]
    const [own, same] = await both(
      ask(...words),
      ask(...words, '--template', 'Say of {}:', '--labels', LABELS.join(',')),
    )
    expect(own.stderr).toBe('')
    expect(
      own
        .json<RunJson>()
        .output.scores.map(({ label }) => label)
        .sort(),
    ).toEqual([...LABELS].sort())
    expect(own.json<RunJson>().output).toEqual(same.json<RunJson>().output)
    const [other, two] = await both(
      ask(...words, '--template', 'Well, {} is'),
      m4fm('run', 'tiny-random', '--task', ...words, '--labels', 'yes,no'),
    )
    expect(other.json<RunJson>().output).not.toEqual(own.json<RunJson>().output)
    expect(two.stdout).toMatch(/^(yes|no)\n/)
    expect(two.stderr).toContain('prompt of adapter judge: "Say of {}:"')
    const lines = await ask(...words, '--instruction', 'Judge.')
    expect(lines.json<RunJson>().report.tokens.prompt).toBeGreaterThan(own.json<RunJson>().report.tokens.prompt)
  })

  test('generate puts the text as the package says, unless a template is given', async () => {
    await packageAt('writer', { task: 'generate', prompt: { template: 'Q: {}\n' } })
    const words = ['generate', 'a b', '--max-tokens', '12', '--adapter', at('writer')]
    const [own, written] = await both(ask(...words), ask(...words.with(1, 'Q: a b\n'), '--template', '{}'))
    expect(own.json<RunJson>().output.text).toBe(written.json<RunJson>().output.text)
    expect(own.json<RunJson>().report.tokens).toEqual(written.json<RunJson>().report.tokens)
    const [twice, none] = await both(
      ask(...words, '--chat', '--template', '{}'),
      ask('classify', 'x', '--adapter', at('writer')),
    )
    expect(twice.json<ErrorJson>().error.code).toBe('USAGE')
    expect(none.json<ErrorJson>().error).toMatchObject({ code: 'USAGE', hint: expect.stringContaining('writer') })
  })

  test('another image is a visible warning, another ABI and no effect are refused', async () => {
    await packageAt('aged', { base: onOtherImage() })
    await packageAt('wrong', { base: OTHER_BASE })
    await packageAt('idle', { trained: lora(manifest.abi, 5, 0) })
    const words = ['generate', 'a b', '--max-tokens', '2', '--adapter']
    const [aged, shown] = await both(
      ask(...words, at('aged')),
      m4fm('run', 'tiny-random', '--task', ...words, at('aged')),
    )
    expect(aged.json<RunJson>().adapter).toMatchObject({
      fit: 'revalidate',
      warnings: [expect.stringContaining('m4fm adapter revalidate')],
    })
    expect(shown.stderr).toMatch(/warning: adapter aged .*`m4fm adapter revalidate/)
    const [wrong, idle] = await both(ask(...words, at('wrong')), ask(...words, at('idle')))
    expect([wrong.code, wrong.json<ErrorJson>().error]).toMatchObject([
      2,
      {
        code: 'NOT_AVAILABLE',
        details: { reason: 'adapter-incompatible', expected: OTHER_BASE.abi, got: manifest.abi.id },
      },
    ])
    expect([idle.code, idle.json<ErrorJson>().error.code]).toEqual([3, 'FORMAT_INVALID'])
    expect(idle.json<ErrorJson>().error.message).toContain('zero')
  })

  test('a conversation changes its adapter between two turns', async () => {
    await packageAt('first')
    await packageAt('second', { trained: lora(manifest.abi, 17) })
    await m4fm('adapter', 'install', at('first'), '--image', 'tiny-random')
    await m4fm('adapter', 'install', at('second'), '--image', 'tiny-random')
    const stdin = 'a\n/adapter second\na\n/adapter none\na\n/quit\n'
    const chat = (input: string) =>
      runCli(['chat', 'tiny-random', '--adapter', 'first', '--max-tokens', '3', '--json'], { home, stdin: input })
    const [turns, unknown] = await both(chat(stdin), chat('/adapter secnd\n'))
    expect(turns.json<{ report: { adapter?: string } }[]>().map(({ report }) => report.adapter)).toEqual([
      'first',
      'second',
      undefined,
    ])
    expect([unknown.code, unknown.json<ErrorJson>().error.code]).toEqual([2, 'UNKNOWN_NAME'])
  })
})
