/**
 * The allow-list of the unpickler: what each known global turns into when a pickle calls it with a tuple. Every entry builds plain
 * data; a global that is not here is `UNSAFE_PICKLE`, and one without `call` may be named but not called.
 */

import { M4Error } from '../core/errors.js'
import type { Cursor } from './cursor.js'
import { isTorchStorage, PickleGlobal, PickleLeaf, type PickleValue, TensorRef } from './pickle-values.js'
import type { StorageType } from './types.js'

type Call = (args: readonly PickleValue[], cursor: Cursor) => PickleValue

interface KnownGlobal {
  readonly call?: Call
  /** torch storage class: the type of its elements. */
  readonly storage?: StorageType | 'untyped'
  /** torch dtype: the storage that holds it. */
  readonly dtype?: StorageType
}

/** dtype → storage; torch names two of them twice. */
const TORCH_DTYPES: Readonly<Record<string, StorageType>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  uint16: 'U16',
  uint32: 'U32',
  uint64: 'U64',
  bool: 'BOOL',
  float8_e4m3fn: 'F8_E4M3',
  float8_e5m2: 'F8_E5M2',
}

const TORCH_STORAGES: Readonly<Record<string, StorageType>> = {
  Double: 'F64',
  Float: 'F32',
  Half: 'F16',
  BFloat16: 'BF16',
  Long: 'I64',
  Int: 'I32',
  Short: 'I16',
  Char: 'I8',
  Byte: 'U8',
  Bool: 'BOOL',
}

const numpyScalar: KnownGlobal = { call: ([dtype, raw], cursor) => decodeScalar(dtype, raw, cursor) }
const numpyArray: KnownGlobal = { call: () => new PickleLeaf('numpy.ndarray') }
const set: KnownGlobal = { call: ([items], cursor) => new PickleLeaf(new Set(itemsOf(items ?? [], cursor))) }
const named: KnownGlobal = {}

const GLOBALS: ReadonlyMap<string, KnownGlobal> = new Map<string, KnownGlobal>([
  ['torch._utils._rebuild_tensor', { call: rebuildTensor }],
  ['torch._utils._rebuild_tensor_v2', { call: rebuildTensor }],
  ['torch._utils._rebuild_tensor_v3', { call: rebuildTensor }],
  ['torch._utils._rebuild_parameter', { call: ([tensor], cursor) => tensorOf(tensor, cursor) }],
  ['torch._utils._rebuild_parameter_with_state', { call: ([tensor], cursor) => tensorOf(tensor, cursor) }],
  ['torch.Size', { call: ([dims], cursor) => new PickleLeaf(itemsOf(dims ?? [], cursor)) }],
  ['torch.device', { call: (args) => args.map(String).join(':') }],
  ['torch.storage.UntypedStorage', { storage: 'untyped' }],
  ...Object.entries(TORCH_STORAGES).map(([name, storage]) => [`torch.${name}Storage`, { storage }] as const),
  ...Object.entries(TORCH_DTYPES).map(([name, dtype]) => [`torch.${name}`, { dtype }] as const),
  ['collections.OrderedDict', { call: ([pairs], cursor) => toMap(pairs ?? [], cursor) }],
  ['collections.defaultdict', { call: () => new Map() }],
  ['argparse.Namespace', { call: () => new Map() }],
  ['_codecs.encode', { call: encodeText }],
  ['builtins.set', set],
  ['__builtin__.set', set],
  ['builtins.frozenset', set],
  ['__builtin__.frozenset', set],
  ['builtins.complex', { call: (args) => new PickleLeaf({ re: args[0], im: args[1] }) }],
  [
    'builtins.bytearray',
    { call: ([value], cursor) => (value === undefined ? new Uint8Array(0) : bytesOf(value, cursor)) },
  ],
  // Types that torch files name, as factories of defaultdicts or as keys.
  ...['int', 'float', 'bool', 'str', 'list', 'dict', 'tuple'].flatMap((name) => [
    [`builtins.${name}`, named] as const,
    [`__builtin__.${name}`, named] as const,
  ]),
  // Stable Diffusion 1.x .ckpt files have this class as a dict key.
  ['pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint', named],
  ['numpy.dtype', { call: ([name], cursor) => new PickleLeaf({ dtype: textOf(name, cursor) }) }],
  ['numpy.ndarray', named],
  ['numpy.core.multiarray.scalar', numpyScalar],
  ['numpy._core.multiarray.scalar', numpyScalar],
  ['numpy.core.multiarray._reconstruct', numpyArray],
  ['numpy._core.multiarray._reconstruct', numpyArray],
])

/** The inert name of a global. @throws M4Error `UNSAFE_PICKLE` when the allow-list does not have it. */
export function nameGlobal(cursor: Cursor, name: string): PickleGlobal {
  if (!GLOBALS.has(name)) throw unsafe(cursor, name, 'names')
  return new PickleGlobal(name)
}

/** What calling a global gives. @throws M4Error `UNSAFE_PICKLE`, `FORMAT_INVALID` */
export function callGlobal(cursor: Cursor, name: string, args: readonly PickleValue[]): PickleValue {
  const call = GLOBALS.get(name)?.call
  if (!call) throw unsafe(cursor, name, 'calls')
  return call(args, cursor)
}

/** Storage type of a torch storage class, or undefined for any other value. */
export function storageOfClass(value: PickleValue | undefined): StorageType | 'untyped' | undefined {
  return value instanceof PickleGlobal ? GLOBALS.get(value.name)?.storage : undefined
}

/**
 * BUILD: attributes of an object. Namespaces take them as items; on ordered dicts they are torch's `_metadata` (module versions),
 * on tensors Python attributes: neither is data of the model.
 */
