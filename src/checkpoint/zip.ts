/** The directory of a ZIP file (PKWARE APPNOTE 6.3), ZIP64 included, for archives whose members are stored uncompressed. */

import { type ByteSource, invalid, unsupported } from './byte-source.js'
import { Cursor } from './cursor.js'

export interface ZipMember {
  readonly name: string
  /** Of the data, in the file. */
  readonly offset: number
  readonly size: number
}

const END = 0x06054b50
const END_BYTES = 22
const MAX_COMMENT_BYTES = 65535
const END64_LOCATOR = 0x07064b50
const END64 = 0x06064b50
const ENTRY = 0x02014b50
const ENTRY_BYTES = 46
const LOCAL = 0x04034b50
const LOCAL_BYTES = 30
const FULL32 = 0xffffffff
const FULL16 = 0xffff
const ZIP64_EXTRA = 1

interface Directory {
  readonly count: number
  readonly offset: number
  readonly size: number
}

/**
 * Members by name.
 * @throws M4Error `FORMAT_INVALID`; `FORMAT_UNSUPPORTED` for compressed or encrypted members and for archives in several files
 */
export function readZipDirectory(source: ByteSource): ReadonlyMap<string, ZipMember> {
  const { count, offset, size } = findDirectory(source)
  if (offset + size > source.size) throw invalid(source.name, offset, 'the zip directory lies outside the file')
  const cursor = new Cursor(source, offset, offset + size)
  cursor.assertRoom(count, ENTRY_BYTES, 'zip members')
  const members = new Map<string, ZipMember>()
  for (let i = 0; i < count; i++) {
    const member = readEntry(source, cursor)
    if (members.has(member.name)) throw cursor.fail(`two zip members are named "${member.name}"`)
    members.set(member.name, member)
  }
  return members
}

function findDirectory(source: ByteSource): Directory {
  const tailBytes = Math.min(source.size, END_BYTES + MAX_COMMENT_BYTES)
  const tail = source.read(source.size - tailBytes, tailBytes)
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength)
  for (let at = tailBytes - END_BYTES; at >= 0; at--) {
    if (view.getUint32(at, true) !== END || at + END_BYTES + view.getUint16(at + 20, true) !== tailBytes) continue
    const endOffset = source.size - tailBytes + at
    const directory = {
      count: view.getUint16(at + 10, true),
      size: view.getUint32(at + 12, true),
      offset: view.getUint32(at + 16, true),
    }
    if (view.getUint16(at + 4, true) !== 0 && view.getUint16(at + 4, true) !== FULL16)
      throw unsupported(source.name, 'a zip archive in several files', 'Join it first.')
    const isFull = directory.count === FULL16 || directory.size === FULL32 || directory.offset === FULL32
    return (isFull && findDirectory64(source, endOffset)) || directory
  }
  throw invalid(source.name, source.size, 'the zip archive has no end record', 'The file is truncated; fetch it again.')
}

function findDirectory64(source: ByteSource, endOffset: number): Directory | undefined {
  if (endOffset < 20) return undefined
  const locator = new Cursor(source, endOffset - 20)
  if (locator.u32() !== END64_LOCATOR) return undefined
  locator.skip(4)
  const at = locator.size64('the zip64 end offset')
  const cursor = new Cursor(source, at)
  if (cursor.u32() !== END64) throw cursor.fail('no zip64 end record')
  cursor.skip(28)
  const count = cursor.size64('the member count')
  const size = cursor.size64('the directory size')
  return { count, size, offset: cursor.size64('the directory offset') }
}

function readEntry(source: ByteSource, cursor: Cursor): ZipMember {
  if (cursor.u32() !== ENTRY) throw cursor.fail('no zip directory entry')
  cursor.skip(4)
  const flags = cursor.u16()
  const method = cursor.u16()
  cursor.skip(8)
  const packed = cursor.u32()
  const unpacked = cursor.u32()
  const nameBytes = cursor.u16()
  const extraBytes = cursor.u16()
  const commentBytes = cursor.u16()
  cursor.skip(8)
  const local = cursor.u32()
  const name = cursor.text(nameBytes)
  const extra = readZip64Extra(cursor, extraBytes, { unpacked, packed, local })
  cursor.skip(commentBytes)
  if (flags & 1) throw unsupported(source.name, `the zip member "${name}" is encrypted`, 'Decrypt it first.')
  if (method !== 0 || extra.packed !== extra.unpacked)
    throw unsupported(
      source.name,
      `the zip member "${name}" is compressed (method ${method})`,
      'torch stores members as they are; save the checkpoint again with torch.save.',
    )
  return { name, size: extra.unpacked, offset: dataOffset(source, extra.local, name, extra.unpacked) }
}

/** Fields that are all ones stand, in this order, in the zip64 extra field. */
function readZip64Extra(
  cursor: Cursor,
  byteLength: number,
  fields: { unpacked: number; packed: number; local: number },
) {
  const end = cursor.offset + byteLength
  const result = { ...fields }
  while (cursor.offset + 4 <= end) {
    const id = cursor.u16()
    const next = cursor.u16() + cursor.offset
    if (next > end) throw cursor.fail('a zip extra field is longer than its record')
    if (id === ZIP64_EXTRA)
      for (const key of ['unpacked', 'packed', 'local'] as const)
        if (result[key] === FULL32 && cursor.offset + 8 <= next) result[key] = cursor.size64(`a zip64 ${key} field`)
    cursor.skip(next - cursor.offset)
  }
  cursor.skip(end - cursor.offset)
  return result
}

function dataOffset(source: ByteSource, local: number, name: string, size: number): number {
  const header = new Cursor(source, local, Math.min(source.size, local + LOCAL_BYTES))
  if (header.u32() !== LOCAL) throw header.fail(`the zip member "${name}" has no local header`)
  header.skip(22)
  const nameBytes = header.u16()
  const offset = local + LOCAL_BYTES + nameBytes + header.u16()
  if (offset + size > source.size)
    throw invalid(source.name, offset, `the zip member "${name}" goes past the end of the file`)
  return offset
}
