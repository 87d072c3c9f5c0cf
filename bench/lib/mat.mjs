/**
 * Numbers of a MATLAB 5 file: enough for annotations (numeric arrays, cells and structures; no text, no sparse arrays).
 * Format: MathWorks, MAT-File Format, "Level 5".
 */

import { inflateSync } from 'node:zlib'

const [MATRIX, COMPRESSED] = [14, 15]
const [CELL, STRUCT] = [1, 2]
const HEADER_BYTES = 128
/** Type → bytes an element, and how it is read. */
const NUMBERS = {
  1: [1, 'getInt8'],
  2: [1, 'getUint8'],
  3: [2, 'getInt16'],
  4: [2, 'getUint16'],
  5: [4, 'getInt32'],
  6: [4, 'getUint32'],
  7: [4, 'getFloat32'],
  9: [8, 'getFloat64'],
}

/** Variables by name. A numeric array is { dims, data }, column by column; a cell { dims, cells }; a structure { dims, fields }. */
export function readMat(bytes) {
  const found = {}
  for (const element of elements(bytes.subarray(HEADER_BYTES))) {
    const [matrix] = element.type === COMPRESSED ? elements(inflateSync(element.bytes)) : [element]
    if (matrix.type !== MATRIX) continue
    const { name, value } = matrixOf(matrix.bytes)
    found[name] = value
  }
  return found
}

function elements(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const found = []
  for (let at = 0; at + 8 <= bytes.length; ) {
    const tag = view.getUint32(at, true)
    const small = tag >>> 16
    const [type, length, start] = small ? [tag & 0xffff, small, at + 4] : [tag, view.getUint32(at + 4, true), at + 8]
    found.push({ type, bytes: bytes.subarray(start, start + length) })
    const end = small ? at + 8 : start + length
    // A compressed element ends where it ends; all others are filled up to eight bytes.
    at = type === COMPRESSED ? end : Math.ceil(end / 8) * 8
  }
  return found
}

function matrixOf(bytes) {
  const [flags, dimensions, title, ...rest] = elements(bytes)
  const kind = numbers(flags)[0] & 0xff
  const dims = numbers(dimensions)
  const name = Buffer.from(title.bytes).toString('latin1')
  if (kind === CELL) return { name, value: { dims, cells: rest.map((each) => matrixOf(each.bytes).value) } }
  if (kind !== STRUCT) return { name, value: { dims, data: rest[0] ? numbers(rest[0]) : [] } }
  const [width, names, ...values] = rest
  const text = Buffer.from(names.bytes).toString('latin1')
  const [size] = numbers(width)
  const fields = values.map((each, i) => [
    text.slice(i * size, (i + 1) * size).replace(/\0.*$/, ''),
    matrixOf(each.bytes).value,
  ])
  return { name, value: { dims, fields: Object.fromEntries(fields) } }
}

function numbers({ type, bytes }) {
  const known = NUMBERS[type]
  if (!known) throw new Error(`MAT: elements of type ${type} are not read.`)
  const [size, get] = known
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.length / size }, (_, i) => view[get](i * size, true))
}
