/** Flashing as a device lives it: two slots, power cuts, a second process, a full disk, an image that does not run. */

import { type ChildProcess, spawn } from 'node:child_process'
import { access, chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { liveHandles } from '../src/core/disposal.js'
import type { Progress } from '../src/core/progress.js'
import { cpuKey, type Engine, openEngine, type Session } from '../src/engine/index.js'
import { buildFirmware } from '../src/firmware/build.js'
import { EMPTY_DEVICE, readDevice, type Slot, slotFolder } from '../src/firmware/device.js'
import { type FlashOptions, flashImage, rollback } from '../src/firmware/flash.js'
import { openImage, resolveImage } from '../src/firmware/image.js'
import { canonicalJson, manifestDigest, parseManifest, type Role } from '../src/firmware/manifest.js'
import { findRecipe } from '../src/firmware/recipes.js'
import { verifyImage } from '../src/firmware/verify.js'
import { writeToyImage } from './helpers/toy-image.js'

let engine: Engine
let home: string
/** Images `one` and `two`, copied into each test's home. */
let template: string
const image = (name: string) => join(home, 'images', name)
const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  )
const flash = (name: string, options: Partial<FlashOptions> = {}) =>
  flashImage(image(name), { home, engine, prepackMinBytes: 1024, ...options })
/** What must hold whatever happened: no temporary folder, and the active slot is the one given, whole. */
async function expectActive(slot: Slot, name: string): Promise<void> {
  const state = await readDevice(home)
  expect(state.active).toBe(slot)
  expect(state.slots[slot]).toMatchObject({ state: 'good', name })
  expect(await resolveImage('device', { home })).toBe(slotFolder(home, slot))
  expect(await verifyImage(slotFolder(home, slot))).toMatchObject({ ok: true })
}
const leftovers = async () => (await readdir(join(home, 'device'))).filter((name) => /tmp|lock/.test(name))

beforeAll(async () => {
  engine = await openEngine({ backend: 'ffi' })
  template = await mkdtemp(join(tmpdir(), 'm4fm-images-'))
  await writeToyImage(join(template, 'images', 'one'), { name: 'one', version: '1.0.0', seed: 1 })
  await writeToyImage(join(template, 'images', 'two'), { name: 'two', version: '2.0.0', seed: 2 })
})
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'm4fm-device-'))
  await cp(template, home, { recursive: true })
})
afterEach(() => rm(home, { recursive: true, force: true }))
afterAll(async () => {
  await rm(template, { recursive: true, force: true })
  expect(liveHandles()).toEqual({})
})

