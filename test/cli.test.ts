/** The command line on `tiny-random`, as processes: help, JSON, exit codes, Ctrl-C. */

import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeSafetensors } from '../src/checkpoint/index.js'
import { COMMANDS } from '../src/cli/commands.js'
import { type HostTensor, hostTensor, normalSource } from '../src/core/index.js'
import { findRecipe } from '../src/firmware/recipes.js'
import { decodeWav, encodePng, encodeWav16 } from '../src/media/index.js'
import { ensureCompiled, ROOT, runCli } from './helpers/cli.js'

interface ErrorJson {
  readonly error: { readonly code: string; readonly message: string; readonly hint?: string }
}

let home: string
const m4fm = (...words: string[]) => runCli(words, { home })
/** Two at a time: a start costs a whole core for a quarter of a second. */
const both = <A, B>(a: Promise<A>, b: Promise<B>) => Promise.all([a, b])

beforeAll(async () => {
  ensureCompiled()
  home = await mkdtemp(join(tmpdir(), 'm4-cli-'))
}, 120_000)
afterAll(() => rm(home, { recursive: true, force: true }))

describe('help', () => {
  test('every command has an example and its exit codes', async () => {
    const names = Object.keys(COMMANDS)
    expect(names.sort()).toEqual(
      [
        'adapter',
        'build',
        'chat',
        'doctor',
        'flash',
        'import',
        'inspect',
        'ops',
        'parity',
        'pull',
        'rollback',
        'run',
        'tasks',
        'verify',
      ].sort(),
    )
    for (let i = 0; i < names.length; i += 2)
      for (const { code, stdout } of await Promise.all(names.slice(i, i + 2).map((name) => m4fm(name, '--help')))) {
        expect(code).toBe(0)
        expect(stdout).toMatch(/Example:\n {2}\$ m4fm \w+/)
        expect(stdout).toMatch(/Exit codes: 0 done;/)
        expect(stdout).toContain('--json')
      }
  })

  test('a bare m4fm shows the commands and is misuse', async () => {
    const [bare, unknown] = await both(m4fm(), m4fm('flsh', 'x'))
    expect(bare.code).toBe(2)
    expect(bare.stderr).toContain('inspect <image>')
    expect(unknown.code).toBe(2)
    expect(unknown.stderr).toMatch(/flsh.*flash/)
  })
})

describe('before anything is built', () => {
  test('what is missing is told with the command that makes it', async () => {
    const [run, image] = await both(m4fm('run', '--task', 'complete', 'x', '--json'), m4fm('inspect', 'nowhere'))
    expect(run.code).toBe(3)
    expect(run.json<ErrorJson>().error).toMatchObject({ code: 'FILE_NOT_FOUND', hint: expect.stringContaining('m4fm') })
    expect(run.stderr).toContain('→ Run `m4fm pull lite`')
    expect(image.code).toBe(3)
    expect(image.stdout).toBe('')
  })

  test('an unknown recipe gives the nearest name', async () => {
    const [build, pull] = await both(m4fm('build', 'tiny-randm', '--json'), m4fm('pull', 'tiny-random', '--json'))
    expect(build.code).toBe(2)
    expect(build.json<ErrorJson>().error).toMatchObject({ code: 'UNKNOWN_NAME', hint: 'Did you mean tiny-random?' })
    expect(pull.code).toBe(0)
    expect(pull.json()).toEqual({ recipe: 'tiny-random', files: [] })
  })
})

