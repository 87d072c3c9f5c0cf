/** What a request is made of, from arguments, files and standard input. Text is UTF-8; anything else is refused, not repaired. */

import { readFile } from 'node:fs/promises'
import { addAbortSignal } from 'node:stream'
import { M4Error, wrapSystemError } from '../core/errors.js'
import type { CliContext } from './context.js'

/** Bytes of a file; `-` is standard input. @throws M4Error `FILE_NOT_FOUND`, `IO` */
export async function readBytes(path: string, signal?: AbortSignal): Promise<Uint8Array> {
  if (path === '-') {
    const chunks: Uint8Array[] = []
    // Nobody may ever write or close a pipe; Ctrl-C must end the wait.
    if (signal) addAbortSignal(signal, process.stdin)
    for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array)
    return Buffer.concat(chunks)
  }
  return readFile(path).catch((error) => {
    throw wrapSystemError(error, `Reading ${path}`)
  })
}

/** @throws M4Error `FORMAT_INVALID` when it is not UTF-8 */
export async function readText(path: string, signal?: AbortSignal): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readBytes(path, signal))
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new M4Error('FORMAT_INVALID', `${path}: expected UTF-8 text.`, {
      hint: 'Convert the file, e.g. with iconv.',
      details: { path },
      cause: error,
    })
  }
}

/** Lines that hold something. */
export async function readLines(path: string, signal?: AbortSignal): Promise<string[]> {
  return (await readText(path, signal)).split(/\r?\n/).filter((line) => line.trim() !== '')
}

/**
 * The texts that a command was given: its operands, where `-` is standard input, and the file of `--file`. Without either,
 * what is piped in. `lines`: a file holds one text a line, else it is one text.
 */
export async function readTexts(
  context: CliContext,
  operands: readonly string[],
  file: string | undefined,
  { lines }: { readonly lines: boolean },
): Promise<string[]> {
  const texts: string[] = []
  const add = async (path: string) => {
    if (lines) texts.push(...(await readLines(path, context.signal)))
    // The line end at the end of a file belongs to the file, not to the text.
    else texts.push((await readText(path, context.signal)).replace(/\r?\n$/, ''))
  }
  for (const operand of operands)
    if (operand === '-') await add('-')
    else texts.push(operand)
  if (file !== undefined) await add(file)
  if (operands.length === 0 && file === undefined) {
    if (process.stdin.isTTY) context.note('Reading from the terminal; end with Ctrl-D.')
    await add('-')
  }
  return texts
}

export interface Pair {
  readonly input: string
  readonly output: string
}

/**
 * Few-shot examples: JSONL of `{"input", "output"}` (or `{"text", "label"}`), else TSV of input, tab, output.
 * @throws M4Error `FORMAT_INVALID` naming the line
 */
export async function readExamples(path: string): Promise<Pair[]> {
  const isJson = /\.jsonl?$|\.ndjson$/i.test(path)
  return (await readLines(path)).map((line, i) => {
    const pair = isJson ? pairOfJson(line) : pairOfTabs(line)
    if (pair) return pair
    throw new M4Error(
      'FORMAT_INVALID',
      `${path}, example ${i + 1}: expected ${isJson ? '{"input": "…", "output": "…"}' : 'input, tab, output'}, got ${JSON.stringify(line.slice(0, 80))}.`,
      { hint: 'One example a line; a file of JSON must be called .jsonl.', details: { path, example: i + 1 } },
    )
  })
}

function pairOfTabs(line: string): Pair | undefined {
  const cells = line.split('\t')
  return cells.length === 2 ? { input: cells[0]!, output: cells[1]! } : undefined
}

function pairOfJson(line: string): Pair | undefined {
  let value: Record<string, unknown> | null
  try {
    value = JSON.parse(line) as Record<string, unknown> | null
  } catch {
    return undefined
  }
  const [input, output] = [value?.input ?? value?.text, value?.output ?? value?.label]
  return typeof input === 'string' && typeof output === 'string' ? { input, output } : undefined
}
