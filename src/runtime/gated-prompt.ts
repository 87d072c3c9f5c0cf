/**
 * LLaMA-Adapter as inputs of the decoder: keys, values and gates of every layer. Without such an adapter each layer has one row of
 * zeros behind gates of 0, which adds nothing.
 */

import type { AdapterTensors, GatedPromptLayer } from '../adapters/types.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import type { Engine, Session, Tensor, ValueInfo } from '../engine/types.js'

/** A layer of the decoder that takes a gated prompt. */
export interface GatedPromptPlace {
  readonly layer: number
  readonly heads: number
  readonly headWidth: number
}

const KEY_INPUT = /^prompt\/layers\.(\d+)\/key$/

/** The places of a decoder session, from its inputs; none where it was built without them. @throws M4Error `IMAGE_INVALID` */
export function gatedPromptPlaces(inputs: readonly ValueInfo[]): GatedPromptPlace[] {
  return inputs.flatMap(({ name, dims }) => {
    const layer = KEY_INPUT.exec(name)?.[1]
    if (layer === undefined) return []
    const [, heads, , headWidth] = dims // [B, H, U, D]
    if (typeof heads !== 'number' || typeof headWidth !== 'number')
      throw new M4Error('IMAGE_INVALID', `The decoder's input ${name} is not [B, heads, U, width].`, {
        hint: 'Build the image again with this version of m4fm.',
      })
    return [{ layer: Number(layer), heads, headWidth }]
  })
}

export interface BoundGatedPrompt extends Disposable {
  /** Input name → tensor, for every place. */
  readonly tensors: ReadonlyMap<string, Tensor>
  dispose(): void
}

/**
 * @throws M4Error `NOT_AVAILABLE` when the adapter has a prompt and the decoder no place for it, `SHAPE_MISMATCH` when one does
 * not fit
 */
export function bindGatedPrompt(
  engine: Engine,
  places: readonly GatedPromptPlace[],
  adapter?: AdapterTensors,
): BoundGatedPrompt {
  const layers = adapter?.gatedPrompt?.layers ?? []
  if (adapter) assertPlaces(adapter.name, layers, places)
  // One size of one letter: shorter prompts cannot stand beside longer ones in one run.
  const rows = Math.max(1, ...places.map(({ layer, heads, headWidth }) => rowsOf(layers[layer], heads * headWidth)))
  const tensors = new Map<string, Tensor>()
  const dispose = () => {
    for (const tensor of tensors.values()) tensor.dispose()
  }
  try {
    for (const { layer, heads, headWidth } of places) {
      const found = layers[layer]
      if (found) assertShape(adapter!.name, layer, found, { rows, heads, headWidth })
      const add = (kind: 'key' | 'value' | 'gate', dims: readonly number[], data?: Float32Array) =>
        tensors.set(`prompt/layers.${layer}/${kind}`, engine.tensor('float32', dims, data as DataOf<'float32'>))
      add('key', [1, heads, rows, headWidth], found?.key)
      add('value', [1, heads, rows, headWidth], found?.value)
      add('gate', [1, heads], found?.gates)
    }
  } catch (error) {
    dispose()
    throw error
  }
  return { tensors, dispose, [Symbol.dispose]: dispose }
}

const rowsOf = (layer: GatedPromptLayer | undefined, width: number) => (layer ? layer.key.length / width : 0)

function assertPlaces(
  name: string,
  layers: readonly (GatedPromptLayer | undefined)[],
  places: readonly GatedPromptPlace[],
): void {
  const missing = layers.findIndex((layer, l) => layer && !places.some((place) => place.layer === l))
  if (missing < 0) return
  throw new M4Error(
    'NOT_AVAILABLE',
    `Adapter ${name} has a gated prompt for layer ${missing}, this backbone no place for it.`,
    {
      hint: 'Build the image with `gatedPrompt` for LLaMA-Adapter, or use LoRA.',
      details: { adapter: name, layer: missing },
    },
  )
}

function assertShape(
  name: string,
  layer: number,
  { key, value, gates }: GatedPromptLayer,
  { rows, heads, headWidth }: { rows: number; heads: number; headWidth: number },
): void {
  const count = rows * heads * headWidth
  if (key.length === count && value.length === count && gates.length === heads) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `Adapter ${name}, layer ${layer}: expected ${count} numbers for keys and values and ${heads} gates, got ${key.length}, ${value.length} and ${gates.length}.`,
    { hint: 'The adapter was made for another base model.', details: { adapter: name, layer } },
  )
}

/** An adapter's learned rows [n, C] and gates [H] of each layer, as they lie in its file. */
export interface PromptRows {
  readonly width: number
  readonly layers: readonly ({ readonly rows: Float32Array; readonly gates: Float32Array } | undefined)[]
}

/** Keys and values of the rows, through the backbone's own matrices (its graph `prompt`). @throws M4Error `ENGINE`, `ABORTED` */
export async function gatedPromptOf(
  engine: Engine,
  prompt: Session,
  { width, layers }: PromptRows,
  signal?: AbortSignal,
): Promise<NonNullable<AdapterTensors['gatedPrompt']>> {
  const count = Math.max(1, ...layers.map((layer) => (layer ? layer.rows.length / width : 0)))
  const owned: Tensor[] = []
  const keep = (tensor: Tensor) => {
    owned.push(tensor)
    return tensor
  }
  try {
    const feeds = Object.fromEntries(
      prompt.inputs.map(({ name }, l) => [
        name,
        keep(engine.tensor('float32', [count, width], layers[l]?.rows as DataOf<'float32'> | undefined)),
      ]),
    )
    const results = await prompt.run(feeds, undefined, { signal })
    for (const tensor of Object.values(results)) keep(tensor)
    const data = (name: string) => (results[name]!.data as Float32Array).slice()
    return {
      layers: layers.map(
        (layer, l) => layer && { key: data(`key/layers.${l}`), value: data(`value/layers.${l}`), gates: layer.gates },
      ),
    }
  } finally {
    for (const tensor of owned) tensor.dispose()
  }
}
