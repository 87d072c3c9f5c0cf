/** Verdicts of a device on packages: kept by digests, void where either changes. */

import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { verdictOf } from './testing/fixtures.js'
import { recallVerdict, rememberVerdict, requireNotRefused, VERDICTS } from './verdicts.js'

const [PACKAGE, IMAGE, OTHER] = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string]
let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'm4-verdicts-'))
})
afterEach(() => rmSync(home, { recursive: true, force: true }))
const file = () => join(home, 'adapter-verdicts', PACKAGE, `${IMAGE}.json`)

describe('verdicts', () => {
  test('the last one of a package on an image is told, and of no other', async () => {
    expect(await recallVerdict(PACKAGE, IMAGE, { home })).toBeUndefined()
    await rememberVerdict(verdictOf('refuse', PACKAGE, IMAGE), { home })
    const last = verdictOf('keep', PACKAGE, IMAGE)
    await rememberVerdict(last, { home })
    expect(await recallVerdict(PACKAGE, IMAGE, { home })).toEqual(last)
    expect(await recallVerdict(PACKAGE, OTHER, { home })).toBeUndefined()
    expect(await recallVerdict(OTHER, IMAGE, { home })).toBeUndefined()
    // Beside the store, not in it; nothing temporary is left.
    expect(readdirSync(home)).toEqual(['adapter-verdicts'])
    expect(readdirSync(join(home, 'adapter-verdicts', PACKAGE))).toEqual([`${IMAGE}.json`])
  })

  test.each([
    ['cut off', '{"format": 1, "verd'],
    ['of a later form', JSON.stringify({ ...verdictOf('keep', PACKAGE, IMAGE), format: 2 })],
    ['with another verdict', JSON.stringify({ ...verdictOf('keep', PACKAGE, IMAGE), verdict: 'perhaps' })],
    ['of another package', JSON.stringify(verdictOf('keep', OTHER, IMAGE))],
    ['of another image', JSON.stringify(verdictOf('keep', PACKAGE, OTHER))],
  ])('a record that is %s counts as none', async (_, content) => {
    await rememberVerdict(verdictOf('keep', PACKAGE, IMAGE), { home })
    writeFileSync(file(), content)
    expect(await recallVerdict(PACKAGE, IMAGE, { home })).toBeUndefined()
  })

  test('one that cannot be read is an error, not silence', async () => {
    await rememberVerdict(verdictOf('keep', PACKAGE, IMAGE), { home })
    await expect(recallVerdict(PACKAGE, '', { home: file() })).rejects.toMatchObject({ code: 'IO' })
  })

  test.each(VERDICTS)('%s', (verdict) => {
    const use = () => requireNotRefused(verdictOf(verdict, PACKAGE, IMAGE))
    if (verdict !== 'refuse') return expect(use).not.toThrow()
    expect(use).toThrow(
      expect.objectContaining({
        code: 'NOT_AVAILABLE',
        message: expect.stringMatching(/news was refused on the image tiny-random .*2026-11-20.*0\.400/),
        details: expect.objectContaining({ reason: 'adapter-refused', digest: PACKAGE, image: IMAGE }),
      }),
    )
  })
})
