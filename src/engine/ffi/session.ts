/** A loaded graph in ONNX Runtime: opened off the event loop, released only when nobody runs it. */

import { Handle } from '../../core/disposal.js'
import { M4Error } from '../../core/errors.js'
import { dimOf, findValue } from '../checks.js'
import type { ModelSource, RunOptions, Session, SessionOptions, Tensor, ValueInfo } from '../types.js'
import type { Pointer } from './api.js'
import { FfiBinding } from './binding.js'
import { check, create, type Runtime } from './runtime.js'
import { loadNative } from './session-options.js'
import { readTypeAndShape } from './tensor.js'

/** The native session with a count of those who still need it. */
export interface NativeSession {
  readonly pointer: Pointer
  readonly inputs: readonly ValueInfo[]
  readonly outputs: readonly ValueInfo[]
  retain(): void
  releaseUser(): void
  /** @throws M4Error `DISPOSED` */
  assertLive(doing: string): void
}

export async function createFfiSession(
  runtime: Runtime,
  model: ModelSource,
  options: SessionOptions,
): Promise<FfiSession> {
  const pointer = await loadNative(runtime, model, options)
  try {
    const inputs = readValues(runtime, pointer, 'Input')
    const outputs = readValues(runtime, pointer, 'Output')
    return new FfiSession(runtime, pointer, inputs, outputs, options.profilePrefix !== undefined)
  } catch (error) {
    runtime.api.ReleaseSession(pointer)
    throw error
  }
}

export class FfiSession extends Handle implements Session, NativeSession {
  readonly #runtime: Runtime
  readonly #profiled: boolean
  #users = 1

  constructor(
    runtime: Runtime,
    readonly pointer: Pointer,
    readonly inputs: readonly ValueInfo[],
    readonly outputs: readonly ValueInfo[],
    profiled: boolean,
  ) {
    super('session')
    this.#runtime = runtime
    this.#profiled = profiled
  }

  override assertLive(doing: string): void {
    super.assertLive(doing)
  }

  bind(): FfiBinding {
    this.assertLive('bind')
    return new FfiBinding(this.#runtime, this)
  }

  async run(
    feeds: Readonly<Record<string, Tensor>>,
    fetches: readonly string[] = this.outputs.map((output) => output.name),
    options: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const binding = this.bind()
    try {
      for (const [name, tensor] of Object.entries(feeds)) binding.bindInput(name, tensor)
      for (const name of fetches) {
        findValue(this.outputs, 'output', name)
        binding.bindOutput(name)
      }
      await binding.run(options)
      return Object.fromEntries(fetches.map((name) => [name, binding.output(name)]))
    } finally {
      binding.dispose()
    }
  }

  /** Ends profiling and gives the path of the trace. @throws M4Error `USAGE` when the session was not opened with `profilePrefix` */
  endProfiling(): string {
    this.assertLive('endProfiling')
    if (!this.#profiled)
      throw new M4Error('USAGE', 'This session does not profile.', { hint: 'Open it with `profilePrefix`.' })
    const { api, allocator, library } = this.#runtime
    return takeText(api, allocator, library.koffi, create(api, 'SessionEndProfiling', this.pointer, allocator))
  }

  retain(): void {
    this.#users++
  }

  releaseUser(): void {
    if (--this.#users === 0) this.#runtime.api.ReleaseSession(this.pointer)
  }

  protected override release(): void {
    this.releaseUser()
  }
}

function takeText(
  api: Runtime['api'],
  allocator: Pointer,
  koffi: Runtime['library']['koffi'],
  pointer: Pointer,
): string {
  const text: string = koffi.decode(pointer, 'char', -1)
  check(api, api.AllocatorFree(allocator, pointer), 'Freeing a text')
  return text
}

function readValues(runtime: Runtime, session: Pointer, kind: 'Input' | 'Output'): ValueInfo[] {
  const { api, allocator, library } = runtime
  const count = Number(create(api, `SessionGet${kind}Count`, session))
  return Array.from({ length: count }, (_, index) => {
    const name = takeText(
      api,
      allocator,
      library.koffi,
      create(api, `SessionGet${kind}Name`, session, index, allocator),
    )
    const typeInfo = create(api, `SessionGet${kind}TypeInfo`, session, index)
    try {
      const tensorInfo = create(api, 'CastTypeInfoToTensorInfo', typeInfo)
      if (tensorInfo === 0n) throw new M4Error('FORMAT_UNSUPPORTED', `${kind} "${name}" of the graph is not a tensor.`)
      const { dtype, dims } = readTypeAndShape(runtime, tensorInfo, name)
      const symbols = new BigUint64Array(Math.max(dims.length, 1))
      check(api, api.GetSymbolicDimensions(tensorInfo, symbols, dims.length), 'GetSymbolicDimensions')
      return {
        name,
        dtype,
        dims: dims.map((size, axis) =>
          dimOf(size, symbols[axis] ? library.koffi.decode(symbols[axis], 'char', -1) : ''),
        ),
      }
    } finally {
      api.ReleaseTypeInfo(typeInfo)
    }
  })
}
