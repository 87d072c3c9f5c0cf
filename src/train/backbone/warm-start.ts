/**
 * Virtual tokens that begin as words: training starts from what the model makes of the task's own prompt, which converges where
 * random rows do not.
 *
 * @paper initialisation from vocabulary: arXiv:2104.08691 §3.2; from activations of real words: arXiv:2101.00190 §7.4
 */

import type { LongOperation } from '../../core/progress.js'
import type { Engine, Tensor } from '../../engine/types.js'
import type { Image } from '../../firmware/image.js'
import type { TextEncoder } from '../text/task.js'
import type { InitialRows } from './adapter.js'
import { type Trained, virtualTokens } from './program.js'

interface WarmStart extends LongOperation {
  readonly engine: Engine
  readonly image: Image
}

/** The task in words, over and over until there are as many tokens as are trained. */
function tokensOfTask({ tokenizer, task }: TextEncoder, count: number): number[] {
  const text = `${task.template === 'chat' ? 'Answer the user.' : task.template.replace('{}', ' ')} ${(task.labels ?? []).join(', ')} `
  const ids = tokenizer.encode(text)
  return Array.from({ length: count }, (_, i) => ids[i % ids.length]!)
}

/** Nothing for LoRA. @throws M4Error `ENGINE` */
export async function initialRows(
  { engine, image }: WarmStart,
  trained: Trained,
  encoder: TextEncoder,
): Promise<InitialRows> {
  const count = virtualTokens(trained)
  if (!count) return {}
  const ids = BigInt64Array.from(tokensOfTask(encoder, count), BigInt)
  using embed = await engine.createSession({ path: image.graphPath('backbone', 'embed') })
  using input = engine.tensor('int64', [1, count], ids)
  const { embeddings } = await embed.run({ ids: input }, ['embeddings'])
  using rows = embeddings!
  if (trained.kind === 'prompt') return { embeddings: (rows.data as Float32Array).slice() }
  return { cache: await cacheOf(engine, image, rows, count) }
}

/** Keys and values that the decoder computes for these embeddings, of each layer [K, n, D]. */
async function cacheOf(engine: Engine, image: Image, embeddings: Tensor, count: number) {
  const { abi } = image.manifest
  using decode = await engine.createSession({ path: image.graphPath('backbone', 'decode') })
  const feeds: Record<string, Tensor> = {
    inputs_embeds: embeddings,
    seqlens_k: engine.tensor('int32', [1], Int32Array.of(count - 1)),
    total_sequence_length: engine.tensor('int32', [], Int32Array.of(count)),
    logit_idx: engine.tensor('int64', [1], BigInt64Array.of(0n)),
  }
  for (const { name, dims } of decode.inputs) {
    if (feeds[name]) continue
    // Empty caches, and adapters of rank 0.
    feeds[name] = engine.tensor(
      'float32',
      dims.map((dim) => (typeof dim === 'number' ? dim : dim === 'B' ? 1 : 0)),
    )
  }
  const wanted = Array.from({ length: abi.layers }, (_, l) =>
    ['key', 'value'].map((kind) => `present/layers.${l}/${kind}`),
  )
  const outputs = await decode.run(feeds, wanted.flat())
  const taken = (name: string) => (outputs[name]!.data as Float32Array).slice()
  const layers = wanted.map(([key, value]) => ({ key: taken(key!), value: taken(value!) }))
  for (const tensor of [...Object.values(outputs), ...Object.values(feeds).filter((each) => each !== embeddings)])
    tensor.dispose()
  return layers
}
