/**
 * Contenders in processes of their own, so that peak memory is theirs alone: one line of JSON in, one out. The same protocol for
 * Node and Python.
 */

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/**
 * @param command program and its words
 * @returns `ask(operation, args)`, one at a time; `stop()` resolves when the process and its memory are gone
 */
export function startChild([program, ...words], env = {}) {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } })
  const ended = new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('exit', (code, signal) => resolve(`ended with ${signal ?? code}`))
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  // What was written to a process that is gone is said by `ended`.
  child.stdin.on('error', () => undefined)
  return {
    async ask(operation, args = {}) {
      child.stdin.write(`${JSON.stringify({ operation, args })}\n`)
      const answer = await Promise.race([
        lines.next().then(({ value }) => value ?? ended.then((how) => JSON.stringify({ error: how }))),
        ended.then((how) => JSON.stringify({ error: how })),
      ])
      const { error, result } = JSON.parse(await answer)
      if (error !== undefined) throw new Error(`${[program, ...words].join(' ')}: ${operation}: ${error}`)
      return result
    },
    async stop() {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** The other side, in Node. stdout belongs to the protocol. */
export async function serve(operations) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { operation, args } = JSON.parse(line)
    let answer
    try {
      answer = { result: (await operations[operation](args)) ?? null }
    } catch (error) {
      answer = { error: error.stack ?? String(error) }
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`)
  }
  process.exit(0)
}

/** The most memory that this process has had, MB. */
export const peakMb = () => process.resourceUsage().maxRSS / 1024
