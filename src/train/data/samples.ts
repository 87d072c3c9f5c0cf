/** What a data set is once it is read: samples as plain data, of one kind, and the files that they came from. */

import type { LongOperation } from '../../core/progress.js'
import type { Finding } from './findings.js'

/** What a row holds besides the fields that its kind knows. */
export type Extra = Readonly<Record<string, unknown>>

interface Row {
  /** 1-based, as a spreadsheet or an editor counts: a header is row 1. */
  readonly row: number
  readonly extra?: Extra
}

export interface TextLabelSample extends Row {
  readonly kind: 'text-label'
  readonly text: string
  readonly label: string
}

export interface PromptAnswerSample extends Row {
  readonly kind: 'prompt-answer'
  readonly prompt: string
  readonly answer: string
}

export const CHAT_ROLES = ['system', 'user', 'assistant'] as const

export interface ChatMessage {
  readonly role: (typeof CHAT_ROLES)[number]
  readonly content: string
}

export interface ChatSample extends Row {
  readonly kind: 'chat'
  /** All that comes before the answer. */
  readonly messages: readonly ChatMessage[]
  /** The last message, of the assistant. */
  readonly answer: string
}

interface Media {
  /** Absolute. Hashed, but not decoded until it is trained on. */
  readonly path: string
  /** Who speaks or is seen, where the path says so. */
  readonly subject?: string
  /** Of the table that names the file, where there is one. */
  readonly row?: number
  readonly extra?: Extra
}

export interface ImageLabelSample extends Media {
  readonly kind: 'image-label'
  readonly label: string
}

export interface ImageCaptionSample extends Media {
  readonly kind: 'image-caption'
  /** All captions of this picture, so that a split cannot tear them apart. */
  readonly captions: readonly string[]
}

/** COCO: counts of a run-length mask, plain or in COCO's string form, column by column. */
export interface RunLengthMask {
  readonly size: readonly [height: number, width: number]
  readonly counts: string | readonly number[]
}

/** Lengths in dots of the picture, from its top left corner. */
export interface ImageObject {
  readonly label: string
  /** x, y of the top left corner, width, height. */
  readonly box?: readonly [x: number, y: number, width: number, height: number]
  readonly keypoints?: {
    /** In the order of `points`; empty where the file does not name them. */
    readonly names: readonly string[]
    /** visible: 0 not labelled, 1 hidden, 2 seen. */
    readonly points: readonly (readonly [x: number, y: number, visible: number])[]
  }
  /** x, y, x, y, … of each part. */
  readonly polygons?: readonly (readonly number[])[]
  readonly mask?: RunLengthMask
  /** A region of many objects, which scores leave out. */
  readonly crowd: boolean
}

export interface ImageObjectsSample extends Media {
  readonly kind: 'image-objects'
  readonly width: number
  readonly height: number
  readonly objects: readonly ImageObject[]
}

/** A question about a picture or a sound, and what the backbone should answer. */
export interface AskedSample extends Media {
  readonly kind: 'image-answer' | 'sound-answer'
  readonly question: string
  readonly answer: string
}

export interface ImageMatteSample extends Media {
  readonly kind: 'image-matte'
  /** A grey picture of the same size: white is foreground. Absolute. */
  readonly matte: string
}

export interface SoundLabelSample extends Media {
  readonly kind: 'sound-label'
  readonly label: string
}

export interface MotionLabelSample {
  readonly kind: 'motion-label'
  /** Absolute. */
  readonly path: string
  /** Measurements of the file that belong to this sample, 0-based, the header not counted; `end` is the first behind it. */
  readonly start: number
  readonly end: number
  readonly label: string
  /** Who wore the sensor. */
  readonly subject?: string
}

export type Sample =
  | TextLabelSample
  | PromptAnswerSample
  | ChatSample
  | ImageLabelSample
  | ImageCaptionSample
  | ImageObjectsSample
  | ImageMatteSample
  | SoundLabelSample
  | AskedSample
  | MotionLabelSample

export type SampleKind = Sample['kind']

export interface DataFile {
  /** Absolute. */
  readonly path: string
  readonly bytes: number
  readonly mtimeMs: number
  /** Hex, of the file as it lies on disk. */
  readonly sha256: string
}

export interface DataSet {
  /** Absolute. */
  readonly path: string
  readonly kind: SampleKind
  readonly samples: readonly Sample[]
  /** Each name once: numbers by value, then names by code unit. Splits of a set keep the whole list, so that ids agree. */
  readonly labels: readonly string[]
  /** sha-256, hex: of the file; of a folder, over `path NUL digest LF` of its files in order of their paths. */
  readonly digest: string
  readonly files: readonly DataFile[]
  readonly findings: readonly Finding[]
  /** How it was read, as data: the same options read it again. */
  readonly options: ReadOptions
}

/** Fields of a row that may stand under another name. */
export const FIELDS = [
  'text',
  'label',
  'prompt',
  'answer',
  'messages',
  'image',
  'caption',
  'matte',
  'sound',
  'time',
  'subject',
] as const
export type Field = (typeof FIELDS)[number]

export const TIME_UNITS = { s: 1, ms: 1e3, us: 1e6, ns: 1e9 } as const
export type TimeUnit = keyof typeof TIME_UNITS

export const FORMATS = ['table', 'rows', 'image-folder', 'sound-folder', 'coco', 'motion'] as const
/** table: CSV, TSV. rows: JSONL, or a JSON list of objects. motion: tables of measurements, one or a folder of them. */
export type FormatName = (typeof FORMATS)[number]

/** How a data set is read; plain data, so that an adapter can record it. */
export interface ReadOptions {
  /** Default: told by content and extension. */
  readonly format?: FormatName
  /** Where the file calls a field otherwise: its name there, or, in a table without a header, its number from 0. */
  readonly columns?: Readonly<Partial<Record<Field, string | number>>>
  /** Default: the one of `,` tab `;` `|` that the header fits, begun with that of the extension. */
  readonly separator?: string
  /** False for tables that use `"` as a letter like any other. Default true (RFC 4180). */
  readonly quotes?: boolean
  /**
   * Regular expression with a group `label` and perhaps `subject`, read against each file's path below the folder (`/` between
   * parts). Files that it does not fit are left out. Default: the first folder is the label.
   */
  readonly pathPattern?: string
  /** Where pictures or sounds named by a file lie. Default: beside it, or in COCO's own layout. */
  readonly mediaFolder?: string
  /** Motion: names of the columns to read, in the order of the model's channels. Default: acceleration, then rotation. */
  readonly channels?: readonly string[]
  /** Motion without a time column, or with one that is not believed. */
  readonly sampleRateHz?: number
  /** Motion: of the time column. Default: told by its name or its steps. */
  readonly timeUnit?: TimeUnit
  /** Characters from which a text is reported as long. Default 8192, about 2048 tokens of English. */
  readonly longCharacters?: number
  /** A set to measure on may hold a single class. Default train. */
  readonly use?: 'train' | 'eval'
}

export type OpenOptions = ReadOptions & LongOperation
