/**
 * An adapter as inputs of the decoder: tensors by input name (`lora/layers.3/attn/qkv/A`). Without an adapter every place has
 * rank 0, which is the base bit for bit.
 *
 * All places that share a rank symbol (`R_qkv`) have one rank in one run, so smaller ones are padded with zeros.
 */

import type { AdapterTensors, PackedLora } from '../adapters/types.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error, unknownName } from '../core/errors.js'
import type { Engine, Tensor, ValueInfo } from '../engine/types.js'

/** A place of the decoder where LoRA attaches. */
export interface LoraPlace {
  /** `layers.3/attn/qkv` */
  readonly path: string
  readonly in: number
  readonly out: number
  /** Places with one symbol have one rank. */
  readonly rankSymbol: string
}

const A_INPUT = /^lora\/(.+)\/A$/

/** The LoRA places of a decoder session, from its inputs. @throws M4Error `IMAGE_INVALID` when they are not in the form above */
export function loraPlaces(inputs: readonly ValueInfo[]): LoraPlace[] {
  return inputs.flatMap(({ name, dims }) => {
    const path = A_INPUT.exec(name)?.[1]
    if (path === undefined) return []
    const b = inputs.find((input) => input.name === `lora/${path}/B`)
    const [, width, symbol] = dims // [B, in, R]
    const out = b?.dims[2] // [B, R, out]
    if (typeof width !== 'number' || typeof out !== 'number' || typeof symbol !== 'string')
      throw new M4Error(
        'IMAGE_INVALID',
        `The decoder's input ${name} is not a LoRA pair A [B, in, R], B [B, R, out].`,
        {
          hint: 'Build the image again with this version of m4fm.',
        },
      )
    return [{ path, in: width, out, rankSymbol: symbol }]
  })
}

export interface BoundLora extends Disposable {
  /** Input name → tensor, for every place. */
  readonly tensors: ReadonlyMap<string, Tensor>
  dispose(): void
}

/**
 * @throws M4Error `UNKNOWN_NAME` when the adapter has a place that the decoder has not (it would silently do nothing),
 * `SHAPE_MISMATCH` when a matrix does not fit
 */
export function bindLora(engine: Engine, places: readonly LoraPlace[], adapter?: AdapterTensors): BoundLora {
  const lora = adapter?.lora ?? new Map<string, PackedLora>()
  const known = new Set(places.map(({ path }) => path))
  for (const path of lora.keys())
    if (!known.has(path)) throw unknownName(`place of adapter ${adapter?.name}`, path, known)
  const ranks = new Map<string, number>()
  for (const { path, rankSymbol } of places)
    ranks.set(rankSymbol, Math.max(ranks.get(rankSymbol) ?? 0, lora.get(path)?.rank ?? 0))

  const owned: Tensor[] = []
  const zeros = new Map<string, Tensor>()
  const keep = (tensor: Tensor) => {
    owned.push(tensor)
    return tensor
  }
  const zero = (dims: readonly number[]) => {
    const key = dims.join()
    if (!zeros.has(key)) zeros.set(key, keep(engine.tensor('float32', dims)))
    return zeros.get(key)!
  }
  const dispose = () => {
    for (const tensor of owned) tensor.dispose()
  }
  const tensors = new Map<string, Tensor>()
  try {
    for (const place of places) {
      const rank = ranks.get(place.rankSymbol)!
      const [aDims, bDims] = [
        [1, place.in, rank],
        [1, rank, place.out],
      ]
      const packed = lora.get(place.path)
      if (packed) checkShape(adapter!.name, place, packed)
      tensors.set(
        `lora/${place.path}/A`,
        packed ? keep(engine.tensor('float32', aDims, widen(packed.a, place.in, packed.rank, rank))) : zero(aDims),
      )
      tensors.set(
        `lora/${place.path}/B`,
        packed ? keep(engine.tensor('float32', bDims, lengthen(packed.b, rank * place.out))) : zero(bDims),
      )
    }
  } catch (error) {
    dispose()
    throw error
  }
  return { tensors, dispose, [Symbol.dispose]: dispose }
}

function checkShape(adapter: string, place: LoraPlace, { rank, a, b }: PackedLora): void {
  if (a.length === place.in * rank && b.length === rank * place.out) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `Adapter ${adapter}, ${place.path}: rank ${rank} needs A [${place.in}, ${rank}] and B [${rank}, ${place.out}], got ${a.length} and ${b.length} elements.`,
    { hint: 'The adapter was made for another base model.', details: { adapter, place: place.path } },
  )
}

type Rows = DataOf<'float32'>

/** [rows, from] → [rows, to], zeros at the right. */
function widen(data: Float32Array, rows: number, from: number, to: number): Rows {
  if (from === to) return data as Rows
  const out = new Float32Array(rows * to)
  for (let row = 0; row < rows; row++) out.set(data.subarray(row * from, (row + 1) * from), row * to)
  return out
}

function lengthen(data: Float32Array, length: number): Rows {
  if (data.length === length) return data as Rows
  const out = new Float32Array(length)
  out.set(data)
  return out
}