describe('flash', () => {
  test('the first image goes into slot A, the next into B; blobs share their space with the source', async () => {
    const tasks = new Set<string>()
    const first = await flash('one', { onProgress: ({ task }: Progress) => tasks.add(task.split(' ')[0]!) })
    expect(first).toMatchObject({ slot: 'A', name: 'one', copiedBytes: 0 })
    expect(first.selfTest.graphs.map(({ name }) => name).sort()).toEqual(['backbone.decode', 'backbone.embed'])
    expect([...tasks].sort()).toEqual(['prepack', 'self-test', 'verify', 'write'])
    const [blob] = Object.keys((await openImage(image('one'))).manifest.blobs)
    const inode = async (folder: string) => (await stat(join(folder, 'blobs', blob!))).ino
    expect(await inode(slotFolder(home, 'A'))).toBe(await inode(image('one')))
    await expectActive('A', 'one')
    expect(await flash('two')).toMatchObject({ slot: 'B' })
    await expectActive('B', 'two')
    expect((await readDevice(home)).slots.A).toMatchObject({ state: 'good', name: 'one' })
    expect(await leftovers()).toEqual([])
  })

  test('graphs that gain are prepacked for this CPU and give the same numbers; others and other CPUs use the blobs', async () => {
    const { prepacked } = await flash('one')
    expect(prepacked).toMatchObject({ graphs: ['backbone.decode'], withoutGain: ['backbone.embed'] })
    const slot = slotFolder(home, 'A')
    const here = await openImage(slot, { cpuKey: cpuKey(engine) })
    const elsewhere = await openImage(slot, { cpuKey: 'arm64-ort9.9.9-0' })
    expect(here.prepacked).toBe(true)
    expect(elsewhere.prepacked).toBe(false)
    expect(here.graphPath('backbone', 'decode')).toContain(join('prepacked', cpuKey(engine)))
    expect(here.graphPath('backbone', 'embed')).toBe(elsewhere.graphPath('backbone', 'embed'))
    expect(elsewhere.graphPath('backbone', 'decode')).toContain('blobs')
    expect(await logits(here.graphPath('backbone', 'decode'))).toEqual(
      await logits(elsewhere.graphPath('backbone', 'decode')),
    )
  })

  test('small graphs are not prepacked by default, nor is anything on a backend that cannot', async () => {
    expect((await flashImage(image('one'), { home, engine })).prepacked).toMatchObject({ graphs: [], bytes: 0 })
    const other: Engine = { ...engine, backend: 'node' }
    expect((await flash('two', { engine: other })).prepacked).toBeUndefined()
    expect((await openImage(slotFolder(home, 'B'), { cpuKey: cpuKey(engine) })).prepacked).toBe(false)
  })

  test('only the modules that are named are prepacked', async () => {
    expect((await flash('one', { prepackRoles: [] })).prepacked).toMatchObject({ graphs: [], bytes: 0 })
    const all = (await flash('one')).prepacked!.graphs
    const [role] = all[0]!.split('.')
    const some = (await flash('one', { prepackRoles: [role as Role] })).prepacked!.graphs
    expect(some).toEqual(all.filter((name) => name.startsWith(`${role}.`)))
    expect(some.length).toBeGreaterThan(0)
  })

  test('a prepacked graph that gives other numbers is reported and not used', async () => {
    const lying: Engine = {
      ...engine,
      async createSession(model, options) {
        const session = await engine.createSession(model, options)
        if (!('path' in model) || !model.path.includes('prepacked')) return session
        return {
          inputs: session.inputs,
          outputs: session.outputs,
          bind: () => session.bind(),
          endProfiling: () => session.endProfiling(),
          dispose: () => session.dispose(),
          [Symbol.dispose]: () => session.dispose(),
          async run(...parameters) {
            const results = await session.run(...parameters)
            ;(results.logits!.data as Float32Array)[0]! += 1e-6
            return results
          },
        }
      },
    }
    const { prepacked } = await flash('one', { engine: lying })
    expect(prepacked).toMatchObject({ graphs: [], differing: ['backbone.decode'], bytes: 0 })
    await expectActive('A', 'one')
    expect((await openImage(slotFolder(home, 'A'), { cpuKey: cpuKey(engine) })).prepacked).toBe(false)
  })

  test('blobs from another disk are copied, and verified where they lie', async ({ skip }) => {
    const elsewhere = await mkdtemp(join('/dev/shm', 'm4fm-')).catch(() => skip('no second file system'))
    try {
      if ((await stat(elsewhere)).dev === (await stat(home)).dev) skip('no second file system')
      await cp(image('one'), elsewhere, { recursive: true })
      const report = await flashImage(elsewhere, { home, engine })
      expect(report.linkedBytes).toBe(0)
      expect(report.copiedBytes).toBeGreaterThan(2 << 20)
    } finally {
      await rm(elsewhere, { recursive: true, force: true })
    }
    await expectActive('A', 'one')
  })

  test('the active slot may be flashed again into the other; the other cannot be its own source', async () => {
    await flash('one')
    expect(await flashImage(slotFolder(home, 'A'), { home, engine })).toMatchObject({ slot: 'B', name: 'one' })
    await expect(flashImage(slotFolder(home, 'A'), { home, engine })).rejects.toMatchObject({ code: 'USAGE' })
    await expectActive('B', 'one')
    expect(await verifyImage(slotFolder(home, 'A'))).toMatchObject({ ok: true })
  })

  test('a running session keeps its weights while its slot is flashed over', async () => {
    await flash('one')
    const { path } = await openImage(slotFolder(home, 'A'))
    const opened = await openImage(path, { cpuKey: cpuKey(engine) })
    const session = await engine.createSession({ path: opened.graphPath('backbone', 'decode') })
    const before = await run(session)
    await flash('two')
    await flash('two')
    expect((await readDevice(home)).active).toBe('A')
    expect(await run(session)).toEqual(before)
    session.dispose()
  })

  test('verify of a slot covers the prepacked files', async () => {
    await flash('one')
    const slot = slotFolder(home, 'A')
    const folder = join('prepacked', cpuKey(engine))
    const file = join(folder, 'backbone.decode.data')
    const bytes = await readFile(join(slot, file))
    bytes[bytes.length - 1]! ^= 1
    await chmod(join(slot, file), 0o644)
    await writeFile(join(slot, file), bytes)
    await writeFile(join(slot, folder, 'stray'), '')
    const result = await verifyImage(slot)
    expect(result.ok || result.problems.map(({ kind, blob }) => [kind, blob])).toEqual([
      ['extra', join(folder, 'stray')],
      ['digest', file],
    ])
    await writeFile(join(slot, folder, 'index.json'), '{}')
    expect(await verifyImage(slot)).toMatchObject({ ok: false, problems: [{ kind: 'manifest' }] })
    await expect(openImage(slot, { cpuKey: cpuKey(engine) })).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })

  test('tiny-random, every architecture there is, passes its self-test', async () => {
    await buildFirmware(findRecipe('tiny-random'), { home })
    const report = await flash('tiny-random')
    const { modules } = (await openImage(slotFolder(home, report.slot))).manifest
    const graphs = Object.values(modules).flatMap((module) => Object.keys(module.graphs))
    expect(report.selfTest.graphs).toHaveLength(graphs.length)
  })
})

