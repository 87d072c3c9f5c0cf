/** `m4fm chat`: a conversation on a terminal, or line by line from a pipe. Ctrl-C stops the answer, a second one the program. */

import { createInterface } from 'node:readline/promises'
import { isM4Error } from '../../core/errors.js'
import type { Firmware } from '../../runtime/firmware.js'
import type { ChatMessage, CompleteRequest, GenerateRequest, Report } from '../../runtime/requests.js'
import type { SamplingOptions } from '../../runtime/sampling.js'
import { adapterOf, CHAT_TEMPLATE, type ChosenAdapter, chooseAdapter } from '../adapter.js'
import { formatReportLine } from '../answers.js'
import { type CliContext, type CommandAction, textOption } from '../context.js'
import { defaultImage } from '../images.js'
import { dim } from '../print.js'
import { describeError } from '../report-error.js'
import { decoding } from '../run-requests.js'

const HELP =
  '/reset forgets the conversation, /adapter NAME takes another adapter, /adapter none the base, /quit ends, Ctrl-C stops an answer.'
/** Of `/adapter`: the base alone. */
const NO_ADAPTER = 'none'

export const run: CommandAction = async (context, [name], options) => {
  const { resolveImage } = await import('../../firmware/index.js')
  const path = name === undefined ? await defaultImage(context) : await resolveImage(name, context)
  let adapter = await adapterOf(context, options, path)
  tellPrompt(context, adapter)
  const { openFirmware } = await import('../../runtime/index.js')
  using firmware = await openFirmware(path)
  const { sampling, ...decoded } = decoding(options)
  const settings = { ...decoded, sampling: { ...LIVELY, ...sampling } }
  const { name: imageName, version, modules } = firmware.manifest
  const hasTemplate = modules.backbone !== undefined && Object.hasOwn(modules.backbone.files, 'chatTemplate')
  if (!hasTemplate)
    context.note('This model has no chat template: the conversation goes on as lines, User: and Assistant:.')
  const request = hasTemplate ? messagesRequest : linesRequest
  const ask = (turns: readonly Turn[], input: string) => ({
    ...request(turns, input, textOption(options, 'system')),
    ...settings,
    ...(adapter?.tensors ? { adapter: adapter.tensors } : {}),
  })
  const chat = createChat(context, firmware, ask, async (chosen) => {
    adapter = chosen === NO_ADAPTER ? undefined : await chooseAdapter(context, chosen, path, options.force === true)
    tellPrompt(context, adapter)
    context.note(adapter ? `adapter: ${adapter.facts.name}` : 'adapter: none, the base answers')
  })
  const exitCode = await readTurns(context, chat, `${imageName} ${version}. ${HELP}`)
  if (context.json) context.result(chat.answers, '')
  return exitCode
}

/** A conversation is put as the image puts it; an adapter that learned another prompt may not recognise its task. */
function tellPrompt(context: CliContext, adapter: ChosenAdapter | undefined): void {
  const { prompt, facts } = adapter ?? {}
  if (prompt && prompt.template !== CHAT_TEMPLATE)
    context.note(
      `adapter ${facts!.name} was trained on the prompt ${JSON.stringify(prompt.template)}, not on conversations: \`m4fm run --adapter\` puts it so.`,
    )
}

/** Greedy answers of small models run in circles. */
const LIVELY: SamplingOptions = { temperature: 0.7, topP: 0.9, repetitionPenalty: 1.1 }

/** What was said; an answer that was stopped counts as far as it came. */
interface Turn {
  readonly input: string
  readonly output: string
}

type TurnRequest = GenerateRequest | CompleteRequest

function messagesRequest(turns: readonly Turn[], input: string, system: string | undefined): TurnRequest {
  const said = turns.flatMap((turn): ChatMessage[] => [
    { role: 'user', content: turn.input },
    { role: 'assistant', content: turn.output },
  ])
  const opening: readonly ChatMessage[] = system === undefined ? [] : [{ role: 'system', content: system }]
  return { task: 'generate', messages: [...opening, ...said, { role: 'user', content: input }] }
}

