/** LLaMA-Adapter cases: logits of the base checkpoint with each adapter file of the folder, gates for all heads or one a head. */

import { readLitLlamaPrompt } from '../adapters/index.js'
import { M4Error } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'
import { type GatedPromptPlace, gatedPromptOf } from '../runtime/gated-prompt.js'
import type { OutputSpec, ParityCase } from './case.js'
import { promptLogits } from './llama.js'
import { type LlamaModel, openLlama } from './llama-model.js'
import type { Runner } from './types.js'

/** How an output's name says that one gate serves all heads of a layer. */
const SCALAR = /scalar|old/i

export const runLlamaAdapter: Runner = async (run) => {
  const { parityCase, signal } = run
  using model = await openLlama(run, { gatedPrompt: true })
  const tensors = new Map<string, HostTensor>()
  for (const spec of parityCase.outputs) {
    if (!spec.name.startsWith('logits')) continue
    const adapter = /without/.test(spec.name)
      ? undefined
      : await adapterOf(model, adapterFile(parityCase, spec), signal)
    tensors.set(spec.name, await promptLogits({ model, parityCase, adapter, signal }))
  }
  return { tensors }
}

async function adapterOf(model: LlamaModel, path: string, signal: AbortSignal | undefined) {
  const { engine, prompt, abi, prompts } = model
  const { name, layers, findings, matched, total } = readLitLlamaPrompt(path, abi, heads(prompts))
  const errors = findings.filter(({ severity }) => severity === 'error')
  if (errors.length || !prompt)
    throw new M4Error('FORMAT_INVALID', `${path}: ${matched} of ${total} tensors fit; ${errors[0]?.message}`, {
      hint: 'Was it made for this base model?',
      details: { findings },
    })
  const gatedPrompt = await gatedPromptOf(engine, prompt, { width: abi.width, layers }, signal)
  return { name, lora: new Map(), gatedPrompt }
}

const heads = (prompts: readonly GatedPromptPlace[]) => prompts[0]?.heads ?? 0

/** The adapter file that an output is about. */
function adapterFile(parityCase: ParityCase, { name }: OutputSpec): string {
  const { files, json, folder } = parityCase
  const adapters = files.filter(({ file, role }) => file !== json.checkpoint && /adapter/i.test(`${file} ${role}`))
  const fitting = adapters.filter(({ file, role }) => SCALAR.test(`${file} ${role}`) === SCALAR.test(name))
  const file = fitting[0] ?? (adapters.length === 1 ? adapters[0] : undefined)
  if (file) return parityCase.path(file.file)
  throw new M4Error('FORMAT_INVALID', `${folder}: no adapter file for the output "${name}".`)
}
