/** `m4fm adapter train` on `tiny-random`, as a process: plan, training, Ctrl-C and going on, what is refused. */

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAdapterPackage } from '../src/adapters/index.js'
import { ensureCompiled, ROOT, runCli } from './helpers/cli.js'

const IMAGE = 'tiny-random-fp32'
let home: string
const at = (...names: string[]) => join(home, ...names)
const m4fm = (...words: string[]) => runCli(words, { home })
const train = (...words: string[]) => m4fm('adapter', 'train', '--data', at('reviews.csv'), '--image', IMAGE, ...words)

interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string }
}
interface TrainJson {
  readonly digest: string
  readonly fit: { readonly losses: readonly number[]; readonly resumedAt?: number }
  readonly findings: readonly { readonly code: string }[]
}

beforeAll(async () => {
  ensureCompiled()
  home = await mkdtemp(join(tmpdir(), 'm4-train-cli-'))
  await m4fm('build', 'tiny-random', '--quant', 'fp32', '--quiet')
  const nouns = ['film', 'book', 'song', 'day', 'meal', 'walk', 'game', 'tea']
  const rows = nouns.flatMap((noun, i) => [
    ...['lovely', 'great', 'superb'].map((word) => `a ${word} ${noun} ${i},good`),
    ...['awful', 'dull', 'poor'].map((word) => `a ${word} ${noun} ${i},bad`),
  ])
  await writeFile(at('reviews.csv'), `text,label\n${rows.join('\n')}\n`)
}, 120_000)
afterAll(() => rm(home, { recursive: true, force: true }))

/** A training that is told to stop as soon as its first step is there. */
function interrupted(words: readonly string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const env = { ...process.env, M4FM_HOME: home, NO_COLOR: '1' }
  const child = spawn(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), ...words], { cwd: ROOT, env })
  let [stdout, stderr, sent] = ['', '', false]
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    stdout += piece
  })
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
    if (sent || !stderr.includes('step 1 of')) return
    sent = true
    child.kill('SIGINT')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, stdout, stderr }))
  })
}

describe('train', () => {
  test('a dry run says what it would do, and writes nothing', async () => {
    const [text, json] = await Promise.all([
      train('--dry-run'),
      train('--dry-run', '--rank', '4', '--parts', 'q', '--json'),
    ])
    expect([text.code, json.code]).toEqual([0, 0])
    expect(text.stdout).toMatch(/^samples +43 to train on, 5 held out$/m)
    expect(text.stdout).toMatch(/^memory +about/m)
    expect(json.json()).toMatchObject({
      plan: { options: { rank: 4, parts: ['q'] }, trainSamples: 43, task: { labels: ['bad', 'good'] } },
    })
    expect(await readdir(home)).not.toContain('adapter')
    expect(existsSync(join(ROOT, 'adapter'))).toBe(false)
  })

  test('samples become a package that is installed and answers', async () => {
    const words = ['--out', at('reviews'), '--steps', '12', '--app', 'org.example.shop', '--licence', 'MIT']
    const trained = await train(...words, '--json')
    expect([trained.code, trained.stderr]).toEqual([0, ''])
    const { digest, fit, findings } = trained.json<TrainJson>()
    expect(fit.losses).toHaveLength(12)
    expect(fit.losses.at(-1)).toBeLessThan(fit.losses[0]!)
    // Nothing is claimed of random weights.
    expect(findings.map(({ code }) => code)).toContain('random-weights')
    const { manifest } = await readAdapterPackage(at('reviews'))
    expect(manifest).toMatchObject({ name: 'reviews', app: 'org.example.shop', licence: 'MIT', kind: 'lora' })
    expect(manifest.metric).toBeUndefined()
    const install = await m4fm('adapter', 'install', at('reviews'), '--image', IMAGE, '--json')
    expect(install.json()).toMatchObject({ name: 'reviews', fit: 'same', digest })
    const run = await m4fm('run', IMAGE, '--task', 'classify', 'a dull tea', '--adapter', 'reviews', '--json')
    expect(run.json()).toMatchObject({
      output: { label: expect.stringMatching(/^(good|bad)$/) },
      report: { adapter: 'reviews', random: true },
      adapter: { name: 'reviews', fit: 'same', warnings: [] },
    })
    const prompt = await train('--out', at('soft'), '--kind', 'prompt', '--tokens', '3', '--steps', '3')
    expect(prompt.code).toBe(0)
    expect(prompt.stderr).toMatch(/step 3 of 3 {2}loss \d/)
    expect(prompt.stdout).toMatch(/^steps +3 of 3, all steps done/m)
  })

  test('Ctrl-C keeps a checkpoint and says how to go on; the same command ends as if nothing had been', async () => {
    const words = ['--steps', '200', '--patience', '0']
    const again = (out: string) => train('--out', at(out), ...words, '--json')
    const common = ['adapter', 'train', '--data', at('reviews.csv'), '--image', IMAGE, ...words]
    const stopped = await interrupted([...common, '--out', at('long')])
    expect(stopped.code).toBe(130)
    expect(stopped.stdout).toBe('')
    expect(stopped.stderr).toContain(`what was learned is kept in ${at('long')}.training`)
    expect(stopped.stderr).toContain('The same command goes on')
    expect(existsSync(at('long.training', 'checkpoint.safetensors'))).toBe(true)
    expect(existsSync(at('long'))).toBe(false)
    const [resumed, whole] = [await again('long'), await again('whole')]
    expect(resumed.code).toBe(0)
    const [a, b] = [resumed.json<TrainJson>(), whole.json<TrainJson>()]
    expect(a.fit.resumedAt).toBeGreaterThan(0)
    expect(a.fit.resumedAt).toBeLessThan(200)
    expect(b.fit.resumedAt).toBeUndefined()
    expect(a.fit.losses).toEqual(b.fit.losses)
    expect(existsSync(at('long.training', 'checkpoint.safetensors'))).toBe(false)
  })

  test('bad input is refused before anything is trained', async () => {
    await writeFile(at('one.csv'), 'text,label\na,x\nb,x\n')
    await writeFile(at('strange.csv'), 'left,right\na,x\nb,y\n')
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [['--data', at('none.csv'), '--out', at('x')], 3, 'FILE_NOT_FOUND'],
      [['--data', at('strange.csv'), '--out', at('x')], 3, 'FORMAT_INVALID'],
      [['--data', at('reviews.csv')], 2, 'USAGE'],
      [['--out', at('x')], 2, 'USAGE'],
      [['--data', at('reviews.csv'), '--out', at('x'), '--steps', '0'], 2, 'USAGE'],
      [['--data', at('reviews.csv'), '--out', at('x'), '--kind', 'lroa'], 2, 'UNKNOWN_NAME'],
      [['--data', at('reviews.csv'), '--out', at('x'), '--template', 'no place'], 2, 'INVALID_REQUEST'],
      [['--data', at('reviews.csv'), '--out', at('x'), '--image', 'nowhere'], 3, 'FILE_NOT_FOUND'],
    ]
    for (const [words, code, name] of cases) {
      const result = await m4fm('adapter', 'train', '--image', IMAGE, ...words, '--json')
      expect([result.code, result.json<ErrorJson>().error.code], words.join(' ')).toEqual([code, name])
    }
    const one = await train('--data', at('one.csv'), '--out', at('x'), '--json')
    expect(one.code).not.toBe(0)
    expect(await readdir(home)).not.toContain('x')
  })
})