function linesRequest(turns: readonly Turn[], input: string, system: string | undefined): TurnRequest {
  return {
    task: 'complete',
    input,
    examples: turns,
    names: { input: 'User', output: 'Assistant' },
    ...(system === undefined ? {} : { instruction: system }),
  }
}

interface Chat {
  /** Answers that came to their end, for `--json`. */
  readonly answers: (Turn & { readonly report: Report })[]
  reset(): void
  /** What follows is answered with this adapter, or with none. @throws M4Error as `chooseAdapter`; the old one then stays */
  take(adapter: string): Promise<void>
  /** Answers one line. @throws M4Error `ABORTED` when it was stopped, else as `Firmware.run` */
  answer(input: string): Promise<void>
  /** Stops the answer that is being made; false when there is none. */
  stop(): boolean
}

function createChat(
  context: CliContext,
  firmware: Firmware,
  request: (turns: readonly Turn[], input: string) => TurnRequest,
  take: Chat['take'],
): Chat {
  const answers: (Turn & { readonly report: Report })[] = []
  let turns: Turn[] = []
  let current: AbortController | undefined
  return {
    answers,
    reset() {
      turns = []
    },
    take,
    stop() {
      current?.abort()
      return current !== undefined
    },
    async answer(input) {
      current = new AbortController()
      let output = ''
      try {
        for await (const event of firmware.run({ ...request(turns, input), signal: current.signal })) {
          if (event.type === 'token') {
            output += event.text
            context.stream(event.text)
          } else if (event.type === 'answer') {
            context.stream('\n')
            context.note(dim(formatReportLine(event.report), process.stderr))
            answers.push({ input, output, report: event.report })
          }
        }
      } finally {
        current = undefined
        if (output !== '') turns = [...turns, { input, output }]
      }
    },
  }
}

/** Gives the exit code: 130 when Ctrl-C ended the conversation. */
async function readTurns(context: CliContext, chat: Chat, greeting: string): Promise<number> {
  const isTerminal = process.stdin.isTTY === true && !context.json
  const reader = createInterface({
    input: process.stdin,
    ...(isTerminal ? { output: process.stderr, prompt: '> ', terminal: true } : { terminal: false }),
  })
  let exitCode = 0
  const interrupt = () => {
    if (chat.stop()) return
    exitCode = 130
    reader.close()
  }
  // A terminal in raw mode gives Ctrl-C to readline, a pipe gives it to the process.
  reader.on('SIGINT', interrupt)
  const release = context.onInterrupt(interrupt)
  if (isTerminal) {
    context.note(greeting)
    reader.prompt()
  }
  try {
    for await (const line of reader) {
      const input = line.trim()
      if (input === '/quit') break
      const adapter = /^\/adapter\s+(.+)$/.exec(input)?.[1]
      if (input === '/reset') chat.reset()
      else if (adapter !== undefined && isTerminal) await patiently(context, () => chat.take(adapter))
      else if (adapter !== undefined) await chat.take(adapter)
      else if (input.startsWith('/')) context.note(`Unknown command ${input}. ${HELP}`)
      else if (input !== '' && isTerminal) await patiently(context, () => chat.answer(input))
      // In a pipe nobody can mend a mistake, and to go on would answer out of context.
      else if (input !== '') await chat.answer(input)
      if (isTerminal) reader.prompt()
    }
  } finally {
    release()
    reader.close()
  }
  return exitCode
}

/** On a terminal an error ends the turn, not the conversation. */
async function patiently(context: CliContext, turn: () => Promise<void>): Promise<void> {
  try {
    await turn()
  } catch (error) {
    if (!isM4Error(error)) throw error
    context.note(error.code === 'ABORTED' ? '\n(stopped)' : describeError(error).text)
    if (error.code === 'CONTEXT_OVERFLOW') context.note('The conversation no longer fits: /reset forgets it.')
  }
}
