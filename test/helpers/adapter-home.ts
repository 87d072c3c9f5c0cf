/** A home with `tiny-random` and adapters for it, for the tests of `m4fm adapter …` and `--adapter` as processes. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect } from 'vitest'
import {
  type AdapterFacts,
  type AdapterPackage,
  peftFiles,
  readPeftAdapter,
  type TrainedAdapter,
  usableAdapter,
  writeAdapterPackage,
} from '../../src/adapters/index.js'
import { factsOf, SAMPLES, trainedLora } from '../../src/adapters/testing/fixtures.js'
import { type Manifest, manifestDigest, readManifest } from '../../src/firmware/index.js'
import { ensureCompiled, runCli } from './cli.js'

export interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string; readonly details: object }
}
export interface RunJson {
  readonly output: { readonly text: string; readonly label: string; readonly scores: { label: string }[] }
  readonly report: { readonly adapter?: string; readonly tokens: { readonly prompt: number } }
  readonly adapter?: {
    readonly name: string
    readonly fit?: string
    readonly verdict?: string
    readonly warnings: readonly string[]
  }
}

export interface PackageOptions extends Partial<AdapterFacts> {
  readonly trained?: TrainedAdapter
}

export const LABELS = ['good', 'bad', 'so so']
export const OTHER_BASE = {
  abi: 'abi-0123456789abcdef',
  module: 'backbone',
  image: { name: 'other', digest: 'a'.repeat(64) },
}

/** Two at a time: a start costs a whole core for a quarter of a second. */
export const both = <A, B>(a: Promise<A>, b: Promise<B>) => Promise.all([a, b])

/** Built before the tests of the file that calls it, and removed after them. */
export function useAdapterHome() {
  let [home, digest] = ['', '']
  let manifest: Manifest
  const at = (...names: string[]) => join(home, ...names)
  const m4fm = (...words: string[]) => runCli(words, { home })
  beforeAll(async () => {
    ensureCompiled()
    home = await mkdtemp(join(tmpdir(), 'm4-adapters-'))
    const built = await m4fm('build', 'tiny-random', '--json')
    expect(built.stderr).toBe('')
    manifest = await readManifest(at('images', 'tiny-random'))
    digest = manifestDigest(manifest)
  }, 120_000)
  afterAll(() => rm(home, { recursive: true, force: true }))
  return {
    get home() {
      return home
    },
    get manifest() {
      return manifest
    },
    /** Of the image. */
    get digest() {
      return digest
    },
    at,
    m4fm,
    ask: (...words: string[]) => m4fm('run', 'tiny-random', '--task', ...words, '--json'),
    /** LoRA of queries and values; another rank is another adapter. */
    lora: (rank = 2) => trainedLora(manifest.abi, rank),
    /** A package made on the image, unless told otherwise. */
    packageAt: (name: string, { trained, ...facts }: PackageOptions = {}): Promise<AdapterPackage> =>
      writeAdapterPackage(at(name), {
        facts: {
          ...factsOf(manifest.abi),
          name,
          task: 'classify',
          prompt: { template: 'Say of {text}:', labels: LABELS },
          base: { abi: manifest.abi.id, module: 'backbone', image: { name: manifest.name, digest } },
          ...facts,
        },
        peft: peftFiles(manifest.abi, trained ?? trainedLora(manifest.abi, 2)),
        evaluation: SAMPLES,
      }),
    /** The base of a package that was made before the image was replaced. */
    onOtherImage: () => ({
      abi: manifest.abi.id,
      module: 'backbone',
      image: { name: 'tiny-older', digest: 'c'.repeat(64) },
    }),
    /** What the runtime would take from a PEFT folder. */
    tensorsOf: (folder: string) => usableAdapter(readPeftAdapter(folder, manifest.abi)),
  }
}
