/** Addresses as data: what each scheme means, and how malformed ones are refused. */

import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isM4Error } from '../../core/errors.js'
import type { Source } from './types.js'
import { checkSource, displayName, locate } from './uri.js'

const around = { env: { npm_config_registry: 'https://r.example', HOME: '/nowhere' }, workingFolder: '/nowhere/work' }
const INTEGRITY = `sha512-${Buffer.alloc(64, 7).toString('base64')}`
const codeOf = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    if (isM4Error(error)) return error.code
    throw error
  }
  return 'none'
}

describe('schemes', () => {
  test('npm', () => {
    expect(locate(`npm:@a/b@1.0.0-rc.1/dir/w.bin#${INTEGRITY}`, around)).toEqual({
      kind: 'member',
      url: 'https://r.example/@a/b/-/b-1.0.0-rc.1.tgz',
      tarball: '@a/b@1.0.0-rc.1',
      member: 'dir/w.bin',
      sha512: '07'.repeat(64),
    })
  })

  test('hf, with a revision that holds a slash, and names that need escaping', () => {
    expect(locate('hf:owner/repo@refs%2Fpr%2F1/a b/w.bin', around)).toMatchObject({
      kind: 'url',
      url: 'https://huggingface.co/owner/repo/resolve/refs%2Fpr%2F1/a%20b/w.bin',
      headers: {},
    })
    expect(locate('hf:gpt2@main/w.bin', around)).toMatchObject({
      url: 'https://huggingface.co/gpt2/resolve/main/w.bin',
    })
  })

  test('https and file', () => {
    expect(locate('https://x.example/w.bin?v=1', around)).toMatchObject({ url: 'https://x.example/w.bin?v=1' })
    expect(locate('file:w.bin', around)).toEqual({ kind: 'file', path: resolve(join('/nowhere/work', 'w.bin')) })
    expect(locate('file:/abs/w.bin', around)).toEqual({ kind: 'file', path: resolve('/abs/w.bin') })
    expect(locate('file:///abs/a%20b', around)).toEqual({ kind: 'file', path: resolve('/abs/a b') })
  })

  test('bundled: is below the package', () => {
    const found = locate('bundled:package.json', around)
    expect(found.kind === 'file' && JSON.parse(readFileSync(found.path, 'utf8')).name).toBe('m4fm')
    expect(codeOf(() => locate('bundled:../secret', around))).toBe('INVALID_REQUEST')
  })
  test('an unknown scheme is UNKNOWN_NAME with the nearest', () => {
    expect(() => locate('htps://x/y', around)).toThrow(/Unknown source scheme "htps".*https/)
    expect(codeOf(() => locate('toString:x', around))).toBe('UNKNOWN_NAME')
    expect(codeOf(() => locate('w.bin', around))).toBe('UNKNOWN_NAME')
  })

  test.each([
    'npm:a@1.0.0/w.bin',
    `npm:a@^1.0.0/w.bin#${INTEGRITY}`,
    `npm:a@1.x/w.bin#${INTEGRITY}`,
    `npm:a@latest/w.bin#${INTEGRITY}`,
    `npm:a@1.0.0/../w.bin#${INTEGRITY}`,
    'npm:a@1.0.0/w.bin#sha512-abc',
    'hf:owner/repo/w.bin',
    'hf:owner/repo@main/../w.bin',
    'http://x.example/w.bin',
    'https://user:secret@x.example/w.bin',
    'https://',
    'file:',
  ])('malformed: %s', (uri) => {
    expect(codeOf(() => locate(uri, around))).toBe('INVALID_REQUEST')
  })
})

describe('pins', () => {
  const good: Source = { sha256: 'a'.repeat(64), bytes: 3, licence: 'MIT', uris: ['file:a/w.bin'] }
  const half = { sha256: 'b'.repeat(64), bytes: 1, uris: ['file:x'] }

  test.each<[string, Partial<Source>]>([
    ['upper-case digest', { sha256: 'A'.repeat(64) }],
    ['digest of the wrong length', { sha256: 'abc' }],
    ['size', { bytes: 1.5 }],
    ['no address', { uris: [] }],
    ['parts that do not add up', { parts: [half, half] }],
    ['a part without address', { parts: [half, { ...half, bytes: 2, uris: [] }] }],
  ])('are checked: %s', (_name, change) => {
    expect(codeOf(() => checkSource(good, around))).toBe('none')
    expect(codeOf(() => checkSource({ ...good, ...change }, around))).toBe('INVALID_REQUEST')
  })

  test('names for messages', () => {
    expect(displayName(good)).toBe('w.bin')
    expect(displayName({ ...good, uris: [`npm:a@1.0.0/dir/x.gguf#${INTEGRITY}`] })).toBe('x.gguf')
    expect(displayName({ ...good, uris: [] })).toBe('sha256-aaaaaaaaaaaa')
    expect(displayName({ ...good, name: 'tinyllama.gguf' })).toBe('tinyllama.gguf')
  })
})
