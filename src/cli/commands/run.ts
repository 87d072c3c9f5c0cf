/** `m4fm run`: one request, its answer on stdout as it comes, its report on stderr. */

import type { BenchTask } from '../../bench/tasks/index.js'
import type { Answer } from '../../runtime/requests.js'
import { adapterOf } from '../adapter.js'
import { formatAnswer, formatReport, STREAMED } from '../answers.js'
import { type CommandAction, type OptionValues, textOption } from '../context.js'
import { defaultImage, imageNamed } from '../images.js'
import { dim } from '../print.js'
import { checkOptions, requestOf, taskOf } from '../run-requests.js'
import { checkOut, saveOutput } from '../saved.js'

export const run: CommandAction = async (context, words, given) => {
  const entry = await entryOf(given)
  const [operands, options] = entry ? inputOf(entry, words, given) : [words, given]
  const task = entry ? entry.ask.task : taskOf(options)
  checkOptions(task, options)
  checkOut(task, options)
  const { path, rest } = await imageAndInput(context, operands, textOption(options, 'image'))
  const adapter = await adapterOf(context, options, path)
  const { openFirmware } = await import('../../runtime/index.js')
  using firmware = await openFirmware(path)
  if (entry) {
    const { requireTask } = await import('../../bench/tasks/index.js')
    requireTask(entry, firmware.manifest, { adapter: adapter !== undefined, labels: options.labels !== undefined })
    context.note(`${entry.id} ${entry.title}, as on ${entry.dataSet}`)
  }
  const request = await requestOf(task, { context, operands: rest, options, adapter, entry })
  let answer: Answer | undefined
  let streamed = ''
  for await (const event of firmware.run({ ...request, signal: context.signal })) {
    if (event.type === 'transcript' && task !== 'transcribe') context.note(`heard: ${event.text}`)
    else if (event.type === 'answer') answer = event
    else if (event.type === 'step') {
      const { listener } = await context.progress()
      listener({ task, done: event.done, total: event.of, unit: 'items' })
    } else if (event.type === 'token') {
      context.stream(event.text)
      streamed += event.text
    }
  }
  const { output, report } = answer!
  // What was streamed needs no more than the end of its line.
  const text = STREAMED.has(task) ? (streamed.endsWith('\n') ? '' : '\n') : formatAnswer(task, output as never)
  const saved = await saveOutput(task, output as never, options)
  context.result({ output: saved, report, ...(adapter ? { adapter: adapter.facts } : {}) }, text)
  context.note(dim(formatReport(report), process.stderr))
  return 0
}

/** The entry of mAIBench that --task names, if it names one. */
async function entryOf(options: OptionValues): Promise<BenchTask | undefined> {
  const { benchTask, isTaskId } = await import('../../bench/tasks/index.js')
  const name = textOption(options, 'task')
  return name !== undefined && isTaskId(name) ? benchTask(name) : undefined
}

/** Where the file of an entry goes, for tasks that take theirs as an option: it stands last, behind an image. */
function inputOf(
  { ask, takes }: BenchTask,
  words: readonly string[],
  options: OptionValues,
): readonly [readonly string[], OptionValues] {
  const option = ask.task === 'upscale' ? 'picture' : ask.task === 'paint' && takes.of !== 'text' ? 'from' : undefined
  const file = words.at(-1)
  if (!option || file === undefined || options[option] !== undefined) return [words, options]
  return [words.slice(0, -1), { ...options, [option]: file }]
}

async function imageAndInput(
  context: Parameters<CommandAction>[0],
  operands: readonly string[],
  image: string | undefined,
): Promise<{ path: string; rest: readonly string[] }> {
  const { resolveImage } = await import('../../firmware/index.js')
  if (image !== undefined) return { path: await resolveImage(image, context), rest: operands }
  const named = operands[0] === undefined ? undefined : await imageNamed(operands[0], context)
  return named ? { path: named, rest: operands.slice(1) } : { path: await defaultImage(context), rest: operands }
}
