/**
 * The fall-back engine in Node: onnxruntime-node's own API. It blocks the event loop while a graph runs, copies every output
 * once more than needed, and cannot stop a run: an abort is seen before it starts and after it ends.
 */

import { existsSync, readdirSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { M4Error } from '../core/errors.js'
import { jsEngine } from './js/session.js'
import type { Engine } from './types.js'

/** @throws M4Error `ENGINE_UNAVAILABLE` */
export async function openNodeEngine(threads: number): Promise<Engine> {
  let ort: typeof import('onnxruntime-node')
  try {
    ort = await import('onnxruntime-node')
  } catch (cause) {
    throw new M4Error('ENGINE_UNAVAILABLE', `onnxruntime-node cannot be loaded: ${(cause as Error).message}.`, {
      hint: 'Reinstall the package; this platform may also lack a prebuilt library.',
      cause,
    })
  }
  const engine = jsEngine({
    backend: 'node',
    version: ort.env.versions.node ?? ort.env.versions.common,
    threads,
    TensorClass: ort.Tensor,
    InferenceSession: ort.InferenceSession,
    writesFetches: true,
    sessionOptions: { intraOpNumThreads: threads, executionMode: 'sequential' },
    serially: (work) => work(),
    endProfiling(session, prefix) {
      session.endProfiling()
      return newestProfile(prefix)
    },
  })
  return {
    ...engine,
    async createSession(model, options) {
      if ('path' in model && !existsSync(model.path))
        throw new M4Error('FILE_NOT_FOUND', `The model ${model.path} does not exist.`, {
          hint: 'Check the path.',
          details: { path: model.path },
        })
      return engine.createSession(model, options)
    },
  }
}

/** onnxruntime-node does not say where it wrote; ONNX Runtime names the file `<prefix>_<time>.json`. */
function newestProfile(prefix: string): string {
  const folder = dirname(prefix)
  const found = readdirSync(folder)
    .filter((name) => name.startsWith(`${basename(prefix)}_`) && name.endsWith('.json'))
    .map((name) => join(folder, name))
    .sort((a, b) => statSync(b).mtimeMs - statSync(a).mtimeMs)
  if (!found[0]) throw new M4Error('FILE_NOT_FOUND', `No profile with prefix ${prefix} was written.`)
  return found[0]
}
