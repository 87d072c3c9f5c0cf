/** A thread of frozen-file.ts: reads the graph for itself, makes matrices until none is left. */

import { parentPort, workerData } from 'node:worker_threads'
import { wrapSystemError } from '../../core/errors.js'
import { type FrozenTask, makeMatrices } from './frozen-task.js'
import { readGraph } from './read-graph.js'

const task = workerData as FrozenTask
try {
  await makeMatrices(task, await readGraph(task.model), () => parentPort!.postMessage(null))
} catch (error) {
  const { code, message } = wrapSystemError(error, 'Making the matrices of training')
  parentPort!.postMessage({ code, message })
}
