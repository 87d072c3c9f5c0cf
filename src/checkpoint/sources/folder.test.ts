/** Models of several files: one folder of links, the same for the same files. */

import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { openCheckpoint } from '../open.js'
import { writeSafetensors } from '../safetensors-write.js'
import { pullFolder } from './folder.js'

const root = mkdtempSync(join(tmpdir(), 'm4-folder-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

function source(name: string, bytes: Uint8Array | string) {
  const path = join(root, name)
  writeFileSync(path, bytes)
  const data = readFileSync(path)
  const sha256 = createHash('sha256').update(data).digest('hex')
  return { sha256, bytes: data.length, licence: 'MIT', uris: [`file:${path}`] }
}

test('config.json beside weights, folders within, and again', async () => {
  const weights = writeSafetensors({ x: { dtype: 'float32', dims: [2], data: Float32Array.of(1, 2) } })
  const files = {
    'config.json': source('c', '{"hidden_size":2}'),
    'model.safetensors': source('w', weights),
    'extra/notes.txt': source('n', 'hello'),
  }
  const home = join(root, 'home')
  const folder = await pullFolder({ files }, { home })
  using checkpoint = openCheckpoint(folder)
  expect(checkpoint.metadata.config).toEqual({ hidden_size: 2 })
  expect(Array.from(checkpoint.tensors.get('x')!.float32())).toEqual([1, 2])
  expect(readFileSync(join(folder, 'extra', 'notes.txt'), 'utf8')).toBe('hello')
  expect(await pullFolder({ files }, { home, offline: true })).toBe(folder)
  const others = { ...files, 'config.json': source('d', '{"hidden_size":3}') }
  expect(await pullFolder({ files: others }, { home })).not.toBe(folder)
})

test.each(['../x', '/x', 'a/../b', '', 'c:\\x', 'a//b'])('a path that leads out: %s', async (name) => {
  await expect(pullFolder({ files: { [name]: source('o', 'o') } }, { home: join(root, 'home') })).rejects.toMatchObject(
    {
      code: 'INVALID_REQUEST',
    },
  )
})
