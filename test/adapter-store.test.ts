/** `m4fm adapter install`, `list` and `remove` on `tiny-random`, as processes; what a verdict of `revalidate` means there. */

import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { rememberVerdict, type Verdict, writeAdapterPackage } from '../src/adapters/index.js'
import { factsOf, verdictOf } from '../src/adapters/testing/fixtures.js'
import { featureAbi } from '../src/runtime/head-adapter.js'
import { both, type ErrorJson, OTHER_BASE, type RunJson, useAdapterHome } from './helpers/adapter-home.js'
import { runCli } from './helpers/cli.js'

const on = useAdapterHome()
const { at, m4fm, ask, packageAt, onOtherImage } = on

describe('the store', () => {
  test('install, list, use by name, remove', async () => {
    await packageAt('letters')
    const install = await m4fm('adapter', 'install', at('letters'), '--image', 'tiny-random', '--json')
    expect([install.code, install.stderr]).toEqual([0, ''])
    expect(install.json()).toMatchObject({ name: 'letters', fit: 'same', path: at('adapters', 'letters') })
    const [list, inspect] = await both(
      m4fm('adapter', 'list', '--image', 'tiny-random', '--json'),
      m4fm('adapter', 'inspect', 'letters', '--json'),
    )
    expect(list.json()).toMatchObject({
      adapters: [{ name: 'letters', version: '1.2.0', kind: 'lora', fit: 'same', signed: false }],
    })
    expect(inspect.json()).toMatchObject({ folder: at('adapters', 'letters'), manifest: { name: 'letters' } })
    const words = ['generate', 'a b', '--max-tokens', '24']
    const [base, adapted] = await both(ask(...words), ask(...words, '--adapter', 'letters'))
    expect(adapted.json<RunJson>()).toMatchObject({
      report: { adapter: 'letters' },
      adapter: { name: 'letters', fit: 'same', warnings: [] },
    })
    expect(adapted.json<RunJson>().output.text).not.toBe(base.json<RunJson>().output.text)
    expect(base.json<object>()).not.toHaveProperty('adapter')
    const [mistyped, imported] = await both(
      ask(...words, '--adapter', 'leters'),
      m4fm('import', 'letters', '--image', 'tiny-random', '--json'),
    )
    expect(imported.json()).toMatchObject({ kind: 'peft', matched: 8, total: 8 })
    expect(mistyped.json<ErrorJson>().error.hint).toBe('Did you mean letters?')
    const removed = await m4fm('adapter', 'remove', 'letters', '--json')
    expect(removed.json()).toEqual({ removed: 'letters' })
    const [empty, again] = await both(m4fm('adapter', 'list', '--json'), m4fm('adapter', 'remove', 'letters', '--json'))
    expect(empty.json()).toEqual({ adapters: [] })
    expect([again.code, again.json<ErrorJson>().error.code]).toEqual([2, 'UNKNOWN_NAME'])
  })

  test('another ABI only with --force, another app only with --replace; a damaged one is listed as that', async () => {
    await packageAt('foreign', { base: OTHER_BASE })
    await packageAt('shared')
    await cp(at('shared'), at('theirs'), { recursive: true })
    const theirs = await writeTheirs()
    const install = (...words: string[]) => m4fm('adapter', 'install', ...words, '--image', 'tiny-random', '--json')
    const [refused, forced] = await both(install(at('foreign')), install(at('shared')))
    expect([refused.code, refused.json<ErrorJson>().error.code]).toEqual([2, 'NOT_AVAILABLE'])
    expect(refused.json<ErrorJson>().error.details).toMatchObject({ reason: 'adapter-incompatible' })
    expect(forced.code).toBe(0)
    const [taken, other] = await both(install(theirs), install(at('foreign'), '--force'))
    expect(taken.json<ErrorJson>().error).toMatchObject({ details: { reason: 'adapter-name-taken' } })
    expect(other.json()).toMatchObject({ fit: 'other-abi' })
    expect((await install(theirs, '--replace')).json()).toMatchObject({ app: 'org.example.other' })
    await writeFile(at('adapters', 'shared', 'eval.jsonl'), '{"text":"changed"}\n')
    const list = await m4fm('adapter', 'list', '--image', 'tiny-random')
    expect(list.stdout).toMatch(/^foreign .*other-abi/m)
    expect(list.stdout).toMatch(/^shared {2,}damaged/m)
    const { adapters } = (await m4fm('adapter', 'list', '--json')).json<{ adapters: { problem?: object }[] }>()
    expect(adapters[1]!.problem).toMatchObject({ code: 'DIGEST_MISMATCH' })
    for (const name of ['foreign', 'shared']) await m4fm('adapter', 'remove', name)
  })

  test('a head is installed where its encoder is; on another it is to be measured, and where there is none it is refused', async () => {
    const headAt = (name: string, module: string, image = { name: on.manifest.name, digest: on.digest }) =>
      writeAdapterPackage(at(name), {
        facts: {
          ...factsOf(on.manifest.abi),
          name,
          task: 'match',
          path: 3,
          kind: 'head',
          prompt: undefined,
          metric: undefined,
          head: { type: 'classifier', in: 4, out: 2, labels: ['cat', 'dog'] },
          base: { abi: featureAbi(on.manifest, module as 'IMG', 4), module, image },
        } as never,
        head: {
          'layers.0.weight': { dims: [2, 4], data: Float32Array.of(1, 0, 0, 0, 0, 1, 0, 0) },
          'layers.0.bias': { dims: [2], data: new Float32Array(2) },
        },
      })
    await headAt('pets', 'IMG')
    await headAt('older-pets', 'IMG', onOtherImage().image)
    await headAt('nobody', 'LIDAR')
    const install = (name: string) => m4fm('adapter', 'install', at(name), '--image', 'tiny-random')
    const [pets, older] = await both(install('pets'), install('older-pets'))
    expect([pets.code, older.code]).toEqual([0, 0])
    expect(pets.stderr).not.toContain('warning')
    expect(older.stderr).toMatch(/warning: adapter older-pets .*revalidate older-pets --image .* --eval FOLDER/)
    const [nobody, list] = await both(install('nobody'), m4fm('adapter', 'list', '--image', 'tiny-random'))
    expect([nobody.code, nobody.stderr]).toEqual([2, expect.stringContaining('no LIDAR that takes adapters')])
    expect(list.stdout).toMatch(/^pets .*head .* same /m)
    for (const name of ['pets', 'older-pets']) await m4fm('adapter', 'remove', name)
  })

  /** The name `shared` in the hands of another app. */
  async function writeTheirs(): Promise<string> {
    const folder = at('theirs')
    const path = join(folder, 'm4fm.json')
    await writeFile(path, (await readFile(path, 'utf8')).replace('org.example.reader', 'org.example.other'))
    return folder
  }
})

