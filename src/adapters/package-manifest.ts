/**
 * `m4fm.json`: what an adapter package says of itself. The contract between trainers, stores and the runtime, as
 * `firmware/manifest.ts` is for images. Unknown fields are refused: a reader that ignores what it does not know would ignore
 * what the adapter needs.
 */

import { parseJson } from '../checkpoint/json.js'
import { M4Error } from '../core/errors.js'
import { sha256Hex } from '../core/hash.js'
import { canonicalJson } from '../firmware/manifest.js'
import {
  anyObject,
  date,
  finite,
  type JsonValue,
  matching,
  names,
  notNegative,
  oneOf,
  sha256,
  shape,
  table,
  text,
  whole,
  wrongField,
} from './json-shape.js'
import { PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE } from './peft-names.js'

export const PACKAGE_FORMAT = 1
export const PACKAGE_FILE = 'm4fm.json'
export const HEAD_FILE = 'head.safetensors'
export const EVAL_FILE = 'eval.jsonl'
export const README_FILE = 'README.md'

/** Files that a package may hold beside `m4fm.json`. */
export const CONTENT_FILES = [PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE, HEAD_FILE, EVAL_FILE, README_FILE] as const

/** What is trained: tensors of PEFT, or a task head alone. */
export const PACKAGE_KINDS = ['lora', 'prompt', 'prefix', 'head'] as const
export type PackageKind = (typeof PACKAGE_KINDS)[number]

/** What the author says; the rest of `AdapterManifest` follows from the files. */
export interface AdapterFacts {
  /** Also its name on a device: see `NAME_RULE`. */
  readonly name: string
  /** Semantic version. */
  readonly version: string
  /** The app that ships it, e.g. `org.example.mail`. */
  readonly app: string
  /** What it does, e.g. `classify`, `T8`. */
  readonly task: string
  /** Which modules wake (DESIGN §2). */
  readonly path: 1 | 2 | 3 | 4
  readonly kind: PackageKind
  /** `{text}` and the like stand for the sample; labels in the order of the classes. */
  readonly prompt?: { readonly template: string; readonly labels?: readonly string[] }
  /** What `head.safetensors` computes. */
  readonly head?: {
    readonly type: string
    readonly in: number
    readonly out: number
    readonly labels?: readonly string[]
    /** Of heads that read every patch of a picture: their grid. */
    readonly patches?: { readonly rows: number; readonly columns: number }
    /** Of boxes: shapes at every patch, width and height as shares of the square that the encoder sees. */
    readonly anchors?: readonly (readonly [width: number, height: number])[]
  }
  readonly base: AdapterBase
  readonly training?: TrainingRecord
  /** Measured on the samples of `eval.jsonl`, all of them. */
  readonly metric?: MetricRecord
  /** SPDX id, or a sentence. */
  readonly licence: string
  /** ISO 8601, e.g. `2026-11-20T09:30:00Z`. */
  readonly created: string
}

export interface MetricRecord {
  readonly name: string
  readonly value: number
  readonly count: number
  /** Of the mean of `count` outcomes. */
  readonly stderr: number
}

export interface AdapterBase {
  /** `Abi.id` of the image that it was trained on. */
  readonly abi: string
  /** The module that it attaches to, e.g. `backbone`. */
  readonly module: string
  readonly image: { readonly name: string; readonly digest: string }
  /** Sizes of that base, for messages. */
  readonly sizes?: Readonly<Record<string, number>>
}

/** Enough to train it again. */
export interface TrainingRecord {
  readonly data: { readonly digest: string; readonly samples: number }
  /** Every option as it was used. */
  readonly recipe: { readonly [option: string]: JsonValue | undefined }
  readonly seed: number
  readonly steps: number
  readonly seconds: number
  readonly peakMemoryBytes: number
  /** Ends of the loss curve. */
  readonly loss: { readonly first: number; readonly last: number }
}

export interface PackageSignature {
  readonly algorithm: 'ecdsa-p256-sha256'
  /** sha-256 of the public key (SPKI, DER). */
  readonly keyId: string
  /** SPKI, DER, base64. Says who signed, not that they may. */
  readonly publicKey: string
  /** DER, base64. */
  readonly value: string
}

export interface AdapterManifest extends AdapterFacts {
  readonly format: typeof PACKAGE_FORMAT
  readonly files: Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>
  readonly signature?: PackageSignature
}