describe('an image from build to rollback', () => {
  test('build, inspect, verify, ops', async () => {
    const built = await m4fm('build', 'tiny-random', '--json')
    expect(built.stderr).toBe('')
    expect(built.code).toBe(0)
    const { digest, modules } = built.json<{ digest: string; modules: string[] }>()
    expect(modules.sort()).toEqual(Object.keys(findRecipe('tiny-random').modules).sort())
    const [inspect, verify] = await both(
      m4fm('inspect', 'tiny-random', '--json'),
      m4fm('verify', 'tiny-random', '--json'),
    )
    expect(inspect.json()).toMatchObject({ digest, name: 'tiny-random', weights: 'random' })
    expect(verify.json()).toMatchObject({ ok: true, digest })
    const [ops, text] = await both(m4fm('ops', 'tiny-random', '--json'), m4fm('inspect', 'tiny-random'))
    const standard = (await m4fm('ops', 'standard', '--json')).json<{ types: string[] }>()
    expect(standard.types.length).toBeLessThanOrEqual(39)
    // From the recipe alone: nothing of it is on this machine.
    const fuyu = await m4fm('ops', 'fuyu', '--json')
    expect(fuyu.json<{ types: string[] }>().types).toEqual(
      expect.arrayContaining(['Pad', 'com.microsoft.GroupQueryAttention']),
    )
    const census = ops.json<{ types: string[]; counts: Record<string, number>; total: number }>()
    expect(census).toMatchObject({ withoutSubgraphs: expect.any(Object) })
    expect(census.total).toBe(Object.values(census.counts).reduce((a, b) => a + b, 0))
    expect(census.types).toEqual(inspect.json<{ operators: { types: string[] } }>().operators.types)
    expect(text.stdout).toContain('random weights')
  })

  test('flash, doctor, a second flash, rollback', async () => {
    const flashed = await m4fm('flash', 'tiny-random', '--json')
    expect(flashed.code).toBe(0)
    expect(flashed.json()).toMatchObject({ slot: 'A', name: 'tiny-random' })
    const [doctor, refused] = await both(m4fm('doctor', '--json'), m4fm('rollback', '--json'))
    expect(doctor.code).toBe(0)
    const { ok, findings } = doctor.json<{
      ok: boolean
      findings: { check: string; status: string; value: string }[]
    }>()
    expect(ok).toBe(true)
    expect(findings.map(({ check }) => check)).toEqual(
      expect.arrayContaining(['node', 'engine', 'memory', 'home', 'image tiny-random', 'slot A', 'slot B']),
    )
    expect(findings.find(({ check }) => check === 'slot A')?.value).toContain('active')
    expect(refused.code).toBe(2)
    expect((await m4fm('flash', 'tiny-random', '--json')).json()).toMatchObject({ slot: 'B' })
    expect((await m4fm('rollback', '--json')).json()).toMatchObject({ active: 'A' })
  })

  test('a damaged image is found', async () => {
    const out = join(home, 'damaged')
    await m4fm('build', 'tiny-random', '--out', out, '--quiet')
    await writeFile(join(out, 'blobs', 'stray'), 'x')
    const { code, stdout } = await m4fm('verify', out)
    expect(code).toBe(3)
    expect(stdout).toContain('stray')
  })
})

interface RunJson {
  readonly output: Record<string, unknown>
  readonly report: { path: number; random?: boolean; modules: { role: string }[]; tokens: Record<string, number> }
}

