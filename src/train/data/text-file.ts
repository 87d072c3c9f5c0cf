/** A text file, whole: its bytes checked to be UTF-8, its digest taken from those same bytes. */

import { isUtf8 } from 'node:buffer'
import { readFile, stat } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import { M4Error, wrapSystemError } from '../../core/errors.js'
import { sha256Hex } from '../../core/hash.js'
import type { DataFile } from './samples.js'

export interface TextFile {
  readonly text: string
  readonly file: DataFile
}

/** What V8 holds in one string. */
const MAX_TEXT_BYTES = 2 ** 29 - 24

/** First bytes → what it is and what to do. */
const NOT_TEXT: readonly { readonly magic: readonly number[]; readonly what: string; readonly hint: string }[] = [
  { magic: [0x50, 0x41, 0x52, 0x31], what: 'a Parquet file', hint: 'Export it as CSV or JSONL.' },
  { magic: [0x50, 0x4b, 3, 4], what: 'a zip archive or a spreadsheet', hint: 'Unpack it, or export the sheet as CSV.' },
  { magic: [0xff, 0xfe], what: 'UTF-16 text', hint: 'Save it as UTF-8.' },
  { magic: [0xfe, 0xff], what: 'UTF-16 text', hint: 'Save it as UTF-8.' },
  { magic: [0x89, 0x50, 0x4e, 0x47], what: 'a picture', hint: 'Give the folder that holds one folder a class.' },
  { magic: [0xff, 0xd8, 0xff], what: 'a picture', hint: 'Give the folder that holds one folder a class.' },
  {
    magic: [0x52, 0x49, 0x46, 0x46],
    what: 'a sound or a picture (RIFF)',
    hint: 'Give the folder that holds one folder a class.',
  },
]

/**
 * Reads a file of UTF-8 text, with or without a byte order mark, plain or gzipped.
 * @throws M4Error `FILE_NOT_FOUND`, `IO`; `EMPTY_INPUT` for a file without text; `FORMAT_UNSUPPORTED` for what is not text or
 * too long for one string; `FORMAT_INVALID` with `details.offset` at the first byte that is not UTF-8, `FORMAT_INVALID` for bad gzip
 */
export async function readTextFile(path: string): Promise<TextFile> {
  let raw: Buffer
  let mtimeMs: number
  try {
    // Before reading: a change in between then shows as a change.
    const facts = await stat(path)
    mtimeMs = facts.mtimeMs
    if (facts.size > MAX_TEXT_BYTES) throw tooLong(path, facts.size)
    raw = await readFile(path)
  } catch (error) {
    throw wrapSystemError(error, `Reading ${path}`)
  }
  const bytes = raw[0] === 0x1f && raw[1] === 0x8b ? unzipped(path, raw) : raw
  const text = decodeText(path, bytes)
  if (!text.trim())
    throw new M4Error('EMPTY_INPUT', `${path} is empty, expected rows of samples.`, {
      hint: 'Check that it was written to the end.',
      details: { path, bytes: raw.length },
    })
  return { text, file: { path, bytes: raw.length, mtimeMs, sha256: sha256Hex(raw) } }
}

function unzipped(path: string, raw: Buffer): Buffer {
  try {
    return gunzipSync(raw, { maxOutputLength: MAX_TEXT_BYTES })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLong(path, undefined)
    throw new M4Error('FORMAT_INVALID', `${path} begins like gzip and does not unpack: ${(error as Error).message}.`, {
      hint: 'Fetch or pack it again.',
      details: { path },
      cause: error,
    })
  }
}

function decodeText(path: string, bytes: Buffer): string {
  const other = NOT_TEXT.find(({ magic }) => magic.every((byte, i) => bytes[i] === byte))
  if (other)
    throw new M4Error('FORMAT_UNSUPPORTED', `${path} is ${other.what}, expected UTF-8 text.`, {
      hint: other.hint,
      details: { path },
    })
  if (!isUtf8(bytes)) {
    const offset = invalidUtf8Offset(bytes)
    throw new M4Error(
      'FORMAT_INVALID',
      `${path} is not UTF-8: byte 0x${bytes[offset]!.toString(16).padStart(2, '0')} at offset ${offset}.`,
      { hint: 'Save it as UTF-8.', details: { path, offset } },
    )
  }
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
  const text = bytes.toString('utf8', marked ? 3 : 0)
  const nul = text.indexOf('\0')
  if (nul >= 0)
    throw new M4Error('FORMAT_INVALID', `${path} is not text: a NUL character at position ${nul}.`, {
      hint: 'Save it as UTF-8 text.',
      details: { path, position: nul },
    })
  return text
}

/** Length of the sequence that a lead byte opens, and the range of its second byte (The Unicode Standard, table 3-7). */
function sequenceOf(lead: number): readonly [length: number, low: number, high: number] {
  if (lead < 0x80) return [1, 0, 0]
  if (lead >= 0xc2 && lead <= 0xdf) return [2, 0x80, 0xbf]
  if (lead >= 0xe0 && lead <= 0xef) return [3, lead === 0xe0 ? 0xa0 : 0x80, lead === 0xed ? 0x9f : 0xbf]
  if (lead >= 0xf0 && lead <= 0xf4) return [4, lead === 0xf0 ? 0x90 : 0x80, lead === 0xf4 ? 0x8f : 0xbf]
  return [0, 0, 0]
}

/** Offset of the first byte of the first sequence that is not UTF-8, -1 for none. */
export function invalidUtf8Offset(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; ) {
    const [length, low, high] = sequenceOf(bytes[at]!)
    if (length === 0 || at + length > bytes.length) return at
    for (let i = 1; i < length; i++) {
      const byte = bytes[at + i]!
      if (byte < (i === 1 ? low : 0x80) || byte > (i === 1 ? high : 0xbf)) return at
    }
    at += length
  }
  return -1
}

const tooLong = (path: string, bytes: number | undefined) =>
  new M4Error(
    'FORMAT_UNSUPPORTED',
    `${path} is ${bytes === undefined ? 'longer than' : `${bytes} bytes of text, expected at most`} ${MAX_TEXT_BYTES} bytes${bytes === undefined ? ' of text' : ''}.`,
    { hint: 'Split it, or train on a part of it.', details: { path, bytes } },
  )
