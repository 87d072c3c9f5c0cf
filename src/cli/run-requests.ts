/** Options of `m4fm run` → a request, one maker a task. An option that the task has no use for is an error, never ignored. */

import type { BenchTask } from '../bench/tasks/index.js'
import { M4Error, unknownName } from '../core/errors.js'
import type { Item, Itemised, Request, RequestOf, Task } from '../runtime/requests.js'
import { CHAT_TEMPLATE, type ChosenAdapter } from './adapter.js'
import {
  type CliContext,
  commaOption,
  flagOf,
  listOption,
  numberOption,
  type OptionValues,
  textOption,
} from './context.js'
import { readBytes, readExamples, readLines, readTexts } from './inputs.js'
import { isMediaFile, itemOf } from './items.js'
import { PATCH_TASKS } from './patch-requests.js'

export interface RunInput {
  readonly context: CliContext
  readonly operands: readonly string[]
  readonly options: OptionValues
  readonly adapter: ChosenAdapter | undefined
  /** An entry of mAIBench: what its options leave open is asked as it says. */
  readonly entry?: BenchTask | undefined
}

export interface TaskMaker<T extends Task> {
  /** Options that mean something to it, beside `task`, `image` and `file`. */
  readonly takes: readonly string[]
  readonly make: (input: RunInput) => Promise<RequestOf<T>>
}

const SAMPLING = ['temperature', 'topP', 'topK', 'repetitionPenalty', 'seed'] as const
const ADAPTER = ['adapter', 'force']
const DECODED = ['maxTokens', ...SAMPLING, 'stop', ...ADAPTER]
const LINES = ['examples', 'instruction', 'names']

const PAINT_TEXTS = ['negative', 'sampler'] as const
const PAINT_NUMBERS = ['strength', 'noiseLevel', 'steps', 'guidance', 'seed', 'width', 'height'] as const

/** Those of the options that were given. */
const given = <N extends string, V>(names: readonly N[], read: (name: N) => V | undefined): { [K in N]?: V } =>
  Object.fromEntries(names.map((name) => [name, read(name)]).filter(([, value]) => value !== undefined))