describe('refusals leave the active slot as it was', () => {
  beforeEach(() => flash('one').then(() => undefined))

  test('a tampered blob', async () => {
    const { manifest } = await openImage(image('two'))
    const path = join(image('two'), 'blobs', manifest.modules.backbone!.graphs.decode!.data[0]!)
    const bytes = await readFile(path)
    bytes[100]! ^= 0xff
    await writeFile(path, bytes)
    await expect(flash('two')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' })
    await expectActive('A', 'one')
    expect((await readDevice(home)).slots.B).toEqual({ state: 'empty' })
  })

  test('a lower rollback index, whether flashed or rolled back to', async () => {
    await writeToyImage(image('three'), { name: 'three', version: '3.0.0', rollbackIndex: 5, seed: 3 })
    await flash('three')
    await expect(flash('two')).rejects.toMatchObject({ code: 'ROLLBACK_REFUSED', details: { expected: 5, got: 0 } })
    await expect(rollback(home)).rejects.toMatchObject({ code: 'ROLLBACK_REFUSED' })
    await expectActive('B', 'three')
  })

  test('a full disk, with numbers, before anything is written', async () => {
    await expect(flash('two', { measureFreeBytes: async () => 1000 })).rejects.toMatchObject({
      code: 'DISK_FULL',
      details: { availableBytes: 1000, neededBytes: expect.any(Number) },
    })
    await expectActive('A', 'one')
    expect(await leftovers()).toEqual([])
  })

  test('the space of the slot that will be emptied counts as free', async () => {
    const { prepacked } = await flash('two')
    const refused = await flash('one', { measureFreeBytes: async () => -1e9 }).catch((error) => error)
    const { neededBytes } = refused.details
    const tooFew = neededBytes - prepacked!.bytes - 100_000
    await expect(flash('one', { measureFreeBytes: async () => tooFew })).rejects.toMatchObject({ code: 'DISK_FULL' })
    const enough = neededBytes - prepacked!.bytes
    expect(await flash('one', { measureFreeBytes: async () => enough })).toMatchObject({ slot: 'A' })
  })

  test.each(['verify', 'write slot', 'prepack', 'self-test'])('giving up during %s', async (at) => {
    const controller = new AbortController()
    const onProgress = ({ task }: Progress) => task.startsWith(at) && controller.abort()
    await expect(flash('two', { signal: controller.signal, onProgress })).rejects.toMatchObject({ code: 'ABORTED' })
    await expectActive('A', 'one')
    expect((await readDevice(home)).slots.B.state).not.toBe('good')
    expect(await leftovers()).toEqual([])
    expect(await flash('two')).toMatchObject({ slot: 'B' })
  })

  test.each([
    ['undeclared-input', /not declared: inputs_embeds|not declared: seqlens_k/],
    ['missing-output', /missing: hidden/],
    ['not-finite', /output logits .* not finite/],
    ['not-a-model', /backbone\.decode/],
  ] as const)('an image that fails its self-test: %s', async (fault, message) => {
    await writeToyImage(image('broken'), { name: 'broken', version: '2.0.0', rollbackIndex: 9, seed: 4, fault })
    const failure = await flash('broken', { prepackMinBytes: 1e9 }).catch((error) => error)
    expect(failure).toMatchObject({ code: 'SELF_TEST_FAILED', message: expect.stringMatching(message) })
    const state = await readDevice(home)
    expect(state).toMatchObject({ active: 'A', rollbackIndex: 0, slots: { B: { state: 'bad', name: 'broken' } } })
    await expectActive('A', 'one')
    await expect(rollback(home)).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    expect(await flash('two')).toMatchObject({ slot: 'B' })
  })

  test('an empty folder', async () => {
    await mkdir(image('empty'))
    await expect(flash('empty')).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
    await expectActive('A', 'one')
  })
})

describe('rollback', () => {
  test('goes back and forth between two good slots', async () => {
    await flash('one')
    await expect(rollback(home)).rejects.toMatchObject({ code: 'NOT_AVAILABLE' })
    await flash('two')
    expect(await rollback(home)).toMatchObject({ active: 'A' })
    await expectActive('A', 'one')
    await rollback(home)
    await expectActive('B', 'two')
  })

  test('refuses a slot that is not what was flashed', async () => {
    await flash('one')
    await flash('two')
    const path = join(slotFolder(home, 'A'), 'manifest.json')
    const forged = { ...parseManifest(await readFile(path, 'utf8')), version: '9.9.9' }
    await writeFile(path, canonicalJson(forged))
    await expect(rollback(home)).rejects.toMatchObject({
      code: 'IMAGE_INVALID',
      details: { got: manifestDigest(forged) },
    })
    await expectActive('B', 'two')
  })
})

describe('state.json', () => {
  test('a device never flashed is empty', async () => expect(await readDevice(home)).toEqual(EMPTY_DEVICE))

  test.each([
    ['half a file', '{"format":"m4fm-dev'],
    ['another format', '{"format":"m4fm-device/2"}'],
    ['an active slot that is not good', JSON.stringify({ ...EMPTY_DEVICE, active: 'A' })],
    [
      'a slot without digest',
      JSON.stringify({ ...EMPTY_DEVICE, slots: { A: { state: 'good' }, B: { state: 'empty' } } }),
    ],
    ['a negative rollback index', JSON.stringify({ ...EMPTY_DEVICE, rollbackIndex: -1 })],
  ])('%s is an error, never an empty device', async (_, text) => {
    await mkdir(join(home, 'device'))
    await writeFile(join(home, 'device', 'state.json'), text)
    await expect(readDevice(home)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    await expect(flash('one')).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })
})

describe('two processes', () => {
  const CHILD = fileURLToPath(new URL('./helpers/flash-child.mjs', import.meta.url))
  const children: ChildProcess[] = []
  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  function flashElsewhere(name: string, script: string) {
    const child = spawn(process.execPath, [CHILD, image(name), home, script], { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    let out = ''
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    const ended = new Promise<{ out: string; signal: string | null }>((resolve) =>
      child.on('close', (_, signal) => resolve({ out, signal })),
    )
    return { pid: child.pid!, ended }
  }

  test('the second is refused and told who flashes; the first then finishes', async () => {
    const first = flashElsewhere('one', `hold|write slot|${home}`)
    while (!(await exists(join(home, 'holding')))) await new Promise((done) => setTimeout(done, 20))
    const refused = { code: 'LOCKED', details: expect.objectContaining({ pid: first.pid }) }
    await expect(flash('two')).rejects.toMatchObject(refused)
    await expect(rollback(home)).rejects.toMatchObject(refused)
    expect(JSON.parse((await flashElsewhere('two', '').ended).out)).toMatchObject({
      error: { code: 'LOCKED', details: { pid: first.pid } },
    })
    await writeFile(join(home, 'go'), '')
    expect(JSON.parse((await first.ended).out)).toMatchObject({ report: { slot: 'A', name: 'one' } })
    await expectActive('A', 'one')
  })

  test.each([
    'write slot',
    'prepack',
    'self-test',
  ])('killed during %s: the old slot runs, the next flash cleans up', async (at) => {
    await flash('one')
    const { ended, pid } = flashElsewhere('two', `die|${at}`)
    expect((await ended).signal).toBe('SIGKILL')
    await expectActive('A', 'one')
    expect((await readDevice(home)).slots.B.state).not.toBe('good')
    if (at !== 'self-test') expect(await leftovers()).toContain(`slot.tmp-${pid}`)
    await flash('two')
    await expectActive('B', 'two')
    expect(await leftovers()).toEqual([])
  })
})

const logits = async (path: string) => {
  const session = await engine.createSession({ path })
  try {
    return await run(session)
  } finally {
    session.dispose()
  }
}

/** Two tokens through the toy decoder. */
async function run(session: Session): Promise<number[]> {
  const cache = () => engine.tensor('float32', [1, 4, 4, 16])
  const feeds = {
    inputs_embeds: engine.tensor(
      'float32',
      [1, 2, 64],
      Float32Array.from({ length: 128 }, (_, i) => Math.sin(i)),
    ),
    seqlens_k: engine.tensor('int32', [1], Int32Array.of(1)),
    total_sequence_length: engine.tensor('int32', [], Int32Array.of(2)),
    'past/key': cache(),
    'past/value': cache(),
    logit_idx: engine.tensor('int64', [1], BigInt64Array.of(1n)),
  }
  const { logits } = await session.run(feeds, ['logits'])
  const values = [...(logits!.data as Float32Array)]
  for (const tensor of [...Object.values(feeds), logits!]) tensor.dispose()
  return values
}
