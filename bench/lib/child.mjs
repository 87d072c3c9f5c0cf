/** Starts a contender's process and asks it one thing at a time. */

import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const WORKER = fileURLToPath(new URL('./worker.mjs', import.meta.url))

/** @param contender what `openContender` of its runtime takes, with `runtime` */
export function startContender(contender) {
  const child = fork(WORKER, [JSON.stringify(contender)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  return {
    pid: child.pid,
    ask(operation, args, onProgress) {
      return new Promise((resolve, reject) => {
        const end = (act, value) => {
          child.off('message', onMessage)
          child.off('exit', onExit)
          act(value)
        }
        const onExit = (code, signal) =>
          end(reject, new Error(`${contender.runtime} died (${signal ?? code}) in ${operation}.`))
        const onMessage = ({ result, error, progress }) => {
          if (progress) onProgress?.(progress)
          else if (error !== undefined) end(reject, new Error(`${operation}: ${error}`))
          else end(resolve, result)
        }
        child.on('message', onMessage)
        child.on('exit', onExit)
        child.send({ operation, args })
      })
    },
    /** Resolves when the process is gone and its memory with it. */
    stop() {
      return new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve()
        child.once('exit', () => resolve())
        child.kill('SIGKILL')
      })
    },
  }
}
