/** How good a text adapter is: measured through the runtime, the way it will be served. */

import type { AdapterTensors } from '../../adapters/types.js'
import { toFloat32, toHalf } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import { bytesOf, viewAs } from '../../core/tensor.js'
import type { Firmware } from '../../runtime/index.js'
import { CHAT, isAsked, type SoftSource, type TextSample, type TextTask } from './task.js'

/** A sample of `eval.jsonl`: what is asked, and the right answer. */
export interface EvalSample {
  readonly input: string
  readonly expected: string
  /** Of `describe`: the item's vector of the joint space, float16, little endian, base64. */
  readonly embedding?: string
}

export interface Measured {
  readonly name: 'accuracy' | 'exact-match'
  readonly value: number
  readonly count: number
  /** Of the mean of `count` yes-or-no outcomes. */
  readonly stderr: number
  /** What came out, in the order of the samples. */
  readonly outputs: readonly string[]
}

/** @param soft needed for questions about items */
export const evalSampleOf = (sample: TextSample, soft?: SoftSource): EvalSample => {
  if (isAsked(sample))
    return {
      input: sample.question,
      expected: sample.answer,
      embedding: Buffer.from(bytesOf(toHalf(soft!.vectors.get(sample.path)!))).toString('base64'),
    }
  if (sample.kind === 'text-label') return { input: sample.text, expected: sample.label }
  if (sample.kind === 'prompt-answer') return { input: sample.prompt, expected: sample.answer }
  return { input: JSON.stringify(sample.messages), expected: sample.answer }
}

export interface MeasureOptions extends LongOperation {
  readonly adapter?: AdapterTensors | undefined
  /** Longest answer of `generate`. Default 64. */
  readonly maxTokens?: number
}

/** @throws M4Error as the runtime; `EMPTY_INPUT` without samples */
export async function measureText(
  firmware: Firmware,
  task: TextTask,
  samples: readonly EvalSample[],
  options: MeasureOptions = {},
): Promise<Measured> {
  if (!samples.length) throw new M4Error('EMPTY_INPUT', 'There are no samples to measure on.')
  const outputs: string[] = []
  for (const [i, sample] of samples.entries()) {
    outputs.push(await answerOf(firmware, task, sample, options))
    options.onProgress?.({ task: 'measure', done: i + 1, total: samples.length, unit: 'items' })
  }
  const right = outputs.filter((output, i) => same(output, samples[i]!.expected)).length
  const value = right / samples.length
  return {
    name: task.task === 'classify' ? 'accuracy' : 'exact-match',
    value,
    count: samples.length,
    stderr: Math.sqrt((value * (1 - value)) / samples.length),
    outputs,
  }
}

const same = (a: string, b: string) => a.trim().toLowerCase() === b.trim().toLowerCase()

async function answerOf(
  firmware: Firmware,
  task: TextTask,
  { input, embedding }: EvalSample,
  { adapter, maxTokens = 64, signal }: MeasureOptions,
): Promise<string> {
  if (task.task === 'classify') {
    const { output } = await firmware.ask({
      task: 'classify',
      text: shortened(input),
      labels: task.labels!,
      template: task.template,
      adapter,
      signal,
    })
    return output.label
  }
  if (task.task === 'describe') {
    const items = [{ embedding: halfVector(embedding!) }]
    const { output } = await firmware.ask({ task: 'describe', items, question: input, maxTokens, adapter, signal })
    return output.text
  }
  const asked =
    task.template === CHAT
      ? { messages: messagesOf(input) }
      : { prompt: task.template.replace('{}', () => shortened(input)) }
  const { output } = await firmware.ask({ task: 'generate', ...asked, maxTokens, adapter, signal })
  return output.text
}

const halfVector = (text: string): Float32Array =>
  toFloat32('float16', viewAs('float16', new Uint8Array(Buffer.from(text, 'base64'))))

/** A chat was recorded as JSON; a prompt stands for one message of the user. */
function messagesOf(input: string) {
  if (input.startsWith('[{'))
    try {
      return JSON.parse(input) as { role: 'user'; content: string }[]
    } catch {
      // A prompt that only looks like JSON.
    }
  return [{ role: 'user' as const, content: input }]
}

/** Far beyond what was trained: such texts are measured by their beginning, as they were trained. */
const LONGEST = 4000
const shortened = (text: string) => (text.length > LONGEST ? text.slice(0, LONGEST) : text)

/**
 * True when the adapter changes nothing on these samples: every label scores, to the bit, as without it.
 */
export async function isWithoutEffect(
  firmware: Firmware,
  task: TextTask,
  samples: readonly EvalSample[],
  adapter: AdapterTensors,
  signal?: AbortSignal,
): Promise<boolean> {
  for (const sample of samples.slice(0, 4)) {
    if (task.task !== 'classify') {
      const [own, base] = [
        await answerOf(firmware, task, sample, { adapter, maxTokens: 16, ...(signal ? { signal } : {}) }),
        await answerOf(firmware, task, sample, { maxTokens: 16, ...(signal ? { signal } : {}) }),
      ]
      if (own !== base) return false
      continue
    }
    const request = {
      task: 'classify',
      text: shortened(sample.input),
      labels: task.labels!,
      template: task.template,
      signal,
    } as const
    const scores = async (tensors: AdapterTensors | undefined) =>
      JSON.stringify((await firmware.ask({ ...request, adapter: tensors })).output.scores)
    if ((await scores(adapter)) !== (await scores(undefined))) return false
  }
  return true
}