export function buildState(cursor: Cursor, target: PickleValue, state: PickleValue): void {
  if (target instanceof PickleLeaf) target.value = { value: target.value, state }
  else if (target instanceof Map && state instanceof Map) {
    if (!isTorchModuleMetadata(state)) for (const [key, value] of state) target.set(key, value)
  } else if (!(target instanceof TensorRef)) throw cursor.fail('the pickle sets attributes of what has none')
}

const isTorchModuleMetadata = (state: Map<PickleValue, PickleValue>) => state.size === 1 && state.has('_metadata')

function unsafe(cursor: Cursor, name: string, does: string): M4Error {
  return new M4Error(
    'UNSAFE_PICKLE',
    `${cursor.source.name}: the pickle ${does} "${name}", which is not needed to hold tensors.`,
    {
      hint: 'Do not load this file in Python either unless you trust its origin; ask for a safetensors version.',
      details: { global: name, file: cursor.source.name, offset: cursor.offset },
    },
  )
}

/** `(storage, offset, size, stride, …)`; v3 adds the dtype of an untyped storage as its seventh argument. */
function rebuildTensor(args: readonly PickleValue[], cursor: Cursor): TensorRef {
  const [place, offset, size, stride] = args
  const dims = sizes(size, cursor)
  const strides = sizes(stride, cursor)
  if (place === undefined || !isTorchStorage(place) || !isSize(offset) || dims.length !== strides.length)
    throw cursor.fail('a tensor is not described by storage, offset, size and stride')
  const dtype = args[6] instanceof PickleGlobal ? GLOBALS.get(args[6].name)?.dtype : undefined
  const storage = place.storage === 'untyped' ? dtype : place.storage
  if (!storage) throw cursor.fail('an untyped storage without a dtype')
  return new TensorRef(place, storage, offset, dims, strides)
}

function tensorOf(value: PickleValue | undefined, cursor: Cursor): TensorRef {
  if (value instanceof TensorRef) return value
  throw cursor.fail('a parameter that holds no tensor')
}

const isSize = (value: PickleValue | undefined): value is number =>
  Number.isSafeInteger(value) && (value as number) >= 0

function sizes(value: PickleValue | undefined, cursor: Cursor): number[] {
  const items = value instanceof PickleLeaf ? value.value : value
  if (Array.isArray(items) && items.every(isSize)) return items
  throw cursor.fail('a size or stride is not a tuple of whole numbers')
}

function itemsOf(value: PickleValue, cursor: Cursor): PickleValue[] {
  if (Array.isArray(value)) return value
  throw cursor.fail('a list was expected')
}

function textOf(value: PickleValue | undefined, cursor: Cursor): string {
  if (typeof value === 'string') return value
  throw cursor.fail('a text was expected')
}

function bytesOf(value: PickleValue, cursor: Cursor): Uint8Array {
  if (value instanceof Uint8Array) return value
  throw cursor.fail('bytes were expected')
}

function toMap(pairs: PickleValue, cursor: Cursor): Map<PickleValue, PickleValue> {
  const map = new Map<PickleValue, PickleValue>()
  for (const pair of itemsOf(pairs, cursor)) {
    const [key, value] = itemsOf(pair, cursor)
    if (key === undefined || value === undefined) throw cursor.fail('a pair was expected')
    map.set(key, value)
  }
  return map
}

/** `_codecs.encode(text, 'latin1')`: how protocol 2 writes bytes. */
function encodeText([value, encoding]: readonly PickleValue[], cursor: Cursor): Uint8Array {
  const text = textOf(value, cursor)
  if (encoding !== 'latin1' && encoding !== 'latin-1') throw cursor.fail(`text in the encoding "${String(encoding)}"`)
  const out = new Uint8Array(text.length)
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit > 255) throw cursor.fail('bytes that are not latin-1')
    out[i] = unit
  }
  return out
}

const SCALARS: Readonly<Record<string, (view: DataView) => PickleValue>> = Object.freeze({
  f8: (view) => view.getFloat64(0, true),
  f4: (view) => view.getFloat32(0, true),
  i8: (view) => view.getBigInt64(0, true),
  i4: (view) => view.getInt32(0, true),
  i2: (view) => view.getInt16(0, true),
  i1: (view) => view.getInt8(0),
  u8: (view) => view.getBigUint64(0, true),
  u4: (view) => view.getUint32(0, true),
  u2: (view) => view.getUint16(0, true),
  u1: (view) => view.getUint8(0),
  b1: (view) => view.getUint8(0) !== 0,
})

/** A numpy scalar: the number, or for kinds that M4 has no use for the raw bytes. */
function decodeScalar(dtype: PickleValue | undefined, raw: PickleValue | undefined, cursor: Cursor): PickleValue {
  const bytes = typeof raw === 'string' ? encodeText([raw, 'latin1'], cursor) : bytesOf(raw ?? null, cursor)
  const name = dtypeName(dtype)
  const read = name === undefined ? undefined : SCALARS[name]
  if (!read || Number(name!.slice(1)) !== bytes.byteLength) return bytes
  const value = read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  return typeof value === 'bigint' && Number.isSafeInteger(Number(value)) ? Number(value) : value
}

/** The name in a numpy.dtype leaf, with or without the state that BUILD gave it. */
function dtypeName(dtype: PickleValue | undefined): string | undefined {
  let value: unknown = dtype instanceof PickleLeaf ? dtype.value : undefined
  if (typeof value === 'object' && value !== null && 'state' in value && 'value' in value) value = value.value
  const name = typeof value === 'object' && value !== null && 'dtype' in value ? value.dtype : undefined
  return typeof name === 'string' ? name : undefined
}
