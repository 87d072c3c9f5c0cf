/**
 * `npm run demo`: what is missing is pulled, built and flashed; then a request after the other shows the four paths: text, speech,
 * sound, a picture and motion go in, text, speech and pictures come out, the last two as files in `demo-output/`. Under `--json`
 * stdout is one array of `{path, task, input, output, modules, ms}`. Runs in a checkout: its inputs are in `samples/`.
 */

import { mkdir } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Firmware } from '../runtime/firmware.js'
import type { Answer, Outputs, Report, Request, Task } from '../runtime/requests.js'
import { formatPath } from './answers.js'
import type { CliContext } from './context.js'
import { readBytes, readExamples, readLines } from './inputs.js'
import { itemOf } from './items.js'
import { formatMs, indent, table } from './print.js'
import { formatBytes } from './progress.js'
import { provision } from './provision.js'
import { saveOutput } from './saved.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SAMPLES = join(ROOT, 'samples')
const OUTPUT = join(ROOT, 'demo-output')

/** A request with what the reader of the demo is shown of it. */
interface Demonstration {
  readonly title: string
  readonly request: Request
  readonly input: unknown
  /** The file of `demo-output` that the answer is written to. */
  readonly out?: string
}

export interface DemoResult {
  readonly path: Report['path']
  readonly task: Task
  readonly input: unknown
  readonly output: unknown
  /** Roles of the modules that woke up, in order. */
  readonly modules: readonly string[]
  readonly ms: number
}

/** Runs the whole demo. @throws M4Error as `provision` and `Firmware.run` */
export async function runDemo(context: CliContext): Promise<DemoResult[]> {
  const startMs = performance.now()
  const [{ findRecipe }, { openFirmware }] = await Promise.all([
    import('../firmware/index.js'),
    import('../runtime/index.js'),
  ])
  const { home, offline, signal } = context
  const { listener, note, stop } = await context.progress()
  const image = await provision(findRecipe('lite'), { home, offline, signal, onProgress: listener, onNote: note })
  stop()
  using firmware = await openFirmware(image.path)
  const results: DemoResult[] = []
  await mkdir(OUTPUT, { recursive: true })
  for (const demonstration of await demonstrations(context)) {
    const answer = await ask(firmware, demonstration.request, signal)
    const { out } = demonstration
    if (out !== undefined) await saveOutput(answer.report.task, answer.output as never, { out: join(OUTPUT, out) })
    results.push(resultOf(demonstration, answer))
    context.stream(`${formatBlock(demonstration, answer)}\n\n`)
  }
  const { manifest } = firmware
  const end = table([
    ['total', formatMs(performance.now() - startMs)],
    ['image', `${manifest.name} ${manifest.version}, ${image.path}`],
    ['next', 'node dist/cli/main.js chat'],
  ])
  context.result(results, end)
  return results
}

async function demonstrations(context: CliContext): Promise<Demonstration[]> {
  const sample = (name: string) => join(SAMPLES, name)
  const shown = (name: string) => relative(ROOT, sample(name))
  const examples = await readExamples(sample('questions.tsv'))
  const reviews = await readExamples(sample('reviews.tsv'))
  const question = 'What is the capital of France?'
  const review = 'an utter waste of time from the first scene to the last'
  const labels = ['positive', 'negative']
  const text = 'A man is playing a guitar on stage.'
  const places = ['a sofa', 'a dog', 'a sports car']
  const sounds = ['a person speaking', 'a pure tone', 'noise']
  const activities = ['a person is walking', 'a person is sitting', 'a person is standing up']
  const spoken = 'One model for the whole device, served as firmware.'
  const painted = 'a picture of a sneaker'
  const others = ['Someone performs music for an audience.', 'The train to Berlin leaves at noon.']
  return [
    {
      title: 'A question in text',
      input: question,
      request: { task: 'complete', input: question, examples, maxTokens: 32 },
    },
    {
      title: 'A spoken question',
      input: shown('question.wav'),
      request: { task: 'listen', sound: { wav: await readBytes(sample('question.wav')) }, examples, maxTokens: 32 },
    },
    {
      title: 'A text classified by the scores of labels',
      input: { text: review, labels },
      request: {
        task: 'classify',
        text: review,
        labels,
        names: { input: 'Review', output: 'Sentiment' },
        examples: reviews.map(({ input, output }) => ({ text: input, label: output })),
        calibration: await readLines(sample('reviews-unlabelled.txt')),
      },
    },
    {
      title: 'Texts compared by meaning',
      input: { text, others },
      request: { task: 'similarity', texts: [text], others },
    },
    {
      title: 'A recording written down',
      input: shown('reading.wav'),
      request: { task: 'transcribe', sound: { wav: await readBytes(sample('reading.wav')) } },
    },
    {
      title: 'A picture among labels',
      input: { picture: shown('room.jpg'), labels: places },
      request: { task: 'match', items: [await itemOf(sample('room.jpg'), context, {})], labels: places },
    },
    {
      title: 'A sound among labels',
      input: { sound: shown('reading.wav'), labels: sounds },
      request: { task: 'match', items: [await itemOf(sample('reading.wav'), context, {})], labels: sounds },
    },
    {
      title: 'What a phone feels',
      input: { motion: shown('walking.csv'), labels: activities },
      request: { task: 'match', items: [await itemOf(sample('walking.csv'), context, {})], labels: activities },
    },
    {
      title: 'A text spoken',
      input: spoken,
      request: { task: 'speak', text: spoken },
      out: 'spoken.wav',
    },
    {
      title: 'A small picture painted',
      input: painted,
      request: { task: 'paint', prompt: painted, seed: 3 },
      out: 'painted.png',
    },
    {
      title: 'A picture enlarged',
      input: shown('room.jpg'),
      request: { task: 'upscale', picture: { file: await readBytes(sample('room.jpg')) } },
      out: 'enlarged.png',
    },
  ]
}