const TASKS: Readonly<{ [T in Task]: TaskMaker<T> }> = Object.freeze({
  generate: {
    takes: ['chat', 'template', ...DECODED],
    make: async (input) => {
      const text = await oneText(input)
      const common = { task: 'generate', ...adapted(input), ...decoding(input.options) } as const
      const form = await generateForm(input)
      return form === CHAT_TEMPLATE
        ? { ...common, messages: [{ role: 'user', content: text }] }
        : { ...common, prompt: form(text) }
    },
  },
  complete: {
    takes: [...LINES, ...DECODED],
    make: async (input) => ({
      task: 'complete',
      input: await oneText(input),
      ...(await linePrompt(input.options)),
      ...adapted(input),
      ...decoding(input.options),
    }),
  },
  classify: {
    takes: ['labels', 'calibrate', 'template', ...ADAPTER, ...LINES],
    make: async (input) => {
      const { examples, ...lines } = await linePrompt(input.options)
      const calibrate = textOption(input.options, 'calibrate')
      return {
        task: 'classify',
        text: await oneText(input),
        labels: labelsOf(input),
        ...lines,
        ...(examples ? { examples: examples.map(({ input: text, output: label }) => ({ text, label })) } : {}),
        ...classTemplate(input),
        ...(calibrate === undefined ? {} : { calibration: await readLines(calibrate) }),
        ...adapted(input),
      }
    },
  },
  transcribe: {
    takes: ['maxTokens'],
    make: async (input) => {
      const maxTokens = numberOption(input.options, 'maxTokens')
      return { task: 'transcribe', sound: await soundOf(input), ...(maxTokens === undefined ? {} : { maxTokens }) }
    },
  },
  listen: {
    takes: ['template', ...LINES, ...DECODED],
    make: async (input) => ({
      task: 'listen',
      sound: await soundOf(input),
      ...template(input.options),
      ...(await linePrompt(input.options)),
      ...adapted(input),
      ...decoding(input.options),
    }),
  },
  embed: {
    takes: ['mean', 'rate'],
    make: async (input) => ({ task: 'embed', ...(await items(input)), ...windowed(input.options) }),
  },
  similarity: {
    takes: ['mean', 'rate'],
    make: async (input) => ({ task: 'similarity', ...(await items(input)), ...windowed(input.options) }),
  },
  match: {
    takes: ['labels', 'template', ...ADAPTER, 'mean', 'rate'],
    make: async (input) => ({
      task: 'match',
      ...(await items(input)),
      ...headed(input),
      labels: commaOption(input.options, 'labels'),
      ...template(input.options),
      ...windowed(input.options),
    }),
  },
  retrieve: {
    takes: ['gallery', 'top', ...ADAPTER, 'mean', 'rate'],
    make: async (input) => {
      const top = numberOption(input.options, 'top')
      return {
        task: 'retrieve',
        ...(await items(input)),
        gallery: await galleryOf(input),
        ...headed(input),
        ...(top === undefined ? {} : { top }),
        ...windowed(input.options),
      }
    },
  },
  describe: {
    takes: ['question', 'rate', ...DECODED],
    make: async (input) => {
      const { context, operands, options } = input
      const file = textOption(options, 'file')
      const paths = [...operands, ...(file === undefined ? [] : [file])]
      if (!paths.length || !paths.every(isMediaFile))
        throw new M4Error('USAGE', 'describe: expected files of pictures, sounds or motion.', {
          hint: 'For example m4fm run --task describe --question "What is this?" dog.png',
          details: { paths },
        })
      return {
        task: 'describe',
        items: await Promise.all(paths.map((path) => itemOf(path, context, options))),
        ...given(['question'], (name) => textOption(options, name)),
        ...adapted(input),
        ...decoding(options),
      }
    },
  },
  ...PATCH_TASKS,
  paint: {
    takes: ['out', 'picture', 'from', 'rate', ...PAINT_TEXTS, ...PAINT_NUMBERS],
    make: async (input) => {
      const { context, operands, options } = input
      const from = textOption(options, 'from')
      // With something to paint after, words are no must, and nobody waits for them.
      const silent = from !== undefined && !operands.length && textOption(options, 'file') === undefined
      const picture = textOption(options, 'picture')
      return {
        task: 'paint',
        ...(silent ? {} : { prompt: await oneText(input) }),
        ...(from === undefined ? {} : { from: await itemOf(from, context, options) }),
        ...(picture === undefined ? {} : { picture: { file: await readBytes(picture, context.signal) } }),
        ...given(PAINT_TEXTS, (name) => textOption(options, name)),
        ...given(PAINT_NUMBERS, (name) => numberOption(options, name)),
      }
    },
  },
  upscale: {
    takes: ['out', 'picture'],
    make: async ({ context, options }) => {
      const picture = textOption(options, 'picture')
      if (picture === undefined)
        throw new M4Error('USAGE', 'upscale: expected --picture.', {
          hint: 'For example m4fm run --task upscale --picture small.png --out large.png',
        })
      return { task: 'upscale', picture: { file: await readBytes(picture, context.signal) } }
    },
  },
  speak: {
    takes: ['out', 'voice', 'speed', 'seed'],
    make: async (input) => {
      const voice = textOption(input.options, 'voice')
      const numbers = (['speed', 'seed'] as const).flatMap((name) => {
        const value = numberOption(input.options, name)
        return value === undefined ? [] : [[name, value] as const]
      })
      return {
        task: 'speak',
        text: await oneText(input),
        ...(voice === undefined ? {} : { voice }),
        ...Object.fromEntries(numbers),
      }
    },
  },
})

/** @throws M4Error `USAGE` when no task is named, `UNKNOWN_NAME` with the nearest names */
export function taskOf(options: OptionValues): Task {
  const name = textOption(options, 'task')
  const known = Object.keys(TASKS)
  if (name === undefined)
    throw new M4Error('USAGE', 'run: expected --task.', {
      hint: `Give one of ${known.join(', ')}, or an entry of mAIBench, T1 to T50.`,
      details: { known },
    })
  if (!Object.hasOwn(TASKS, name)) throw unknownName('task', name, known)
  return name as Task
}

