/** The package as users get it: what package.json promises is there, and versions agree. */

import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { BUILT_WITH } from '../src/firmware/version.js'
import { ensureCompiled } from './helpers/cli.js'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

beforeAll(ensureCompiled)

/** Every file that `exports`, `imports` and `bin` name. */
const targets = (value: unknown): string[] =>
  typeof value === 'string' ? [value] : Object.values(value as Record<string, unknown>).flatMap(targets)

describe('package.json', () => {
  test.each([
    ...new Set([...targets(manifest.exports), ...targets(manifest.imports), ...targets(manifest.bin)]),
  ])('names %s, which the build makes', (target) => {
    expect(existsSync(join(ROOT, target))).toBe(true)
  })

  test('subpaths can be imported', async () => {
    for (const subpath of Object.keys(manifest.exports).filter((name) => !name.endsWith('.json'))) {
      const module = await import(/* @vite-ignore */ join(ROOT, targets(manifest.exports[subpath]).at(-1)!))
      expect(Object.keys(module).length, subpath).toBeGreaterThan(0)
    }
  })

  test('the versions that images record are those of the package and its runtime', () => {
    const ort = createRequire(import.meta.url)('onnxruntime-node/package.json')
    expect(BUILT_WITH).toEqual({ m4fm: manifest.version, onnxruntime: ort.version })
  })

  test('ONNX Runtime is pinned to one version on all backends', () => {
    const { dependencies, peerDependencies, devDependencies } = manifest
    const versions = [
      dependencies['onnxruntime-node'],
      dependencies['onnxruntime-common'],
      peerDependencies['onnxruntime-web'],
      devDependencies['onnxruntime-web'],
    ]
    expect(new Set(versions)).toEqual(new Set([BUILT_WITH.onnxruntime]))
  })
})
