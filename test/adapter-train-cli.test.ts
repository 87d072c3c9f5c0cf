/** `m4fm adapter train` on `tiny-random`, as a process: plan, training, Ctrl-C and going on, what is refused. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readAdapterPackage } from '../src/adapters/index.js'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { hostTensor, normalSource } from '../src/core/index.js'
import { buildFirmware, type Recipe } from '../src/firmware/index.js'
import { LLAMA_LAYOUTS, llamaShapes } from '../src/models/index.js'
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

/** A training that is told to stop as soon as its first step is there, or killed as soon as its first checkpoint is. */
function interrupted(
  words: readonly string[],
  checkpoint?: string,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const env = { ...process.env, M4FM_HOME: home, NO_COLOR: '1' }
  const child = spawn(process.execPath, [join(ROOT, 'dist', 'cli', 'main.js'), ...words], { cwd: ROOT, env })
  let [stdout, stderr, sent] = ['', '', false]
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    stdout += piece
  })
  child.stderr.setEncoding('utf8').on('data', (piece: string) => {
    stderr += piece
    if (sent || checkpoint !== undefined || !stderr.includes('step 1 of')) return
    sent = true
    child.kill('SIGINT')
  })
  const watch = setInterval(() => {
    if (checkpoint !== undefined && existsSync(checkpoint)) child.kill('SIGKILL')
  }, 5)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      clearInterval(watch)
      resolve({ code, stdout, stderr })
    })
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
    const own = await train('--out', at('own'), '--parts', 'q:4:12,v', '--rs-lora', '--steps', '2', '--quiet')
    expect(own.code).toBe(0)
    const { stdout } = await m4fm('adapter', 'inspect', at('own'), '--image', IMAGE)
    expect(stdout).toMatch(/self_attn\.q_proj of 2 layers: rank 4, alpha 12, scale 6$/m)
    expect(stdout).toMatch(/self_attn\.v_proj of 2 layers: rank 8, alpha 16, scale 5\.657$/m)
    expect(stdout).toMatch(/^fit +same/m)
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

  test('after kill -9 the same command gives the same bytes as a run that was left alone', async () => {
    const words = ['--steps', '150', '--patience', '0', '--checkpoint-every', '0.1']
    const common = ['adapter', 'train', '--data', at('reviews.csv'), '--image', IMAGE, ...words]
    const checkpoint = at('killed.training', 'checkpoint.safetensors')
    const killed = await interrupted([...common, '--out', at('killed')], checkpoint)
    expect([killed.code, existsSync(at('killed'))]).toEqual([null, false])
    const [resumed, whole] = [
      await train('--out', at('killed'), ...words, '--json'),
      await train('--out', at('alone'), ...words, '--json'),
    ]
    expect(resumed.json<TrainJson>().fit.resumedAt).toBeGreaterThan(0)
    const weights = (name: string) => readFile(at(name, 'adapter_model.safetensors'))
    expect((await weights('killed')).equals(await weights('alone'))).toBe(true)
    expect(resumed.json<TrainJson>().fit.losses).toEqual(whole.json<TrainJson>().fit.losses)
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
      [['--data', at('reviews.csv'), '--out', at('x'), '--parts', 'q:16:x'], 2, 'INVALID_REQUEST'],
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

/**
 * An image of a checkpoint from a file, so that accuracy may be measured on it. Its weights were never trained, but two layers
 * of them are enough to learn two words apart.
 */
async function buildPretrained(name: string, seed: number): Promise<void> {
  const config = { num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 256, rms_norm_eps: 1e-6 }
  const shapes = llamaShapes({
    vocabulary: 288,
    width: 32,
    feedForward: 64,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headWidth: 8,
    contextLength: 256,
    normEpsilon: 1e-6,
    ropeTheta: 1e4,
  })
  const normal = normalSource(seed)
  const tensors = Object.entries(LLAMA_LAYOUTS.hf.names).flatMap(([ours, theirs]) =>
    (theirs.includes('{}') ? [0, 1] : [0]).map((layer) => {
      const dims = shapes[ours]!
      const scale = dims.length === 1 ? 0 : 1 / Math.sqrt(dims.at(-1)!)
      const count = dims.reduce((a, b) => a * b, 1)
      const data = Float32Array.from({ length: count }, () => (scale === 0 ? 1 : scale * normal()))
      return [theirs.replace('{}', String(layer)), hostTensor('float32', dims, data)] as const
    }),
  )
  const source = async (file: string, bytes: Uint8Array | string) => {
    const path = at(`${name}-${file}`)
    await writeFile(path, bytes)
    const sha256 = createHash('sha256').update(bytes).digest('hex')
    return { sha256, bytes: Buffer.byteLength(bytes), licence: 'MIT', uris: [`file:${path}`] }
  }
  const recipe = {
    name,
    version: '1.0.0',
    rollbackIndex: 1,
    about: name,
    modules: {
      backbone: {
        architecture: 'llama',
        title: name,
        quantisations: { fp32: { default: 'fp32' } },
        tokenizer: { from: 'tiny' },
        loraSites: ['qkv', 'o'],
        weights: {
          files: {
            'config.json': await source('config.json', JSON.stringify(config)),
            'model.safetensors': await source('model.safetensors', writeSafetensors(Object.fromEntries(tensors))),
          },
        },
      },
    },
  } as Recipe
  await buildFirmware(recipe, { home, out: at('images', name) })
}

interface EvalJson {
  readonly fit: string
  readonly measured: { readonly value: number; readonly count: number }
  readonly base: { readonly value: number }
  readonly sameOutput: boolean
}
interface VerdictJson {
  readonly verdict: string
  readonly reason: string
  readonly evaluation?: EvalJson
  readonly retrained?: { readonly out: string; readonly metric: { readonly value: number } }
}

describe('measured on an image with weights of a file', () => {
  const LEARN = ['--parts', 'q,k,v,o', '--lr', '0.02', '--patience', '0', '--steps', '60']
  const on = (image: string, ...words: string[]) => m4fm('adapter', ...words, '--image', image, '--json')

  beforeAll(async () => {
    // What two layers that were never trained can learn: one letter or the other, all over the text.
    const rows = Array.from({ length: 40 }, (_, i) => [`${i} xxxxxxxx,good`, `${i} qqqqqqqq,bad`]).flat()
    await writeFile(at('letters.csv'), `text,label\n${rows.join('\n')}\n`)
    await buildPretrained('first', 3)
    await buildPretrained('second', 4)
    const trained = await on('first', 'train', '--data', at('letters.csv'), '--out', at('judge'), ...LEARN)
    expect([trained.code, trained.stderr]).toEqual([0, ''])
  })

  test('what training recorded is measured again, on its own samples and on others', async () => {
    const { manifest } = await readAdapterPackage(at('judge'))
    expect(manifest.metric!.value).toBeGreaterThanOrEqual(0.8)
    const [own, others] = await Promise.all([
      on('first', 'eval', at('judge')),
      on('first', 'eval', at('judge'), '--data', at('letters.csv'), '--count', '10'),
    ])
    expect([own.code, own.stderr, others.code]).toEqual([0, '', 0])
    const report = own.json<EvalJson>()
    expect(report).toMatchObject({ fit: 'same', sameOutput: false })
    expect(report.measured.value).toBe(manifest.metric!.value)
    expect(report.measured.count).toBe(manifest.metric!.count)
    expect(report.base.value).toBeLessThan(report.measured.value)
    expect(others.json<EvalJson>().measured.count).toBe(10)
    const text = await m4fm('adapter', 'eval', at('judge'), '--image', 'first')
    expect(text.stdout).toMatch(/^accuracy +\d\.\d{3} ± /m)
    expect(text.stdout).toMatch(/^base alone +\d/m)
  })

  test('on its image it is kept; on another it falls short, and is trained again', async () => {
    const [kept, fallen] = await Promise.all([
      on('first', 'revalidate', at('judge')),
      on('second', 'revalidate', at('judge'), '--eval', at('letters.csv')),
    ])
    expect(kept.code).toBe(0)
    expect(kept.json<VerdictJson>()).toMatchObject({ verdict: 'keep', evaluation: { fit: 'same' } })
    // Weights of another seed know nothing of what was learned on the first.
    expect(fallen.code).toBe(1)
    const { verdict, evaluation } = fallen.json<VerdictJson>()
    expect(verdict).toMatch(/^(retrain|refuse)$/)
    expect(evaluation).toMatchObject({ fit: 'revalidate', measured: { count: 80 } })
    // Remembered for this image, and not for the other.
    const use = (image: string) => m4fm('run', image, '--task', 'classify', 'x', '--adapter', at('judge'), '--json')
    const [here, there] = await Promise.all([use('second'), use('first')])
    if (verdict === 'refuse') expect([here.code, here.stdout]).toEqual([2, expect.stringContaining('adapter-refused')])
    else expect(here.json()).toMatchObject({ adapter: { verdict, warnings: [expect.stringContaining('not kept')] } })
    expect(there.json()).toMatchObject({ adapter: { fit: 'same', verdict: 'keep', warnings: [] } })
    const again = await on(
      'second',
      ...[
        'revalidate',
        at('judge'),
        '--retrain',
        '--data',
        at('letters.csv'),
        '--out',
        at('judge-2'),
        '--tolerance',
        '0',
      ],
    )
    const report = again.json<VerdictJson>()
    if (report.verdict === 'keep') throw new Error(report.reason)
    expect(again.code).toBe(0)
    expect(report.retrained).toMatchObject({ out: at('judge-2') })
    const { manifest } = await readAdapterPackage(at('judge-2'))
    expect(manifest).toMatchObject({
      name: 'judge',
      base: { image: { name: 'second' } },
      training: { recipe: { steps: 60 } },
    })
    expect((await on('second', 'revalidate', at('judge-2'))).json<VerdictJson>().verdict).toBe('keep')
  })

  test('few-shot: a row a share, a run a seed, and nothing left behind', async () => {
    const before = (await readdir(home)).sort()
    const few = await on(
      'first',
      ...['few-shot', '--data', at('letters.csv'), '--fractions', '0.2,1', '--repeats', '2', '--steps', '4'],
    )
    expect([few.code, few.stderr]).toEqual([0, ''])
    expect(few.json()).toMatchObject({
      metric: 'accuracy',
      rows: [
        {
          fraction: 0.2,
          runs: [
            { seed: 0, steps: 4 },
            { seed: 1, steps: 4 },
          ],
        },
        { fraction: 1, samples: 72, mean: expect.any(Number) },
      ],
    })
    expect((await readdir(home)).sort()).toEqual(before)
  })

  test('few-shot: with a folder, what is finished outlives a kill and Ctrl-C', async () => {
    const words = ['few-shot', '--data', at('letters.csv'), '--fractions', '0.2,1', '--repeats', '1', '--steps', '40']
    const few = ['adapter', ...words, '--patience', '0', '--image', 'first', '--out', at('few')]
    const killed = await interrupted([...few, '--json'], at('few', 'under-way', '1-0.training'))
    expect([killed.code, killed.stdout]).toEqual([null, ''])
    const { runs } = JSON.parse(await readFile(at('few', 'few-shot.json'), 'utf8'))
    expect(runs).toMatchObject([{ fraction: 0.2, steps: 40 }])
    const stopped = await interrupted(few)
    expect(stopped.code).toBe(130)
    expect(stopped.stderr).toMatch(/^20 %, seed 0: .* \(from before\)$/m)
    expect(stopped.stderr).toContain(`finished runs are kept in ${at('few')}`)
    const done = await m4fm(...few, '--json')
    expect(done.json()).toMatchObject({ metric: 'accuracy', rows: [{ runs }, { fraction: 1, samples: 72 }] })
    const other = await m4fm(...few, '--rank', '2', '--json')
    expect([other.code, other.json<ErrorJson>().error.code]).toEqual([2, 'INVALID_REQUEST'])
  })

  test('what cannot be measured is refused, and options that mean nothing too', async () => {
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [['eval', at('judge'), '--image', IMAGE], 2, 'NOT_AVAILABLE'],
      [['eval', at('judge'), '--image', 'first', '--count', '0'], 2, 'USAGE'],
      [['eval', 'nobody', '--image', 'first'], 2, 'UNKNOWN_NAME'],
      [['revalidate', at('judge'), '--image', 'first', '--out', at('x')], 2, 'USAGE'],
      [['revalidate', at('judge'), '--image', 'first', '--retrain'], 2, 'USAGE'],
      [['few-shot', '--data', at('letters.csv'), '--image', 'first', '--fractions', '0,1'], 2, 'USAGE'],
    ]
    for (const [words, code, name] of cases) {
      const result = await m4fm('adapter', ...words, '--json')
      expect([result.code, result.json<ErrorJson>().error.code], words.join(' ')).toEqual([code, name])
    }
    const foreign = await on(IMAGE, 'revalidate', at('judge'))
    expect([foreign.code, foreign.json<ErrorJson>().error.code]).toEqual([2, 'NOT_AVAILABLE'])
  })
})