/** @throws M4Error `USAGE` for an option that `task` has no use for */
export function checkOptions(task: Task, options: OptionValues): void {
  const { takes } = TASKS[task]
  for (const name of Object.keys(options)) {
    if (['task', 'image', 'file'].includes(name) || takes.includes(name)) continue
    throw new M4Error('USAGE', `run --task ${task}: it has no use for ${flagOf(name)}.`, {
      hint: `It takes --file${takes.map((option) => `, ${flagOf(option)}`).join('')}.`,
      details: { task, option: name },
    })
  }
  if (options.force === true && options.adapter === undefined)
    throw new M4Error('USAGE', 'run: --force means something only with --adapter.', { details: { option: 'force' } })
}

/** @throws M4Error `USAGE`, `FILE_NOT_FOUND`, `FORMAT_INVALID` */
export async function requestOf(task: Task, input: RunInput): Promise<Request> {
  const made = await TASKS[task].make(input)
  if (!input.entry) return made
  const { ask } = input.entry
  // A head brings labels of its own.
  const { labels: _, template: __, ...headed } = ask as Extract<typeof ask, { task: 'match' }>
  const chosen = Object.fromEntries(Object.entries(made).filter(([, value]) => value !== undefined))
  return { ...(input.adapter?.head ? headed : ask), ...chosen } as Request
}

/** @throws M4Error `USAGE` for a head where the backbone answers */
function adapted({ adapter }: RunInput) {
  if (!adapter) return {}
  if (adapter.tensors) return { adapter: adapter.tensors }
  throw new M4Error('USAGE', `Adapter ${adapter.facts.name} is a head on the features of an encoder.`, {
    hint: 'Use it with the task that `m4fm adapter inspect` names.',
  })
}

/** @throws M4Error `USAGE` for an adapter of the backbone where an encoder answers */
function headed({ adapter }: RunInput) {
  if (!adapter) return {}
  if (adapter.head) return { adapter: adapter.head }
  throw new M4Error(
    'USAGE',
    `Adapter ${adapter.facts.name} is one of the backbone, which does not wake for this task.`,
    {
      hint: 'Use it with --task classify, complete or generate.',
    },
  )
}

/** The options that room runtime calls `Decoded`. */
export function decoding(options: OptionValues): {
  maxTokens?: number
  sampling?: { [name in (typeof SAMPLING)[number]]?: number }
  stop?: readonly string[]
} {
  const maxTokens = numberOption(options, 'maxTokens')
  const named = SAMPLING.flatMap((name) => {
    const value = numberOption(options, name)
    return value === undefined ? [] : [[name, value] as const]
  })
  const stop = listOption(options, 'stop')
  return {
    ...(maxTokens === undefined ? {} : { maxTokens }),
    ...(named.length ? { sampling: Object.fromEntries(named) } : {}),
    ...(stop.length ? { stop } : {}),
  }
}

async function linePrompt(options: OptionValues) {
  const examples = textOption(options, 'examples')
  const instruction = textOption(options, 'instruction')
  const names = commaOption(options, 'names')
  if (names && names.length !== 2)
    throw new M4Error('USAGE', `--names: expected two words, e.g. Q,A; got ${names.length}.`)
  return {
    ...(examples === undefined ? {} : { examples: await readExamples(examples) }),
    ...(instruction === undefined ? {} : { instruction }),
    ...(names ? { names: { input: names[0]!, output: names[1]! } } : {}),
  }
}

function template(options: OptionValues): { template?: string } {
  const text = textOption(options, 'template')
  return text === undefined ? {} : { template: text }
}

/** What the adapter was trained on, unless a prompt was given: then that is what is wanted. */
function classTemplate(input: RunInput): { template?: string } {
  const { adapter, options } = input
  const own = adapter?.prompt?.template
  if (own === undefined || own === CHAT_TEMPLATE || ['template', ...LINES].some((name) => options[name] !== undefined))
    return template(options)
  tellPrompt(input, own)
  return { template: own }
}