const NAME_PATTERN = /^(?!(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$))[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/
/** A name is a folder on every system: short, lower case, no device name of Windows. */
export const NAME_RULE = '1 to 64 of a-z, 0-9, ".", "_" and "-", a letter or digit at both ends'

export const isAdapterName = (name: string): boolean => NAME_PATTERN.test(name) && !name.includes('..')

const base64 = matching(/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/, 'base64')
/** A metric as it is recorded. */
export const METRIC = shape({ name: text(100), value: finite, count: whole(1), stderr: notNegative })

const CHECK = shape({
  format: oneOf(PACKAGE_FORMAT),
  name: (value, field) => {
    if (typeof value !== 'string' || !isAdapterName(value)) throw wrongField(field, NAME_RULE, value)
  },
  version: matching(/^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z.+-]+)?$/, 'a semantic version such as 1.0.0'),
  app: text(200),
  task: text(200),
  path: oneOf(1, 2, 3, 4),
  kind: oneOf(...PACKAGE_KINDS),
  'prompt?': shape({ template: text(), 'labels?': names(2) }),
  'head?': shape({
    type: text(100),
    in: whole(1),
    out: whole(1),
    'labels?': names(1),
    'patches?': shape({ rows: whole(1), columns: whole(1) }),
    'anchors?': (value, field) => {
      const isShape = (each: unknown) => Array.isArray(each) && each.length === 2 && each.every((size) => size > 0)
      if (!Array.isArray(value) || !value.length || !value.every(isShape))
        throw wrongField(field, 'a list of [width, height] above 0', value)
    },
  }),
  base: shape({
    abi: matching(/^abi-[0-9a-f]{16}$/, 'an ABI id such as abi-0123456789abcdef'),
    module: text(100),
    image: shape({ name: text(200), digest: sha256 }),
    'sizes?': (value, field) => {
      anyObject(value, field)
      for (const [key, size] of Object.entries(value as object)) whole(0)(size, `${field}.${key}`)
    },
  }),
  'training?': shape({
    data: shape({ digest: sha256, samples: whole(1) }),
    recipe: anyObject,
    seed: whole(0),
    steps: whole(1),
    seconds: notNegative,
    peakMemoryBytes: whole(0),
    loss: shape({ first: finite, last: finite }),
  }),
  'metric?': METRIC,
  licence: text(),
  created: date,
  files: table(CONTENT_FILES, shape({ sha256, bytes: whole(1) })),
  'signature?': shape({ algorithm: oneOf('ecdsa-p256-sha256'), keyId: sha256, publicKey: base64, value: base64 }),
})

/**
 * Checks a manifest: every field, and that the files are those which its kind, head and metric need.
 * @throws M4Error `FORMAT_INVALID` with `details.field`
 */
export function checkManifest(value: unknown): AdapterManifest {
  try {
    CHECK(value, '')
    const manifest = value as AdapterManifest
    requireFiles(manifest)
    const { head } = manifest
    // Boxes have several outputs a label: that they fit is for the reader of heads to say.
    if (head?.labels && !head.anchors && head.labels.length !== head.out)
      throw wrongField('head.labels', `${head.out} labels, one an output`, head.labels.length)
    return manifest
  } catch (error) {
    if (!(error instanceof M4Error)) throw error
    throw new M4Error('FORMAT_INVALID', `${PACKAGE_FILE}: ${error.message}`, {
      hint: 'Write the package again with this version of m4fm.',
      details: error.details,
      cause: error,
    })
  }
}

function requireFiles({ kind, files, head, metric }: AdapterManifest): void {
  const has = (name: string) => Object.hasOwn(files, name)
  const peft = kind !== 'head'
  for (const name of [PEFT_CONFIG_FILE, PEFT_WEIGHT_FILE])
    if (has(name) !== peft)
      throw wrongField(`files.${name}`, peft ? `a file, kind is ${kind}` : 'none, kind is head', files[name])
  if (has(HEAD_FILE) !== (head !== undefined))
    throw wrongField(has(HEAD_FILE) ? 'head' : `files.${HEAD_FILE}`, '"head" and its file together', undefined)
  if (kind === 'head' && !head) throw wrongField('head', 'a description, kind is head', undefined)
  if (metric && !has(EVAL_FILE)) throw wrongField(`files.${EVAL_FILE}`, 'the samples of "metric"', undefined)
}

/** @throws M4Error `FORMAT_INVALID` */
export function parsePackageManifest(source: string): AdapterManifest {
  return checkManifest(parseJson(PACKAGE_FILE, source))
}

/** What is signed and what names the package: canonical JSON without the signature. Files are in it by their digests. */
export function signedBytes({ signature: _, ...rest }: AdapterManifest): Uint8Array {
  return new TextEncoder().encode(canonicalJson(rest))
}

/** sha-256 that names the package; signing does not change it. */
export const packageDigest = (manifest: AdapterManifest): string => sha256Hex(signedBytes(manifest))

/** The file as it is written: people read it, so it is indented; digests are over the canonical form. */
export const formatManifest = (manifest: AdapterManifest): Uint8Array =>
  new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`)
