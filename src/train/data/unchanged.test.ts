import { readFileSync, rmSync, statSync, truncateSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDataSet } from './open.js'
import { type Scratch, scratchFolder } from './testing/scratch.js'
import { assertUnchanged } from './unchanged.js'

let scratch: Scratch
beforeEach(() => {
  scratch = scratchFolder()
})
afterEach(() => rmSync(scratch.path, { recursive: true }))

const FILE = { 'a.csv': 'text,label\na,x\nb,y\n' }

test('a file that stays, or is only touched, is unchanged', async () => {
  const path = scratch.write(FILE)
  const set = await openDataSet(path)
  await assertUnchanged(set)
  utimesSync(path, new Date(), new Date(1e12))
  await assertUnchanged(set)
})

test('other bytes are a change, even of the same size and time', async () => {
  const path = scratch.write(FILE)
  // A whole second: `utimes` loses what is finer.
  const time = new Date(1e12)
  utimesSync(path, time, time)
  const set = await openDataSet(path)
  scratch.write({ 'a.csv': readFileSync(path, 'utf8').replace('b', 'c') })
  utimesSync(path, time, time)
  expect(statSync(path).mtimeMs).toBe(set.files[0]!.mtimeMs)
  await expect(assertUnchanged(set)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', details: { path } })
  scratch.write({ 'a.csv': `${FILE['a.csv']}c,x\n` })
  await expect(assertUnchanged(set)).rejects.toThrow('it had 19 bytes and has 23')
})

test('of a large set only files whose time differs are hashed', async () => {
  const path = scratch.write(FILE)
  const { files } = await openDataSet(path)
  const large = scratch.write({ 'large.bin': '' })
  truncateSync(large, 65 << 20)
  const { size, mtimeMs } = statSync(large)
  const both = { files: [...files, { path: large, bytes: size, mtimeMs, sha256: 'not its digest' }] }
  await assertUnchanged(both)
  utimesSync(large, new Date(), new Date(1e12))
  await expect(assertUnchanged(both)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH', details: { path: large } })
})

test('a file that is gone', async () => {
  scratch.write({ 'd/x/1.png': '1', 'd/y/2.png': '2' })
  const set = await openDataSet(join(scratch.path, 'd'))
  await assertUnchanged(set)
  rmSync(join(scratch.path, 'd/y/2.png'))
  await expect(assertUnchanged(set)).rejects.toMatchObject({ code: 'FILE_NOT_FOUND' })
})