async function ask(firmware: Firmware, request: Request, signal: AbortSignal): Promise<Answer> {
  return firmware.ask({ ...request, signal })
}

/** What is worth reading of an output: no token counts, no calibration tables. */
const ESSENCE: Readonly<{ [T in Task]: (output: Outputs[T]) => unknown }> = Object.freeze({
  generate: ({ text }) => ({ text }),
  complete: ({ text }) => ({ text }),
  listen: ({ transcript, text }) => ({ transcript: transcript.text, text }),
  transcribe: ({ text }) => ({ text }),
  classify: ({ label, scores }) => ({
    label,
    scores: scores.map((score) => ({ label: score.label, probability: score.probability })),
  }),
  similarity: ({ similarities }) => ({ similarities }),
  embed: ({ embeddings }) => ({ embeddings }),
  match: ({ matches: [best] }) => ({
    label: best!.label,
    confident: best!.confident,
    scores: best!.scores.map(({ label, probability, similarity }) => ({
      label,
      probability: probability ?? similarity,
    })),
  }),
  retrieve: ({ results }) => ({ results }),
  describe: ({ text }) => ({ text }),
  detect: ({ boxes }) => ({ boxes }),
  keypoints: ({ points }) => ({ points }),
  segment: ({ width, height }) => ({ width, height }),
  count: ({ count }) => ({ count }),
  paint: ({ width, height }) => ({ width, height }),
  upscale: ({ width, height }) => ({ width, height }),
  speak: ({ durationS, sentences }) => ({ durationS, sentences: sentences.map(({ text }) => text) }),
})

function resultOf({ input, out }: Demonstration, { output, report }: Answer): DemoResult {
  const { path, task, modules, totalMs } = report
  return {
    path,
    task,
    input,
    output: essenceOf(task, output, out),
    modules: modules.map(({ role }) => role),
    ms: Math.round(totalMs * 10) / 10,
  }
}

/** With the file that holds the rest. */
const essenceOf = (
  task: Task,
  output: Answer['output'],
  out: string | undefined,
): Readonly<Record<string, unknown>> => ({
  ...(ESSENCE[task](output as never) as object),
  ...(out === undefined ? {} : { file: relative(ROOT, join(OUTPUT, out)) }),
})

function formatBlock({ title, input, out }: Demonstration, { output, report }: Answer): string {
  const essence = essenceOf(report.task, output, out)
  const woken = report.modules
    .map(
      ({ role, weightBytes, loaded }) => `${role} ${formatBytes(weightBytes)}${loaded === 'now' ? ', just woken' : ''}`,
    )
    .join('; ')
  const facts = typeof input === 'string' ? { input } : (input as Readonly<Record<string, unknown>>)
  const answer = Object.entries(essence).map(([name, value]) => [name === 'text' ? 'answer' : name, show(value)])
  const rows = [
    ['task', report.task],
    ...Object.entries(facts).map(([name, value]) => [name, show(value)]),
    ...answer,
    ['path', formatPath(report)],
    ['modules', woken],
    ['time', formatMs(report.totalMs)],
  ]
  return `${title}\n${indent(table(rows))}`
}

function show(value: unknown): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number') return Number.isInteger(value) ? String(value) : value.toFixed(3)
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (Array.isArray(value)) return value.map(show).join('  |  ')
  return Object.values(value as object)
    .map(show)
    .join(' ')
}
