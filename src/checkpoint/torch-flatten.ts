/** A pickled object as a flat list: tensors and other leaves under the keys that lead to them. */

import { invalid, unsupported } from './byte-source.js'
import { PickleGlobal, PickleLeaf, type PickleValue, TensorRef } from './pickle-values.js'

const MAX_DEPTH = 64

export interface FlatPickle {
  readonly tensors: readonly (readonly [name: string, ref: TensorRef])[]
  readonly leaves: Readonly<Record<string, unknown>>
}

/**
 * Walks dicts and lists; a path is the keys joined with `/`.
 * @param pickleBytes length of the pickle: an object with more leaves than that is a bomb made of shared lists.
 * @throws M4Error `FORMAT_INVALID` for two leaves of one path, and for bombs; `FORMAT_UNSUPPORTED` beyond 64 levels (or a cycle)
 */
export function flattenPickle(fileName: string, root: PickleValue, pickleBytes: number): FlatPickle {
  const tensors: [string, TensorRef][] = []
  const leaves = new Map<string, unknown>()
  const names = new Set<string>()
  let visits = 0

  const add = (path: string) => {
    if (names.has(path)) throw invalid(fileName, 0, `two values have the path "${path}"`)
    names.add(path)
  }

  const visit = (value: PickleValue, path: string, depth: number): void => {
    if (++visits > pickleBytes) throw invalid(fileName, 0, 'the pickle repeats lists in lists, to grow beyond its size')
    if (depth > MAX_DEPTH)
      throw unsupported(fileName, `containers nested more than ${MAX_DEPTH} deep`, 'Save a plain state dict.')
    const inside = (key: unknown, item: PickleValue) => visit(item, path ? `${path}/${key}` : `${key}`, depth + 1)
    if (value instanceof TensorRef) {
      add(path)
      tensors.push([path, value])
    } else if (value instanceof Map) for (const [key, item] of value) inside(keyName(key), item)
    else if (Array.isArray(value)) for (const [index, item] of value.entries()) inside(index, item)
    else {
      add(path)
      leaves.set(path, leafValue(value))
    }
  }

  visit(root, '', 0)
  return { tensors, leaves: Object.fromEntries(leaves) }
}

const keyName = (key: PickleValue) => (key instanceof PickleGlobal ? key.name : String(key))

function leafValue(value: PickleValue): unknown {
  if (value instanceof PickleGlobal) return value.name
  if (!(value instanceof PickleLeaf)) return value
  return value.value instanceof Set ? [...value.value] : value.value
}
