/** Choosing a backend: by default, by name, by environment, and what happens when the default cannot be used. */

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { assertCommandLine, LONGEST_COMMAND_LINE_BYTES } from './command-line.js'
import { bindOrtApi, ORT_API } from './ffi/api.js'
import { cpuKey, type Engine } from './index.js'

const fresh = async () => {
  vi.resetModules()
  return import('./index.js')
}

const brokenFfi = () =>
  vi.doMock('./ffi/library.js', async () => {
    // The class of the fresh module graph, not of this file: they are told apart by `instanceof`.
    const { M4Error } = await import('../core/errors.js')
    const unavailable = (reason: string) => new M4Error('ENGINE_UNAVAILABLE', reason)
    return { unavailable, loadLibrary: () => Promise.reject(unavailable('koffi is missing on this planet.')) }
  })

beforeEach(() => {
  vi.stubEnv('M4FM_ENGINE', undefined)
})
afterEach(() => {
  vi.doUnmock('./ffi/library.js')
  vi.unstubAllEnvs()
})

describe('openEngine', () => {
  test('gives ffi by default, once', async () => {
    const { openEngine } = await fresh()
    const onWarning = vi.fn()
    const [first, second] = await Promise.all([openEngine({ onWarning }), openEngine({ threads: 7, onWarning })])
    expect(first.backend).toBe('ffi')
    expect(second).toBe(first)
    expect(onWarning).not.toHaveBeenCalled()
  })

  test('the environment chooses, and the option wins', async () => {
    const { openEngine } = await fresh()
    vi.stubEnv('M4FM_ENGINE', 'node')
    expect((await openEngine()).backend).toBe('node')
    expect((await openEngine({ backend: 'ffi' })).backend).toBe('ffi')
    vi.stubEnv('M4FM_ENGINE', 'fffi')
    await expect(openEngine()).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
  })

  test('falls back to node with exactly one warning that says why, what is lost and how to silence it', async () => {
    brokenFfi()
    const { openEngine, engineInfo } = await fresh()
    const onWarning = vi.fn()
    const engines = await Promise.all([1, 2, 3].map(() => openEngine({ onWarning })))
    engines.push(await openEngine({ onWarning }))
    expect(engines.map((engine) => engine.backend)).toEqual(['node', 'node', 'node', 'node'])
    expect(onWarning).toHaveBeenCalledTimes(1)
    expect(onWarning.mock.calls[0]![0]).toMatch(/koffi is missing on this planet.*event loop blocks.*M4FM_ENGINE=node/)
    expect(await engineInfo()).toMatchObject({ backend: 'node', fallbackReason: expect.stringMatching(/planet/) })
  })

  test('a backend asked for by name never falls back', async () => {
    brokenFfi()
    const { openEngine } = await fresh()
    const onWarning = vi.fn()
    await expect(openEngine({ backend: 'ffi', onWarning })).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' })
    expect(onWarning).not.toHaveBeenCalled()
  })

  test('the web entry knows only itself', async () => {
    const { openEngine } = await import('./web.js')
    await expect(openEngine({ backend: 'ffi' })).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' })
    await expect(openEngine({ backend: 'gpu' as never })).rejects.toMatchObject({ code: 'UNKNOWN_NAME' })
    expect((await openEngine()).backend).toBe('web')
  })
})

describe('the library is checked before it is used', () => {
  const loadWith = async (bound: object | undefined, base = true) => {
    vi.resetModules()
    vi.doMock('./ffi/api.js', async (original) => ({
      ...(await original<object>()),
      ...(base ? { bindOrtApi: () => bound } : {}),
    }))
    const { openFfiEngine } = await import('./ffi/index.js')
    return openFfiEngine(1).finally(() => vi.doUnmock('./ffi/api.js'))
  }

  test.each([['1.31.0'], ['1.29.2'], ['1.3.0']])('release %s is refused', async (version) => {
    await expect(loadWith({ api: {}, version })).rejects.toMatchObject({
      code: 'ENGINE_UNAVAILABLE',
      message: expect.stringMatching(new RegExp(`1\\.30.*${version.replaceAll('.', '\\.')}`)),
    })
  })

  test('a table that answers wrongly is refused', async () => {
    const koffi = (await import('koffi')).default
    const { findLibrary } = await import('./ffi/library.js')
    const real = bindOrtApi(koffi, koffi.load(findLibrary()))!
    // Says that it ran, and did nothing: a lie that touches no memory it should not.
    const idle = {
      async: (...parameters: unknown[]) => (parameters.at(-1) as (...results: null[]) => void)(null, null),
    }
    const lies = { ...real.api, RunWithBinding: Object.assign(() => null, idle) }
    await expect(loadWith({ api: lies, version: real.version })).rejects.toMatchObject({ code: 'ENGINE_UNAVAILABLE' })
  })
})

test('no two functions share a slot', () => {
  const slots = Object.values(ORT_API).map(([index]) => index)
  expect(new Set(slots).size).toBe(slots.length)
})

test('engineInfo says what doctor prints', async () => {
  const { engineInfo } = await fresh()
  const info = await engineInfo({ backend: 'ffi' })
  expect(info).toMatchObject({ backend: 'ffi', version: expect.stringMatching(/^1\.30\./) })
  expect(info.libraryPath).toMatch(/onnxruntime/)
  expect(info.threads).toBeGreaterThan(0)
  expect(info.fallbackReason).toBeUndefined()
})

test('cpuKey follows the version of the runtime and is fit for a file name', () => {
  const key = (version: string) => cpuKey({ version } as Engine)
  expect(key('1.30.0')).toBe(key('1.30.0'))
  expect(key('1.30.0')).not.toBe(key('1.30.1'))
  expect(key('1.30.0')).toMatch(/^[\w.-]+$/)
})

test('a command line that ONNX Runtime would not survive is refused', () => {
  expect(() => assertCommandLine(['node', 'a'.repeat(LONGEST_COMMAND_LINE_BYTES - 5)])).not.toThrow()
  expect(() => assertCommandLine(['node', 'a'.repeat(LONGEST_COMMAND_LINE_BYTES)])).toThrow(/--file/)
})
