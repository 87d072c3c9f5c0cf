/** mAIBench's 50 entries: the table beside the paper's, and each way of asking one through the command line. */

import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BENCH_TASKS, benchTask, missingFor } from '../src/bench/tasks/index.js'
import { buildFirmware, findRecipe, readManifest } from '../src/firmware/index.js'
import { ensureCompiled, ROOT, runCli } from './helpers/cli.js'

const sample = (name: string) => join(ROOT, 'samples', name)
const fieldsOf = (ask: object) => ask as { readonly labels?: readonly string[]; readonly template?: string }

describe('the table', () => {
  /** Paper, Table 5. */
  const PATHS: Readonly<Record<number, readonly number[]>> = {
    1: [32, 33, 34, 37, 42, 43, 44, 45, 49, 50],
    2: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    3: [14, 15, 16, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 35, 36, 38, 39, 40, 46, 47, 48],
    4: [17, 41],
  }

  test('50 entries in order, each on its path', () => {
    expect(BENCH_TASKS.map(({ id }) => id)).toEqual(Array.from({ length: 50 }, (_, i) => `T${i + 1}`))
    for (const [path, numbers] of Object.entries(PATHS))
      expect(BENCH_TASKS.filter((task) => task.path === Number(path)).map(({ id }) => Number(id.slice(1)))).toEqual(
        numbers,
      )
  })

  test.each(BENCH_TASKS.map((task) => [task.id, task] as const))('%s can be asked as it stands', (_, task) => {
    const { labels, template } = fieldsOf(task.ask)
    if (labels) expect(new Set(labels).size).toBe(labels.length)
    if (template) expect(template.split('{}')).toHaveLength(2)
    if ('file' in task.sample) expect(existsSync(sample(task.sample.file))).toBe(true)
    else expect(task.sample.text).not.toBe('')
  })

  test.each([
    ['T5', 20],
    ['T6', 28],
    ['T22', 100],
    ['T24', 43],
    ['T36', 50],
  ])('%s has %i classes', (id, count) => {
    expect(fieldsOf(benchTask(id).ask).labels).toHaveLength(count)
  })
})

describe('asked', () => {
  let home: string
  const m4fm = (...words: string[]) => runCli(words, { home })
  const asked = async (id: string, ...words: string[]) => {
    const { code, stdout, stderr } = await m4fm('run', 'tiny-random', '--task', id, '--json', ...words)
    expect(stderr + stdout).not.toMatch(/FAULT/)
    return { code, ...JSON.parse(stdout) }
  }
  beforeAll(async () => {
    ensureCompiled()
    home = await mkdtemp(join(tmpdir(), 'm4-tasks-'))
    await buildFirmware(findRecipe('tiny-random'), { out: join(home, 'images', 'tiny-random') })
  }, 180_000)
  afterAll(() => rm(home, { recursive: true, force: true }))

  test('labels and prompt are those of the entry; an option goes before', async () => {
    const sentiment = await asked('T9', 'a warm and witty film')
    expect(sentiment.output.scores.map(({ label }: { label: string }) => label).sort()).toEqual([
      'negative',
      'positive',
    ])
    expect(sentiment.report).toMatchObject({ path: 2, task: 'classify' })
    const own = await asked('t9', 'a warm and witty film', '--labels', 'good,bad,middling')
    expect(own.output.scores).toHaveLength(3)
  })

  test('pictures, sounds and motion by closeness in the joint space', async () => {
    const picture = await asked('T21', sample('room.jpg'))
    expect(picture.output.matches[0].scores).toHaveLength(2)
    expect(picture.report.modules.map(({ role }: { role: string }) => role).sort()).toEqual(['IMG', 'TXT'])
    const sound = await asked('T35', sample('reading.wav'))
    expect(sound.output.matches[0].scores).toHaveLength(4)
  })

  test('what only an app can bring, what is not there, what does not exist', async () => {
    const boxes = await asked('T14', sample('room.jpg'))
    expect(boxes).toMatchObject({ code: 2, error: { code: 'NOT_AVAILABLE' } })
    expect(boxes.error.message).toMatch(/T14 \(Object detection\).*a head for boxes/)
    expect((await asked('T27', sample('room.jpg'))).error.message).toMatch(/labels/)
    expect((await asked('T27', sample('room.jpg'), '--labels', 'Peru,Japan')).output.matches).toHaveLength(1)
    expect(await asked('T51', 'x')).toMatchObject({ code: 2, error: { code: 'UNKNOWN_NAME' } })
  })

  test('the file of an entry goes where its task takes it', async () => {
    const out = join(home, 'out.png')
    const [after, enlarged] = [
      await asked('T48', sample('reading.wav'), '--out', out),
      await asked('T17', sample('room.jpg'), '--out', out),
    ]
    // The toy generator knows nothing but texts, and enlarges nothing: the refusal says so before anything wakes.
    expect(after.error).toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringContaining('paints after texts alone'),
    })
    expect(enlarged.error).toMatchObject({
      code: 'NOT_AVAILABLE',
      message: expect.stringContaining('enlarges pictures'),
    })
  })

  test('`tasks` lists what the image can do', async () => {
    const { stdout } = await m4fm('tasks', 'tiny-random', '--json')
    const listed = JSON.parse(stdout) as { id: string; available: boolean; needs: string[] }[]
    const manifest = await readManifest(join(home, 'images', 'tiny-random'))
    expect(listed.map(({ needs }) => needs)).toEqual(BENCH_TASKS.map((task) => missingFor(task, manifest)))
    expect(listed.filter(({ available }) => available).length).toBeGreaterThan(30)
    expect((await m4fm('tasks', 'tiny-random')).stdout).toMatch(/T14 +Object detection .*needs an adapter/)
  })
})
