/** Sessions over the JavaScript API of ONNX Runtime, and the engine made of them. */

import type { InferenceSession } from 'onnxruntime-common'
import { Handle } from '../../core/disposal.js'
import { DTYPES, type DType } from '../../core/dtypes.js'
import { M4Error } from '../../core/errors.js'
import { dimOf } from '../checks.js'
import { ortError } from '../ort-errors.js'
import type { Engine, ModelSource, RunOptions, Session, SessionOptions, Tensor, ValueInfo } from '../types.js'
import { JsBinding } from './binding.js'
import { type JsRuntime, JsTensor, messageOf } from './tensor.js'

export function jsEngine(runtime: JsRuntime): Engine {
  return {
    backend: runtime.backend,
    version: runtime.version,
    threads: runtime.threads,
    createSession: (model, options = {}) => createJsSession(runtime, model, options),
    tensor: (dtype, dims, data) => new JsTensor(runtime, dtype, dims, data),
  }
}

export class JsSession extends Handle implements Session {
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  #users = 1

  constructor(
    readonly runtime: JsRuntime,
    readonly native: InferenceSession,
    readonly profilePrefix: string | undefined,
  ) {
    const inputs = native.inputMetadata.map(valueInfo)
    const outputs = native.outputMetadata.map(valueInfo)
    super('session')
    this.inputs = inputs
    this.outputs = outputs
  }

  bind(): JsBinding {
    this.assertLive('bind')
    return new JsBinding(this)
  }

  async run(
    feeds: Readonly<Record<string, Tensor>>,
    fetches: readonly string[] = this.outputs.map((output) => output.name),
    options: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const binding = this.bind()
    try {
      for (const [name, tensor] of Object.entries(feeds)) binding.bindInput(name, tensor)
      for (const name of fetches) binding.bindOutput(name)
      await binding.run(options)
      return Object.fromEntries(fetches.map((name) => [name, binding.output(name)]))
    } finally {
      binding.dispose()
    }
  }

  /** @throws M4Error `USAGE` without `profilePrefix`, `NOT_AVAILABLE` in a browser */
  endProfiling(): string {
    this.assertLive('endProfiling')
    if (this.profilePrefix === undefined || !this.runtime.endProfiling)
      throw new M4Error('USAGE', 'This session does not profile.', { hint: 'Open it with `profilePrefix`.' })
    return this.runtime.endProfiling(this.native, this.profilePrefix)
  }

  override assertLive(doing: string): void {
    super.assertLive(doing)
  }

  retain(): void {
    this.#users++
  }

  /** The native session goes when nobody runs it any more. */
  releaseUser(): void {
    if (--this.#users === 0) void this.native.release()
  }

  protected override release(): void {
    this.releaseUser()
  }
}

function valueInfo(metadata: InferenceSession.ValueMetadata): ValueInfo {
  const { name } = metadata
  if (!metadata.isTensor) throw new M4Error('FORMAT_UNSUPPORTED', `"${name}" of the graph is not a tensor.`)
  if (!Object.hasOwn(DTYPES, metadata.type))
    throw new M4Error('FORMAT_UNSUPPORTED', `"${name}" has element type ${metadata.type}, which M4 does not use.`)
  const dims = metadata.shape.map((dim) => (typeof dim === 'number' ? dimOf(dim, undefined) : dimOf(-1, dim)))
  return { name, dtype: metadata.type as DType, dims }
}

async function createJsSession(runtime: JsRuntime, model: ModelSource, options: SessionOptions): Promise<JsSession> {
  if (options.savePrepacked)
    throw new M4Error('NOT_AVAILABLE', `The ${runtime.backend} engine cannot save prepacked weights; only ffi can.`)
  if (options.profilePrefix !== undefined && !runtime.endProfiling)
    throw new M4Error('NOT_AVAILABLE', `The ${runtime.backend} engine does not profile.`)
  const native: InferenceSession.SessionOptions = {
    ...runtime.sessionOptions,
    graphOptimizationLevel: options.optimization === 'none' ? 'disabled' : (options.optimization ?? 'all'),
    enableMemPattern: options.memoryPattern ?? true,
    logSeverityLevel: 4,
    ...(options.profilePrefix === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profilePrefix }),
    ...('bytes' in model && model.externalData
      ? { externalData: Object.entries(model.externalData).map(([path, data]) => ({ path, data })) }
      : {}),
  }
  const doing = 'path' in model ? `Loading ${model.path}` : `Loading a model of ${model.bytes.length} bytes from memory`
  let session: InferenceSession
  try {
    session = await runtime.serially(() =>
      'path' in model
        ? runtime.InferenceSession.create(model.path, native)
        : runtime.InferenceSession.create(model.bytes, native),
    )
  } catch (error) {
    throw ortError(doing, messageOf(error), undefined, error)
  }
  try {
    return new JsSession(runtime, session, options.profilePrefix)
  } catch (error) {
    await session.release()
    throw error
  }
}