describe('run', () => {
  const ask = (...words: string[]) => m4fm('run', 'tiny-random', '--task', ...words)

  test('every task answers with its path and modules', async () => {
    const wav = join(home, 'noise.wav')
    const samples = Float32Array.from({ length: 16_000 }, (_, i) => Math.sin(i * i * 1e-5) / 2)
    await writeFile(wav, encodeWav16(samples, 16_000))
    const picture = join(home, 'dots.png')
    await writeFile(picture, await encodePng({ data: new Uint8Array(3 * 40 * 30).fill(90), width: 40, height: 30 }))
    const motion = join(home, 'motion.csv')
    const rows = Array.from({ length: 60 }, (_, n) => [n / 400, n, 1, 2, 3, 4, 5].join(','))
    await writeFile(motion, ['t,ax,ay,az,gx,gy,gz', ...rows, ''].join('\n'))
    const cases: readonly (readonly [readonly string[], number, readonly string[]])[] = [
      [['generate', 'a b', '--max-tokens', '3'], 2, ['backbone']],
      [['complete', 'q', '--max-tokens', '3'], 2, ['backbone']],
      [['classify', 'q', '--labels', 'yes,no'], 2, ['backbone']],
      [['transcribe', wav, '--max-tokens', '4'], 1, ['AUD-I']],
      [['embed', 'one'], 3, ['TXT']],
      [['similarity', 'one', 'two'], 3, ['TXT']],
      [['match', 'one', '--labels', 'a,b'], 3, ['TXT']],
      [['match', picture, wav, '--labels', 'a,b'], 3, ['IMG', 'AUD-B', 'TXT']],
      [['embed', motion, 'a text'], 3, ['IMU', 'TXT']],
      [['retrieve', 'a', '--gallery', picture, '--gallery', 'a', '--top', '1'], 3, ['IMG', 'TXT']],
      [['describe', picture, '--question', 'What?', '--max-tokens', '3'], 1, ['IMG', 'backbone']],
      [['speak', 'One. Two.', '--seed', '3', '--out', join(home, 'speech.wav')], 4, ['TTS']],
    ]
    for (let i = 0; i < cases.length; i += 2)
      await Promise.all(
        cases.slice(i, i + 2).map(async ([words, path, roles]) => {
          const result = await ask(...words, '--json')
          expect(result.stderr, words.join(' ')).toBe('')
          const { output, report } = result.json<RunJson>()
          expect(report, words.join(' ')).toMatchObject({ path, random: true })
          expect(report.modules.map(({ role }) => role)).toEqual(roles)
          if (words[0] === 'speak') {
            expect(output).toMatchObject({ out: join(home, 'speech.wav'), sentences: [{}, {}] })
            const { samples, sampleRateHz } = decodeWav(await readFile(join(home, 'speech.wav')))
            expect(samples[0]!.length / sampleRateHz).toBeCloseTo(output.durationS as number, 6)
          }
          if (words[0] === 'retrieve') expect(output.results).toMatchObject([[{ index: 1 }]])
          if (words[0] === 'similarity') expect((output.similarities as number[][])[0]![0]).toBeCloseTo(1, 4)
        }),
      )
  })

  test('text streams to stdout, the report to stderr; the same seed, the same answer', async () => {
    const words = ['generate', 'a b', '--max-tokens', '12', '--temperature', '2', '--seed', '5']
    const [a, b] = await both(ask(...words), ask(...words, '--json'))
    expect(a.stdout).toBe(`${b.json<RunJson>().output.text}\n`)
    expect(a.stderr).toMatch(/path\s+path 2: backbone/)
    expect(a.stderr).toContain('weights are random')
  })

  test('input comes from files and pipes too; the flashed slot is the default', async () => {
    const examples = join(home, 'examples.tsv')
    await writeFile(examples, 'one\tyes\ntwo\tno\n')
    const [piped, file] = await both(
      runCli(['run', '--task', 'embed', '--json'], { home, stdin: 'first\nsecond\n' }),
      ask(
        'classify',
        '--file',
        examples,
        '--labels',
        'yes,no',
        '--examples',
        examples,
        '--calibrate',
        examples,
        '--json',
      ),
    )
    expect(piped.json<RunJson>().output.embeddings).toHaveLength(2)
    expect(file.json<RunJson>().output).toMatchObject({ label: expect.stringMatching(/yes|no/) })
  })

  test('bad input has its exit code and says what to do', async () => {
    const text = join(home, 'not.wav')
    await writeFile(text, 'this is no sound')
    const broken = join(home, 'broken.png')
    await writeFile(broken, 'this is no picture')
    const words = join(home, 'words.csv')
    await writeFile(words, 't,x\n0,left\n')
    const cases: readonly (readonly [readonly string[], number, string])[] = [
      [['transcribe', text], 3, 'AUDIO_INVALID'],
      [['transcribe', join(home, 'none.wav')], 3, 'FILE_NOT_FOUND'],
      [['generate', 'hi', '--chat'], 2, 'NOT_AVAILABLE'],
      [['complete', ''], 2, 'EMPTY_INPUT'],
      [['generate', 'word '.repeat(400)], 2, 'CONTEXT_OVERFLOW'],
      // ONNX Runtime would end the process with a segmentation fault.
      [['generate', 'a'.repeat(60_000)], 2, 'USAGE'],
      [['match', 'x', '--labels', 'a,a'], 2, 'USAGE'],
      [['match', broken, '--labels', 'a,b'], 3, 'PICTURE_INVALID'],
      [['match', join(home, 'none.png'), '--labels', 'a,b'], 3, 'FILE_NOT_FOUND'],
      [['embed', words], 3, 'FORMAT_INVALID'],
      [['retrieve', 'x'], 2, 'USAGE'],
      [['describe', 'x'], 2, 'USAGE'],
      [['tell', 'x'], 2, 'UNKNOWN_NAME'],
      [['embed', 'x', '--labels', 'a,b'], 2, 'USAGE'],
      [['speak', 'x'], 2, 'USAGE'],
      [['complete', 'x', '--max-tokens', 'many'], 2, 'USAGE'],
      [['complete', 'x', '--adapter', home], 3, 'FILE_NOT_FOUND'],
    ]
    for (let i = 0; i < cases.length; i += 2)
      await Promise.all(
        cases.slice(i, i + 2).map(async ([words, code, name]) => {
          const result = await ask(...words, '--json')
          expect(result.json<ErrorJson>().error.code, words.join(' ')).toBe(name)
          expect(result.code, words.join(' ')).toBe(code)
          expect(result.stderr).toContain('m4fm: ')
        }),
      )
  })

  test('an adapter changes the answer, one that does not fit is refused', async () => {
    const folder = await writeAdapter('fits', 2)
    const words = ['generate', 'a b', '--max-tokens', '24', '--json']
    const [base, adapted] = await both(ask(...words), ask(...words, '--adapter', folder))
    expect(adapted.stderr).toBe('')
    expect(adapted.json<RunJson>().output.text).not.toBe(base.json<RunJson>().output.text)
    const refused = await ask(...words, '--adapter', await writeAdapter('too-deep', 3))
    expect(refused.code).toBe(3)
    expect(refused.json<ErrorJson>().error.message).toContain('too-deep')
  })
})

