/** The readers by format, and which one a path is for: content decides, the extension helps. */

import { adviceError } from '../../core/advice.js'
import { M4Error, unknownName } from '../../core/errors.js'
import { readCoco } from './coco.js'
import { PICTURE_NAME, SOUND_NAME, TABLE_NAME } from './media-files.js'
import { readImageFolder, readSoundFolder } from './media-folder.js'
import { readMotion } from './motion.js'
import type { Reader, Source } from './reader.js'
import { readRows } from './rows.js'
import { FORMATS, type FormatName, type OpenOptions } from './samples.js'
import { readTable, startOfTable } from './table.js'

export const READERS: Readonly<Record<FormatName, Reader>> = {
  table: readTable,
  rows: readRows,
  'image-folder': readImageFolder,
  'sound-folder': readSoundFolder,
  coco: readCoco,
  motion: readMotion,
}

/** What each folder format is made of, in the order in which they are looked for: tables often lie beside media as lists. */
const FOLDERS = [
  { format: 'image-folder', name: PICTURE_NAME },
  { format: 'sound-folder', name: SOUND_NAME },
  { format: 'motion', name: TABLE_NAME },
] as const

/**
 * @throws M4Error `UNKNOWN_NAME` for a format that is none; `EMPTY_INPUT` for an empty folder; `FORMAT_INVALID` for a folder of
 * pictures and sounds; `FORMAT_UNSUPPORTED` for what no reader reads
 */
export function recogniseFormat(source: Source, options: OpenOptions): FormatName {
  if (options.format) {
    if (FORMATS.includes(options.format)) return options.format
    throw unknownName('format', options.format, FORMATS)
  }
  return source.type === 'folder' ? folderFormat(source.path, source.below) : fileFormat(source, options)
}

function folderFormat(path: string, below: readonly string[]): FormatName {
  if (!below.length)
    throw new M4Error('EMPTY_INPUT', `${path} is an empty folder, expected one folder a class.`, {
      hint: `Put the files into ${path}/<class>/.`,
      details: { path },
    })
  const fits = FOLDERS.filter(({ name }) => below.some((file) => name.test(file))).map(({ format }) => format)
  if (fits.includes('image-folder') && fits.includes('sound-folder'))
    throw adviceError(
      'FORMAT_INVALID',
      `${path} holds pictures and sounds, expected one of them.`,
      { say: 'Say which to read', examples: [{ format: 'image-folder' }, { format: 'sound-folder' }] },
      { path },
    )
  if (fits[0]) return fits[0]
  throw new M4Error('FORMAT_UNSUPPORTED', `${path} holds neither pictures, nor WAV files, nor tables of motion.`, {
    hint: 'Pictures: png, jpg, webp, ppm, gif; sounds: wav; motion: csv, tsv. For texts, give the file itself.',
    details: { path, files: below.slice(0, 10) },
  })
}

/** Nothing is parsed whole only to be recognised: COCO's files have hundreds of megabytes. */
function fileFormat(source: Source & { readonly type: 'file' }, options: OpenOptions): FormatName {
  const { path } = source
  const { text } = source.text
  const head = text.slice(0, 1000).trimStart()
  const isJsonName = /\.(json|jsonl|ndjson)$/i.test(path)
  if (/^\[\s*\{/.test(head)) return 'rows'
  if (head.startsWith('{')) {
    const [first, isWhole] = firstLine(text)
    if (!isWhole && isJson(first)) return 'rows'
    if (/"images"\s*:/.test(text) && /"annotations"\s*:/.test(text)) return 'coco'
    if (isJson(isWhole ? first : text)) {
      if (isWhole || /\.(jsonl|ndjson)$/i.test(path)) return 'rows'
      throw new M4Error('FORMAT_UNSUPPORTED', `${path} is one JSON object without "images" and "annotations" (COCO).`, {
        hint: 'Texts: one object a line (JSONL), a list of objects, or CSV.',
        details: { path },
      })
    }
  }
  if (isJsonName) return 'rows'
  return startOfTable(path, text, options)?.motion ? 'motion' : 'table'
}

function firstLine(text: string): readonly [line: string, isWhole: boolean] {
  const start = text.search(/\S/)
  const end = text.indexOf('\n', start)
  return end < 0 ? [text.slice(start), true] : [text.slice(start, end), text.slice(end).trim() === '']
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
