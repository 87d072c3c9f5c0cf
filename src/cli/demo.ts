/**
 * `npm run demo`: what is missing is pulled, built and flashed; then five requests show paths 1, 2 and 3. Under `--json` stdout
 * is one array of `{path, task, input, output, modules, ms}`. Runs in a checkout: its inputs are in `samples/`.
 */

import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Firmware } from '../runtime/firmware.js'
import type { Answer, Outputs, Report, Request, Task } from '../runtime/requests.js'
import { formatPath } from './answers.js'
import type { CliContext } from './context.js'
import { readBytes, readExamples, readLines } from './inputs.js'
import { formatMs, indent, table } from './print.js'
import { formatBytes } from './progress.js'
import { provision } from './provision.js'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SAMPLES = join(ROOT, 'samples')

/** A request with what the reader of the demo is shown of it. */
interface Demonstration {
  readonly title: string
  readonly request: Request
  readonly input: unknown
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
  for (const demonstration of await demonstrations()) {
    const answer = await ask(firmware, demonstration.request, signal)
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

async function demonstrations(): Promise<Demonstration[]> {
  const sample = (name: string) => join(SAMPLES, name)
  const shown = (name: string) => relative(ROOT, sample(name))
  const examples = await readExamples(sample('questions.tsv'))
  const reviews = await readExamples(sample('reviews.tsv'))
  const question = 'What is the capital of France?'
  const review = 'an utter waste of time from the first scene to the last'
  const labels = ['positive', 'negative']
  const text = 'A man is playing a guitar on stage.'
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
  match: ({ matches }) => ({ matches }),
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

function resultOf({ input }: Demonstration, { output, report }: Answer): DemoResult {
  const { path, task, modules, totalMs } = report
  return {
    path,
    task,
    input,
    output: ESSENCE[task](output as never),
    modules: modules.map(({ role }) => role),
    ms: Math.round(totalMs * 10) / 10,
  }
}

function formatBlock({ title, input }: Demonstration, { output, report }: Answer): string {
  const essence = ESSENCE[report.task](output as never) as Readonly<Record<string, unknown>>
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
  if (typeof value === 'number') return value.toFixed(3)
  if (Array.isArray(value)) return value.map(show).join('  |  ')
  return Object.values(value as object)
    .map(show)
    .join(' ')
}
