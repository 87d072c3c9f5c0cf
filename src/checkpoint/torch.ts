/** torch.save files: the zip layout of torch 1.6 and later, and the older one of pickles followed by raw storages. */

import type { M4Error } from '../core/errors.js'
import { type ByteSource, invalid, unsupported } from './byte-source.js'
import { Cursor, decodeUtf8 } from './cursor.js'
import { type PersistentLoad, unpickle } from './pickle.js'
import { storageOfClass } from './pickle-globals.js'
import type { PickleValue, TorchStorage } from './pickle-values.js'
import { STORAGE } from './storage.js'
import { makeCheckpoint } from './tensor.js'
import { flattenPickle } from './torch-flatten.js'
import { stridedTensor } from './torch-tensor.js'
import type { Checkpoint } from './types.js'
import { readZipDirectory } from './zip.js'

/** The first object of a legacy file. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn
const LEGACY_PROTOCOL = 1001

/** Where the bytes of each storage are. */
export type StoragePlaces = ReadonlyMap<string, { readonly offset: number; readonly size: number }>

/** Storages that a pickle named, by key; one key must always come with one type and size. */
type NamedStorages = Map<string, TorchStorage>

/**
 * Opens a zip file of torch.save. Tensor names are the keys on the way to the tensor, joined with `/`; what is not a tensor is
 * metadata under the same kind of name. The checkpoint owns `source`.
 * @throws M4Error `UNSAFE_PICKLE`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function openTorchZip(source: ByteSource): Checkpoint {
  const members = readZipDirectory(source)
  const pickles = [...members.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  const [pickle] = pickles
  if (!pickle || pickles.length > 1)
    throw invalid(
      source.name,
      0,
      `a zip archive with ${pickles.length} members "<root>/data.pkl", a torch checkpoint has one`,
      'Name a file written by torch.save.',
    )
  const root = pickle.name.slice(0, -'data.pkl'.length)
  const byteOrder = members.get(`${root}byteorder`)
  if (byteOrder && decodeUtf8(source.read(byteOrder.offset, byteOrder.size)) !== 'little')
    throw unsupported(source.name, 'storages that are not little-endian', 'Save it again on a little-endian machine.')
  const named: NamedStorages = new Map()
  const value = unpickle(new Cursor(source, pickle.offset, pickle.offset + pickle.size), storageLoader(named))
  const places = new Map(
    [...named.keys()].map((key) => {
      const member = members.get(`${root}data/${key}`)
      if (!member) throw invalid(source.name, pickle.offset, `the storage "${key}" is not in the archive`)
      return [key, member]
    }),
  )
  return assemble(source, value, named, places, pickle.size)
}

/**
 * Opens a file of torch before 1.6: magic, protocol, system, object, storage keys — five pickles — then the storages.
 * Names and metadata as in `openTorchZip`. The checkpoint owns `source`.
 * @throws M4Error `UNSAFE_PICKLE`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function openTorchLegacy(source: ByteSource): Checkpoint {
  const cursor = new Cursor(source)
  const plain = () =>
    unpickle(cursor, (_, fail) => {
      throw fail('a storage outside the object')
    })
  if (plain() !== LEGACY_MAGIC) throw invalid(source.name, 0, 'no torch magic number')
  const protocol = plain()
  if (protocol !== LEGACY_PROTOCOL)
    throw unsupported(source.name, `torch protocol ${String(protocol)}`, 'Save it again with torch.')
  const system = plain()
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw unsupported(source.name, 'storages that are not little-endian', 'Save it again on a little-endian machine.')
  const named: NamedStorages = new Map()
  const start = cursor.offset
  const value = unpickle(cursor, storageLoader(named))
  const pickleBytes = cursor.offset - start
  const keys = plain()
  if (!Array.isArray(keys)) throw cursor.fail('no list of storage keys')
  const places = new Map<string, { offset: number; size: number }>()
  for (const key of keys) {
    const storage = named.get(String(key))
    if (!storage || places.has(storage.key))
      throw cursor.fail(`the storage "${String(key)}" is not one of the object's`)
    const count = cursor.size64(`the size of storage "${storage.key}"`)
    if (count !== storage.count)
      throw cursor.fail(`storage "${storage.key}" has ${count} elements, the object says ${storage.count}`)
    const size = count * elementBytes(storage)
    places.set(storage.key, { offset: cursor.offset, size })
    cursor.skip(size)
  }
  return assemble(source, value, named, places, pickleBytes)
}

/** Persistent ids are `('storage', class, key, device, count)`, in legacy files with a view `(key, offset, count)` or None behind. */
function storageLoader(named: NamedStorages): PersistentLoad {
  return (id, fail) => {
    const [tag, storageClass, key, , count, view] = Array.isArray(id) ? id : []
    const storage = storageOfClass(storageClass)
    if (tag !== 'storage' || !storage || typeof key !== 'string' || !isCount(count))
      throw fail('an unknown kind of persistent id')
    const known = named.get(key)
    if (known && (known.storage !== storage || known.count !== count))
      throw fail(`two descriptions of storage "${key}"`)
    const whole: TorchStorage = known ?? { key, storage, count, viewOffset: 0 }
    named.set(key, whole)
    return view === undefined || view === null ? whole : viewOf(whole, view, fail)
  }
}

function viewOf(whole: TorchStorage, view: PickleValue, fail: (problem: string) => M4Error): TorchStorage {
  const [, offset, count] = Array.isArray(view) ? view : []
  if (!isCount(offset) || !isCount(count) || offset + count > whole.count)
    throw fail(`a view outside of storage "${whole.key}"`)
  return { ...whole, count, viewOffset: offset }
}

const isCount = (value: PickleValue | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0

const elementBytes = ({ storage }: TorchStorage) => (storage === 'untyped' ? 1 : STORAGE[storage].blockBytes)

function assemble(
  source: ByteSource,
  value: PickleValue,
  named: NamedStorages,
  places: StoragePlaces,
  pickleBytes: number,
): Checkpoint {
  for (const storage of named.values()) {
    const expected = storage.count * elementBytes(storage)
    const found = places.get(storage.key)?.size
    if (found !== expected)
      throw invalid(source.name, 0, `storage "${storage.key}" has ${found ?? 'no'} bytes, the pickle says ${expected}`)
  }
  const { tensors, leaves } = flattenPickle(source.name, value, pickleBytes)
  const stored = tensors.map(([name, ref]) => stridedTensor(source, places, name, ref))
  return makeCheckpoint('torch', source.name, stored, leaves, [source])
}
