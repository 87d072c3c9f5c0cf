/** The import table of DESIGN: which room may import which. A breach fails here, with the line to look at. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const SRC = fileURLToPath(new URL('../src/', import.meta.url))

/** Room → what it may import: a room, or single files of one. The same table stands in ARCHITECTURE.md. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  core: [],
  graph: ['core'],
  engine: ['core'],
  media: ['core'],
  tokenizers: ['core'],
  checkpoint: ['core'],
  models: ['core', 'graph'],
  firmware: ['core', 'graph', 'models', 'checkpoint', 'engine', 'tokenizers'],
  adapters: ['core', 'checkpoint', 'firmware/manifest'],
  runtime: ['core', 'engine', 'media', 'tokenizers', 'adapters', 'firmware/manifest', 'firmware/image'],
  bench: ['core', 'runtime', 'firmware/manifest'],
  train: [
    'core',
    'graph',
    'models',
    'engine',
    'media',
    'tokenizers',
    'checkpoint',
    'adapters',
    'runtime',
    'firmware/manifest',
    'firmware/image',
    'bench/metrics/index',
  ],
  parity: [
    'core',
    'graph',
    'engine',
    'media',
    'tokenizers',
    'checkpoint',
    'models',
    'adapters',
    'firmware',
    'runtime',
    'bench',
    'train',
  ],
}
/** The command line may use any room, but only by `await import` inside a command, so that `--help` stays instant. */
const LAZY_ROOMS = new Set(['cli'])

interface Import {
  readonly file: string
  readonly line: number
  readonly target: string
  readonly dynamic: boolean
  readonly typeOnly: boolean
}

function sourceFiles(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name)
    if (statSync(path).isDirectory()) return sourceFiles(path)
    return /\.ts$/.test(name) && !/\.test\.ts$/.test(name) ? [path] : []
  })
}

function importsOf(file: string): Import[] {
  const found: Import[] = []
  const text = readFileSync(file, 'utf8')
  const pattern =
    /(?:^|\n)\s*(?:import|export)(\s+type)?[^'"`;]*?\sfrom\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s*['"]([^'"]+)['"]/g
  for (const match of text.matchAll(pattern)) {
    const specifier = match[2] ?? match[3] ?? match[4]
    if (!specifier) continue
    const target =
      specifier === '#engine' ? 'engine/index' : specifier.startsWith('.') ? toRoomPath(file, specifier) : undefined
    if (target === undefined) continue
    const line = text.slice(0, match.index).split('\n').length
    found.push({
      file: relative(SRC, file),
      line,
      target,
      dynamic: match[3] !== undefined,
      typeOnly: match[1] !== undefined,
    })
  }
  return found
}

const toRoomPath = (file: string, specifier: string) =>
  relative(SRC, resolve(dirname(file), specifier)).replace(/\.js$/, '')
const roomOf = (path: string) => path.split('/')[0]!

function breaches(imports: readonly Import[]): string[] {
  return imports.flatMap(({ file, line, target, dynamic, typeOnly }) => {
    const from = roomOf(file)
    const to = roomOf(target)
    if (from === to) return []
    if (LAZY_ROOMS.has(from))
      return dynamic || typeOnly || to === 'core' ? [] : [`${file}:${line} imports ${target} at load time`]
    const allowed = MAY_IMPORT[from]
    if (!allowed) return [`${file}:${line}: room "${from}" is not in the table`]
    const fits = allowed.some((entry) => (entry.includes('/') ? target === entry : to === entry))
    return fits ? [] : [`${file}:${line}: ${from} may not import ${target}`]
  })
}

describe('layers', () => {
  const imports = sourceFiles(SRC).flatMap(importsOf)

  test('rooms import only what the table allows', () => {
    expect(breaches(imports)).toEqual([])
  })

  test('the check sees a breach', () => {
    const bad: Import = { file: 'core/x.ts', line: 1, target: 'engine/index', dynamic: false, typeOnly: false }
    expect(breaches([bad])).toHaveLength(1)
  })

  test('no source file is longer than 800 lines', () => {
    const long = sourceFiles(SRC)
      .filter((file) => !file.includes('generated') && readFileSync(file, 'utf8').split('\n').length > 800)
      .map((file) => relative(SRC, file))
    expect(long).toEqual([])
  })
})
