/** README says what is so: its commands exist with their options, and its exit codes are those of the program. */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../src/cli/commands.js'
import { ERROR_CODES } from '../src/core/errors.js'
import { RECIPES } from '../src/firmware/recipes.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const commandLines = readme
  .split('\n')
  .flatMap((line) => line.split('&&'))
  .map((line) => line.trim().replace(/\s+#.*$/, ''))
  .filter((line) => line.startsWith('m4fm '))

describe('README', () => {
  test('shows commands', () => expect(commandLines.length).toBeGreaterThan(8))

  test.each(commandLines)('%s: command and options exist', (line) => {
    const command = COMMANDS[line.split(' ')[1]!]
    expect(command).toBeDefined()
    const known = JSON.stringify(command)
    for (const [option] of line.matchAll(/--[a-z-]+/g)) expect(known).toContain(option)
    for (const [path] of line.matchAll(/\b(samples|test)\/\S+/g)) expect(existsSync(join(ROOT, path))).toBe(true)
  })

  test('names recipes and quantisations that exist', () => {
    expect(Object.keys(RECIPES)).toEqual(expect.arrayContaining(['lite', 'tiny-random']))
    const quantisations = Object.keys(RECIPES.lite!.modules.backbone!.quantisations)
    for (const name of ['int8', 'w8a8', 'int4-b128']) expect(quantisations).toContain(name)
  })

  test('its exit codes are those of the error table', () => {
    const listed = [...readme.matchAll(/^\| (\d+) \|/gm)].map(([, code]) => Number(code))
    expect(listed).toEqual([...new Set([0, 70, ...Object.values(ERROR_CODES)])].sort((a, b) => a - b))
  })

  test('its links lead somewhere', () => {
    const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path]) => path!)
    expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([])
  })
})
