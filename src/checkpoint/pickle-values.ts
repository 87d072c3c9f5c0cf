/** What a pickle may hold: plain data, tensors by description, and inert names. Nothing here is ever called. */

import type { StorageType } from './types.js'

/** A class or function by name, as GLOBAL pushes it. It only becomes data through the table in `pickle-globals.ts`. */
export class PickleGlobal {
  constructor(readonly name: string) {}
}

/** Raw elements somewhere in the checkpoint. */
export interface TorchStorage {
  readonly key: string
  readonly storage: StorageType | 'untyped'
  /** Elements; bytes when untyped. */
  readonly count: number
  /** Elements from the start of storage `key`: legacy files have views of storages. */
  readonly viewOffset: number
}

/** A tensor as `_rebuild_tensor_v2` describes it: a strided window on a storage. */
export class TensorRef {
  constructor(
    readonly place: TorchStorage,
    readonly storage: StorageType,
    /** In elements. */
    readonly offset: number,
    readonly dims: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** A leaf whose items are not looked into: torch.Size, a set, a numpy array. */
export class PickleLeaf {
  constructor(public value: unknown) {}
}

/** Lists and tuples are arrays, dicts are maps (their keys need not be strings). */
export type PickleValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickleGlobal
  | TorchStorage
  | TensorRef
  | PickleLeaf
  | PickleValue[]
  | Map<PickleValue, PickleValue>

export const isTorchStorage = (value: PickleValue): value is TorchStorage & PickleValue =>
  typeof value === 'object' && value !== null && 'viewOffset' in value