/** A PEFT folder with LoRA of rank 2 on the queries of `layers` layers; tiny-random has 2 of width 64. */
async function writeAdapter(name: string, layers: number): Promise<string> {
  const folder = join(home, name)
  await mkdir(folder)
  const normal = normalSource(9)
  const matrix = (dims: [number, number]) =>
    hostTensor('float32', dims, Float32Array.from({ length: dims[0] * dims[1] }, normal))
  const tensors: Record<string, HostTensor> = {}
  for (let layer = 0; layer < layers; layer++) {
    const module = `base_model.model.model.layers.${layer}.self_attn.q_proj`
    tensors[`${module}.lora_A.weight`] = matrix([2, 64])
    tensors[`${module}.lora_B.weight`] = matrix([64, 2])
  }
  await writeFile(join(folder, 'adapter_model.safetensors'), writeSafetensors(tensors))
  const config = { peft_type: 'LORA', task_type: 'CAUSAL_LM', r: 2, lora_alpha: 4, target_modules: ['q_proj'] }
  await writeFile(join(folder, 'adapter_config.json'), JSON.stringify(config))
  return folder
}

describe('chat and parity', () => {
  test('lines of a pipe are answered in turn, commands obeyed', async () => {
    const stdin = 'hello\n/reset\nagain\n/quit\nnever\n'
    const { code, json } = await runCli(['chat', 'tiny-random', '--max-tokens', '3', '--json'], { home, stdin })
    expect(code).toBe(0)
    const turns = json<{ input: string; report: { tokens: { generated: number } } }[]>()
    expect(turns.map(({ input }) => input)).toEqual(['hello', 'again'])
  })

  test('parity: one case is an object, a folder an array, a failure exit 1', async () => {
    const folder = join('test', 'goldens', 'metric-wer')
    const wrong = join(home, 'cases', 'wrong')
    await cp(join(ROOT, folder), wrong, { recursive: true })
    const cases = await readFile(join(wrong, 'cases.json'), 'utf8')
    await writeFile(join(wrong, 'cases.json'), cases.replace(/"wer": \d+/, '"wer": 99'))
    const [one, many] = await both(m4fm('parity', folder, '--json'), m4fm('parity', join(home, 'cases'), '--json'))
    expect(one.json()).toMatchObject({ name: 'metric-wer', pass: true, outputs: expect.any(Array) })
    expect(one.code).toBe(0)
    expect(many.json()).toMatchObject([{ pass: false }])
    expect(many.code).toBe(1)
    expect((await m4fm('parity', join(home, 'images'), '--json')).code).toBe(3)
  })

  test('Ctrl-C ends a long run with 130', async () => {
    // Dozens of cases, told one by one: the first line comes long before the last.
    let sent = false
    const { code, stderr, stdout } = await runCli(['parity', join('test', 'goldens')], {
      home,
      onOutput: (child) => {
        if (!sent) child.kill('SIGINT')
        sent = true
      },
    })
    expect(stdout).toMatch(/^pass /)
    expect(code).toBe(130)
    expect(stderr).toContain('Interrupted')
    expect(stdout).not.toContain(' cases, ')
  })
})