/** How `generate` puts its text: as it stands, in a template, or as a message. */
async function generateForm(input: RunInput): Promise<typeof CHAT_TEMPLATE | ((text: string) => string)> {
  const { adapter, options } = input
  const given = textOption(options, 'template')
  if (options.chat && given !== undefined)
    throw new M4Error('USAGE', 'run --task generate: --chat and --template are two prompts.', {
      hint: 'Give one of the two.',
    })
  if (options.chat) return CHAT_TEMPLATE
  const { prompt } = adapter ?? {}
  // An adapter with labels was trained to choose one, which is not what is asked for here.
  const own = given === undefined && !prompt?.labels ? prompt?.template : undefined
  if (own !== undefined) tellPrompt(input, own)
  const used = given ?? own
  if (used === undefined) return (text) => text
  if (used === CHAT_TEMPLATE && given === undefined) return CHAT_TEMPLATE
  const { fillTemplate } = await import('../runtime/index.js')
  return (text) => {
    const { shared, own: rest } = fillTemplate(used, text)
    return shared + rest
  }
}

/** What stands around a text must never be a secret. */
function tellPrompt({ context, adapter }: RunInput, prompt: string): void {
  context.note(
    prompt === CHAT_TEMPLATE
      ? `prompt of adapter ${adapter!.facts.name}: the chat template`
      : `prompt of adapter ${adapter!.facts.name}: ${JSON.stringify(prompt)}`,
  )
}

const windowed = (options: OptionValues) => (options.mean ? { window: 'mean' as const } : {})

function labelsOf({ options, adapter, entry }: RunInput): readonly string[] {
  const preset = entry?.ask.task === 'classify' ? entry.ask.labels : undefined
  const labels = commaOption(options, 'labels') ?? adapter?.prompt?.labels ?? preset
  if (labels) return labels
  throw new M4Error('USAGE', 'Expected --labels.', {
    hint: `For example --labels positive,negative${adapter ? `; adapter ${adapter.facts.name} brings none` : ''}.`,
  })
}

/** Texts alone, as they are; with a file of a picture, a sound or motion among them, items. */
async function items({ context, operands, options }: RunInput): Promise<Itemised> {
  const file = textOption(options, 'file')
  if (!operands.some(isMediaFile)) return { texts: await readTexts(context, operands, file, { lines: true }) }
  const list = await Promise.all(operands.map((operand) => itemOf(operand, context, options)))
  return { items: file === undefined ? list : [...list, ...(await readLines(file, context.signal))] }
}

/** Each --gallery is an item, or a .txt file of one text a line. */
async function galleryOf({ context, options }: RunInput): Promise<readonly Item[]> {
  const gallery = listOption(options, 'gallery')
  if (!gallery.length)
    throw new M4Error('USAGE', 'Expected --gallery.', {
      hint: 'For example --gallery cat.png --gallery dog.png, or --gallery captions.txt with a text a line.',
    })
  const parts = gallery.map(
    async (path): Promise<readonly Item[]> =>
      /\.txt$/i.test(path) ? readLines(path, context.signal) : [await itemOf(path, context, options)],
  )
  return (await Promise.all(parts)).flat()
}

async function oneText({ context, operands, options }: RunInput): Promise<string> {
  const given = await readTexts(context, operands, textOption(options, 'file'), { lines: false })
  if (given.length === 1) return given[0]!
  throw new M4Error(
    'USAGE',
    `Expected one text, got ${given.length}: ${given.map((text) => JSON.stringify(text.slice(0, 40))).join(', ')}.`,
    {
      hint: 'Put quotation marks around the text; an image that is not named by its recipe or folder goes behind --image.',
      details: { texts: given.length },
    },
  )
}

async function soundOf({ context, operands, options }: RunInput) {
  const file = textOption(options, 'file')
  const paths = [...operands, ...(file === undefined ? [] : [file])]
  if (paths.length !== 1)
    throw new M4Error('USAGE', `Expected one WAV file, got ${paths.length}.`, {
      hint: 'Give its path as argument or with --file; - is standard input.',
      details: { paths },
    })
  return { wav: await readBytes(paths[0]!, context.signal) }
}
