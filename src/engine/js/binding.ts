/** Binding over the JavaScript API: remembers feeds and fetches. A tensor bound as input and output is updated in place, with a copy. */

import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-common'
import { formatDims } from '../../core/dims.js'
import { Handle } from '../../core/disposal.js'
import type { DataOf } from '../../core/dtypes.js'
import { M4Error, throwIfAborted, unknownName } from '../../core/errors.js'
import { checkComplete, checkSymbols, checkTensor, findValue, foreignTensor } from '../checks.js'
import { aborted, ortError } from '../ort-errors.js'
import type { Binding, RunOptions, Tensor, ValueInfo } from '../types.js'
import type { JsSession } from './session.js'
import { JsTensor, messageOf, wrapResult } from './tensor.js'

interface BoundOutput {
  readonly info: ValueInfo
  /** Undefined: the runtime allocates. */
  readonly given: JsTensor | undefined
  result: JsTensor | undefined
}

/** The run itself cannot be stopped here: an abort is seen before it starts and after it ends. */
export class JsBinding extends Handle implements Binding {
  readonly #session: JsSession
  readonly #inputs = new Map<string, { readonly info: ValueInfo; readonly tensor: JsTensor }>()
  readonly #outputs = new Map<string, BoundOutput>()
  #results: Readonly<Record<string, OrtTensor>> = {}
  #checked = false
  #running = false
  #hasRun = false

  constructor(session: JsSession) {
    super('binding')
    this.#session = session
    session.retain()
  }

  bindInput(name: string, tensor: Tensor): void {
    this.#assertIdle('bindInput')
    const info = findValue(this.#session.inputs, 'input', name)
    this.#inputs.set(name, { info, tensor: this.#accept(info, tensor) })
    this.#checked = false
  }

  bindOutput(name: string, tensor?: Tensor): void {
    this.#assertIdle('bindOutput')
    const info = findValue(this.#session.outputs, 'output', name)
    this.#outputs.set(name, { info, given: tensor && this.#accept(info, tensor), result: undefined })
    this.#hasRun = false
  }

  async run(options: RunOptions = {}): Promise<void> {
    this.#assertIdle('run')
    throwIfAborted(options.signal)
    const feeds: Record<string, OrtTensor> = {}
    for (const [name, { tensor }] of this.#inputs) feeds[name] = tensor.native(`Input "${name}"`)
    const fetches = this.#fetches()
    this.#check()
    for (const output of this.#outputs.values()) output.result = undefined
    this.#running = true
    this.#hasRun = false
    try {
      const { runtime } = this.#session
      this.#results = await runtime.serially(() => this.#runNow(feeds, fetches, options.signal))
      if (!runtime.writesFetches) this.#copyBack()
      this.#hasRun = true
    } finally {
      this.#running = false
      if (this.disposed) this.#free()
    }
    if (options.signal?.aborted) throw aborted(options.signal, false)
  }

  output(name: string): Tensor {
    this.#assertIdle('output')
    const output = this.#outputs.get(name)
    if (!output) throw unknownName('bound output', name, this.#outputs.keys())
    if (!this.#hasRun)
      throw new M4Error('USAGE', `output("${name}") was asked for before a run of this binding ended well.`)
    if (output.given) return output.given
    if (!output.result || output.result.disposed)
      output.result = wrapResult(this.#session.runtime, this.#results[name]!)
    return output.result
  }

  protected override release(): void {
    if (!this.#running) this.#free()
  }

  #accept(info: ValueInfo, tensor: Tensor): JsTensor {
    if (!(tensor instanceof JsTensor)) throw foreignTensor(info.name, this.#session.runtime.backend)
    tensor.native(`Binding "${info.name}"`)
    checkTensor(info, tensor)
    return tensor
  }

  /** On node a given tensor goes along, and is written; on web it would be left unwritten, so only names go. */
  #fetches(): Record<string, OrtTensor | null> {
    const { writesFetches } = this.#session.runtime
    return Object.fromEntries(
      [...this.#outputs].map(([name, { given }]) => {
        const native = given?.native(`Output "${name}"`)
        return [name, writesFetches && native ? native : null]
      }),
    )
  }

  #check(): void {
    if (this.#checked) return
    checkComplete(this.#session.inputs, this.#inputs)
    checkSymbols([...this.#inputs.values()].map(({ info, tensor }) => [info, tensor] as const))
    if (this.#outputs.size === 0)
      throw new M4Error('USAGE', 'This binding has no outputs.', { hint: 'Call bindOutput before run.' })
    this.#checked = true
  }

  async #runNow(
    feeds: Record<string, OrtTensor>,
    fetches: Record<string, OrtTensor | null>,
    signal: AbortSignal | undefined,
  ): Promise<InferenceSession.ReturnType> {
    throwIfAborted(signal)
    this.#session.assertLive('run')
    if (this.disposed) throw new M4Error('DISPOSED', 'run: this binding was disposed while it waited.')
    try {
      // Errors come back with their text; without the option onnxruntime-web also writes them to stderr.
      return await this.#session.native.run(feeds, fetches, { logSeverityLevel: 4 })
    } catch (error) {
      throw ortError('Running the graph', messageOf(error), undefined, error)
    }
  }

  #copyBack(): void {
    for (const [name, { given }] of this.#outputs) {
      if (!given) continue
      const result = this.#results[name]!
      if (result.dims.join() !== given.dims.join()) throw shapeMismatch(name, given.dims, result.dims)
      given.data.set(result.data as DataOf as never)
    }
  }

  #free(): void {
    this.#inputs.clear()
    this.#outputs.clear()
    this.#results = {}
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

function shapeMismatch(name: string, expected: readonly number[], got: readonly number[]): M4Error {
  return new M4Error(
    'SHAPE_MISMATCH',
    `Output "${name}" is bound to a tensor ${formatDims(expected)}, but the run made ${formatDims(got)}.`,
    { details: { name, expected: formatDims(expected), got: formatDims(got) } },
  )
}
