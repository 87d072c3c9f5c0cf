/** Inputs and outputs bound once through OrtIoBinding, run many times on a worker thread. */

import { Handle } from '../../core/disposal.js'
import { M4Error, throwIfAborted, unknownName } from '../../core/errors.js'
import { checkComplete, checkSymbols, checkTensor, findValue, foreignTensor } from '../checks.js'
import { aborted } from '../ort-errors.js'
import type { Binding, RunOptions, Tensor, ValueInfo } from '../types.js'
import type { Pointer } from './api.js'
import { callAsync, check, create, type Runtime } from './runtime.js'
import type { NativeSession } from './session.js'
import { copyOut, FfiTensor } from './tensor.js'

interface Bound {
  readonly info: ValueInfo
  /** Held also after its `dispose`, so that its memory outlives every run that may still touch it. */
  readonly tensor: FfiTensor
}

interface BoundOutput {
  readonly info: ValueInfo
  /** Undefined: ONNX Runtime allocates. */
  readonly given: Bound | undefined
  /** The copy of the last result, made when first asked for. */
  result: FfiTensor | undefined
}

export class FfiBinding extends Handle implements Binding {
  readonly #runtime: Runtime
  readonly #session: NativeSession
  readonly #binding: Pointer
  readonly #inputs = new Map<string, Bound>()
  /** In the order of first binding, which is the order in which ONNX Runtime gives the values back. */
  readonly #outputs = new Map<string, BoundOutput>()
  #results: Pointer[] | undefined
  #checked = false
  #running = false
  #hasRun = false

  constructor(runtime: Runtime, session: NativeSession) {
    const binding = create(runtime.api, 'CreateIoBinding', session.pointer)
    super('binding')
    this.#runtime = runtime
    this.#session = session
    this.#binding = binding
    session.retain()
  }

  bindInput(name: string, tensor: Tensor): void {
    this.#assertIdle('bindInput')
    const bound = this.#accept(findValue(this.#session.inputs, 'input', name), tensor)
    const { api } = this.#runtime
    check(api, api.BindInput(this.#binding, name, bound.tensor.native('bindInput')), `Binding input "${name}"`)
    this.#inputs.set(name, bound)
    this.#checked = false
  }

  bindOutput(name: string, tensor?: Tensor): void {
    this.#assertIdle('bindOutput')
    const info = findValue(this.#session.outputs, 'output', name)
    const given = tensor && this.#accept(info, tensor)
    this.#dropResults()
    if (given) {
      const { api } = this.#runtime
      check(api, api.BindOutput(this.#binding, name, given.tensor.native('bindOutput')), `Binding output "${name}"`)
    } else this.#bindToRuntime(name)
    this.#outputs.set(name, { info, given, result: undefined })
    this.#hasRun = false
  }

  async run(options: RunOptions = {}): Promise<void> {
    this.#assertIdle('run')
    throwIfAborted(options.signal)
    this.#prepare()
    this.#running = true
    this.#hasRun = false
    try {
      await this.#runtime.gate.pass(() => this.#runNow(options.signal), options.signal)
      this.#hasRun = true
    } finally {
      this.#running = false
      if (this.disposed) this.#free()
    }
  }

  output(name: string): Tensor {
    this.#assertIdle('output')
    const output = this.#outputs.get(name)
    if (!output) throw unknownName('bound output', name, this.#outputs.keys())
    if (!this.#hasRun)
      throw new M4Error('USAGE', `output("${name}") was asked for before a run of this binding ended well.`)
    if (output.given) return output.given.tensor
    if (output.result && !output.result.disposed) return output.result
    this.#results ??= this.#readResults()
    const index = [...this.#outputs.keys()].indexOf(name)
    output.result = copyOut(this.#runtime, this.#results[index]!, name)
    return output.result
  }

  protected override release(): void {
    if (!this.#running) this.#free()
  }

  #accept(info: ValueInfo, tensor: Tensor): Bound {
    if (!(tensor instanceof FfiTensor)) throw foreignTensor(info.name, 'ffi')
    checkTensor(info, tensor)
    return { info, tensor }
  }

  /** Everything that must hold before native code starts. */
  #prepare(): void {
    for (const { info, tensor } of this.#inputs.values()) tensor.native(`Input "${info.name}"`)
    for (const { given } of this.#outputs.values()) given?.tensor.native(`Output "${given.info.name}"`)
    if (!this.#checked) {
      checkComplete(this.#session.inputs, this.#inputs)
      checkSymbols([...this.#inputs.values()].map(({ info, tensor }) => [info, tensor] as const))
      if (this.#outputs.size === 0)
        throw new M4Error('USAGE', 'This binding has no outputs.', { hint: 'Call bindOutput before run.' })
      this.#checked = true
    }
    this.#dropResults()
    // Without this, the last run's value would be taken as the place for the next result.
    for (const [name, output] of this.#outputs) {
      if (!output.given) this.#bindToRuntime(name)
      output.result = undefined
    }
  }

  async #runNow(signal: AbortSignal | undefined): Promise<void> {
    const { api } = this.#runtime
    this.#session.assertLive('run')
    if (this.disposed) throw new M4Error('DISPOSED', 'run: this binding was disposed while it waited.')
    const runOptions = signal ? create(api, 'CreateRunOptions') : null
    const terminate = () => check(api, api.RunOptionsSetTerminate(runOptions), 'Stopping a run')
    signal?.addEventListener('abort', terminate, { once: true })
    let status: Pointer | null
    try {
      status = await callAsync(api, 'RunWithBinding', this.#session.pointer, runOptions, this.#binding)
    } finally {
      signal?.removeEventListener('abort', terminate)
      if (runOptions !== null) api.ReleaseRunOptions(runOptions)
    }
    if (signal?.aborted) {
      if (status !== null) api.ReleaseStatus(status)
      throw aborted(signal, status !== null)
    }
    check(api, status, 'Running the graph')
  }

  #bindToRuntime(name: string): void {
    const { api, cpuMemory } = this.#runtime
    check(api, api.BindOutputToDevice(this.#binding, name, cpuMemory), `Binding output "${name}"`)
  }

  #readResults(): Pointer[] {
    const { api, allocator, library } = this.#runtime
    const array = new BigUint64Array(new ArrayBuffer(8))
    const count = create(api, 'GetBoundOutputValues', this.#binding, allocator, array)
    const values = new BigUint64Array(library.koffi.view(array[0]!, Number(count) * 8)).slice()
    check(api, api.AllocatorFree(allocator, array[0]!), 'Freeing the list of outputs')
    return [...values]
  }

  #dropResults(): void {
    for (const value of this.#results ?? []) this.#runtime.api.ReleaseValue(value)
    this.#results = undefined
  }

  #free(): void {
    this.#dropResults()
    this.#runtime.api.ReleaseIoBinding(this.#binding)
    this.#inputs.clear()
    this.#outputs.clear()
    this.#session.releaseUser()
  }

  #assertIdle(doing: string): void {
    this.assertLive(doing)
    this.#session.assertLive(doing)
    if (this.#running)
      throw new M4Error('USAGE', `${doing}: a run of this binding is still in flight.`, {
        hint: 'Await it, or make a second binding: one session may run many at once.',
      })
  }
}
