/** Where tensors of an image lie, by their content: a view of a module names what is there instead of writing it again. */

import { sha256Hex } from '../core/hash.js'
import type { BlobName } from './manifest.js'

export interface TensorPlace {
  readonly location: BlobName
  readonly offset: number
}

export class TensorPlaces {
  readonly #places = new Map<string, TensorPlace>()

  /** Equal bytes only: what is found can stand for what was asked for. */
  find(bytes: Uint8Array): TensorPlace | undefined {
    return this.#places.get(sha256Hex(bytes))
  }

  add(digest: string, place: TensorPlace): void {
    this.#places.set(digest, place)
  }
}