describe('what revalidate found', () => {
  const use = (...words: string[]) => ask('generate', 'a b', '--max-tokens', '2', '--adapter', at('older'), ...words)
  const inspect = (...words: string[]) => m4fm('adapter', 'inspect', at('older'), '--image', 'tiny-random', ...words)
  const install = (...words: string[]) =>
    m4fm('adapter', 'install', at('older'), '--image', 'tiny-random', '--replace', ...words)
  let older: string
  const found = (verdict: Verdict) => rememberVerdict(verdictOf(verdict, older, on.digest), on)

  beforeAll(async () => {
    older = (await packageAt('older', { base: onOtherImage() })).digest
  })

  test('keep: nothing more is said', async () => {
    expect((await use()).json<RunJson>().adapter!.warnings).toEqual([expect.stringContaining('revalidate')])
    await found('keep')
    const [run, shown] = await both(use(), inspect())
    expect(run.json<RunJson>().adapter).toMatchObject({ fit: 'revalidate', verdict: 'keep', warnings: [] })
    expect([shown.code, shown.stderr]).toEqual([0, ''])
    expect(shown.stdout).toMatch(/^verdict +keep, on 2026-11-20: /m)
    const installed = await install()
    expect(installed.stderr).not.toContain('warning')
    const [list, json] = await both(
      m4fm('adapter', 'list', '--image', 'tiny-random'),
      m4fm('adapter', 'list', '--image', 'tiny-random', '--json'),
    )
    expect(list.stdout).toMatch(/^older .* keep /m)
    expect(json.json()).toMatchObject({ adapters: [{ name: 'older', fit: 'revalidate', verdict: 'keep' }] })
    // The verdict is of these bytes: a new version under the name is asked again.
    await packageAt('newer', { name: 'older', trained: on.lora(3), base: onOtherImage() })
    const newer = await m4fm('adapter', 'install', at('newer'), '--image', 'tiny-random')
    expect(newer.stderr).toContain('m4fm adapter revalidate')
  })

  test('retrain: it answers, and what was measured is said each time', async () => {
    await found('retrain')
    const [run, shown] = await both(use(), inspect('--json'))
    expect(run.code).toBe(0)
    expect(run.json<RunJson>().adapter).toMatchObject({
      verdict: 'retrain',
      warnings: [expect.stringMatching(/2026-11-20.*accuracy 0\.400.*revalidate .*older.* --retrain/)],
    })
    expect([shown.code, shown.json()]).toMatchObject([0, { image: { verdict: { verdict: 'retrain', measured: {} } } }])
  })

  test('refuse: it does not answer, unless it is forced to', async () => {
    await found('refuse')
    const [run, forced] = await both(use(), use('--force'))
    expect([run.code, run.json<ErrorJson>().error]).toMatchObject([
      2,
      { code: 'NOT_AVAILABLE', hint: expect.stringContaining('--force'), details: { reason: 'adapter-refused' } },
    ])
    expect(forced.code).toBe(0)
    expect(forced.json<RunJson>().adapter!.warnings).toEqual([expect.stringContaining('was not kept')])
    const [shown, refused] = await both(inspect(), install('--json'))
    expect([shown.code, shown.stdout]).toEqual([2, expect.stringMatching(/^verdict +refuse/m)])
    expect([refused.code, refused.json<ErrorJson>().error.details]).toMatchObject([2, { reason: 'adapter-refused' }])
    const [installed, alone] = await both(install('--force'), ask('generate', 'a', '--force'))
    expect([installed.code, installed.stderr]).toEqual([0, expect.stringContaining('warning: adapter older was not')])
    expect([alone.code, alone.json<ErrorJson>().error.code]).toEqual([2, 'USAGE'])
  })

  test('a conversation does not change to what was refused', async () => {
    await found('refuse')
    const chat = (...words: string[]) =>
      runCli(['chat', 'tiny-random', '--max-tokens', '1', '--json', ...words], {
        home: on.home,
        stdin: `/adapter ${at('older')}\na\n`,
      })
    const [refused, forced] = await both(chat(), chat('--force'))
    expect([refused.code, refused.json<ErrorJson>().error.code]).toEqual([2, 'NOT_AVAILABLE'])
    expect(forced.json<{ report: object }[]>()).toMatchObject([{ report: { adapter: 'older' } }])
  })
})
