/** LLaMA cases: logits of whole prompts and greedy continuations through the KV cache, with and without adapters. */

import { type AdapterTensors, readLitLlamaLora, readPeftAdapter, usableAdapter } from '../adapters/index.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import type { Abi } from '../firmware/manifest.js'
import { argmax } from '../runtime/logits.js'
import type { OutputSpec, ParityCase } from './case.js'
import { type LlamaModel, openLlama } from './llama-model.js'
import type { Produced, Runner } from './types.js'

export interface LlamaRun {
  readonly model: LlamaModel
  readonly parityCase: ParityCase
  readonly adapter: AdapterTensors | undefined
  readonly signal: AbortSignal | undefined
}

type Producer = (run: LlamaRun, spec: OutputSpec) => Promise<HostTensor>

const PRODUCERS: Readonly<Record<string, Producer>> = Object.freeze({
  logits: (run) => promptLogits(run),
  logits_without_adapter: (run) => promptLogits({ ...run, adapter: undefined }),
  greedy_tokens: async (run, spec) => (await greedy(run, spec.shape.at(-1)!)).tokens,
  greedy_step_logits: async (run, spec) => (await greedy(run, spec.shape.at(-2)!)).logits,
})

/** @param adapter what must lie in the folder beside the checkpoint */
export const llamaRunner =
  (adapter: keyof typeof ADAPTERS = 'none'): Runner =>
  async (run) => {
    const { parityCase, signal } = run
    using model = await openLlama(run)
    return await produce({ model, parityCase, adapter: ADAPTERS[adapter](parityCase, model.abi), signal })
  }

async function produce(run: LlamaRun): Promise<Produced> {
  const tensors = new Map<string, HostTensor>()
  for (const spec of run.parityCase.outputs)
    if (Object.hasOwn(PRODUCERS, spec.name)) tensors.set(spec.name, await PRODUCERS[spec.name]!(run, spec))
  return { tensors }
}

/** All throw `FORMAT_INVALID` when the adapter does not fit in whole. */
const ADAPTERS = Object.freeze({
  none: () => undefined,
  peft: ({ folder }, abi) => usableAdapter(readPeftAdapter(folder, abi)),
  'lit-lora': litLlamaLora,
} satisfies Record<string, (parityCase: ParityCase, abi: Abi) => AdapterTensors | undefined>)

function litLlamaLora(parityCase: ParityCase, abi: Abi): AdapterTensors {
  const { folder, files, config, json } = parityCase
  const lora = files.filter(({ file, role }) => file !== json.checkpoint && /lora/i.test(`${file} ${role}`))
  if (lora.length !== 1)
    throw new M4Error('FORMAT_INVALID', `${folder}: expected one LoRA file beside the checkpoint, got ${lora.length}.`)
  const { alpha, enable_lora: enabled } = config
  return usableAdapter(
    readLitLlamaLora(parityCase.path(lora[0]!.file), abi, {
      ...(typeof alpha === 'number' ? { alpha } : {}),
      ...(Array.isArray(enabled) ? { enabled: enabled as [boolean, boolean, boolean] } : {}),
    }),
  )
}

/** Rows of an int64 input [B, T]. */
function tokenRows(parityCase: ParityCase, ...names: readonly string[]): number[][] {
  const { dims, data } = parityCase.input(names.find((name) => parityCase.hasInput(name)) ?? names[0]!)
  const [rows, columns] = dims.length === 2 ? (dims as [number, number]) : [1, data.length]
  return Array.from({ length: rows }, (_, row) =>
    Array.from(data.subarray(row * columns, (row + 1) * columns) as ArrayLike<number | bigint>, Number),
  )
}

/** Of every position, those of a soft prompt included. [B, n + T, V] */
export async function promptLogits({ model, parityCase, adapter, signal }: LlamaRun): Promise<HostTensor> {
  const { context, vocabulary } = model
  const rows = tokenRows(parityCase, 'ids')
  const virtual = adapter?.softPrompt?.tokens ?? 0
  const perRow = virtual + rows[0]!.length
  const out = new Float32Array(rows.length * perRow * vocabulary)
  for (const [b, ids] of rows.entries()) {
    const at = (position: number) => (b * perRow + position) * vocabulary
    if (adapter?.softPrompt) {
      context.useAdapter(undefined)
      const { embeddings } = adapter.softPrompt
      const width = embeddings.length / virtual
      for (let i = 0; i < virtual; i++) {
        const prefix = { embeddings: embeddings.subarray(0, (i + 1) * width) }
        out.set((await context.prefill([prefix], { signal })).logits, at(i))
      }
    }
    context.useAdapter(adapter)
    context.rewind(0)
    out.set((await context.prefill([{ ids: ids.slice(0, 1) }], { signal })).logits, at(virtual))
    await context.evaluateAll(ids.slice(1), (part, from) => out.set(part, at(virtual + 1 + from)), { signal })
  }
  return hostTensor('float32', [rows.length, perRow, vocabulary], out)
}

/** `count` tokens after each prompt, none of which ends the answer. tokens [B, count], logits [count, V] of the first row */
async function greedy(
  { model, parityCase, adapter, signal }: LlamaRun,
  count: number,
): Promise<{ tokens: HostTensor; logits: HostTensor }> {
  const { context, vocabulary } = model
  const prompts = tokenRows(parityCase, 'prompt', 'ids')
  const tokens: number[] = []
  const steps = new Float32Array(count * vocabulary)
  context.useAdapter(adapter)
  for (const [b, ids] of prompts.entries()) {
    context.rewind(0)
    let row: Float32Array = (await context.prefill([{ ids }], { signal })).logits
    for (let i = 0; i < count; i++) {
      if (b === 0) steps.set(row, i * vocabulary)
      const id = argmax(row)
      tokens.push(id)
      if (i + 1 < count) row = await context.step(id, { signal })
    }
  }
  return {
    tokens: int64Tensor([prompts.length, count], tokens),
    logits: hostTensor('float32', [count, vocabulary], steps),
  }
}
