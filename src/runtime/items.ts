/**
 * Anything that path 3 understands → unit vectors of one space: texts, pictures, sounds, motion, and vectors of earlier answers,
 * in any mix. Modules wake one after the other and only where there is something for them.
 */

import { M4Error } from '../core/errors.js'
import { checkSound, clipFrames, type MotionRecording, type Picture, resample, soundChannels } from '../media/index.js'
import type { ServedRole } from './modules.js'
import { pictureOf } from './paint-tasks.js'
import type { Item, Motion, Sound, Video } from './requests.js'
import { spaceOf } from './space.js'
import type { EmbedOptions } from './text-embedding.js'
import { type ClipHeads, lengthOf, meanOfClips, toUnitLength } from './tower.js'
import type { Work } from './work.js'

/** An item, read and checked: what an encoder takes. */
export type ReadItem =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'picture'; readonly picture: Picture }
  /** The frames of each clip that are looked at. */
  | { readonly kind: 'video'; readonly clips: readonly (readonly Picture[])[] }
  | { readonly kind: 'sound'; readonly channels: readonly Float32Array[] }
  | { readonly kind: 'motion'; readonly recording: MotionRecording }
  | { readonly kind: 'vector'; readonly vector: Float32Array }

export type SensedItem = Extract<ReadItem, { kind: 'picture' | 'video' | 'sound' | 'motion' }>

/** Who sees, hears and feels. */
export const ENCODER_ROLES = { picture: 'IMG', video: 'IMG', sound: 'AUD-B', motion: 'IMU' } as const satisfies Record<
  SensedItem['kind'],
  ServedRole
>

export const isSensed = (item: ReadItem): item is SensedItem => Object.hasOwn(ENCODER_ROLES, item.kind)

/**
 * Decodes files and checks everything, before any module wakes.
 * @throws M4Error `INVALID_REQUEST`, `EMPTY_INPUT`, `PICTURE_INVALID`, `AUDIO_INVALID`, `MOTION_INVALID`
 */
export async function readItems(items: readonly Item[], work: Work, field = 'items'): Promise<ReadItem[]> {
  if (!Array.isArray(items)) throw new M4Error('INVALID_REQUEST', `${field}: expected a list.`)
  if (items.length === 0) throw new M4Error('EMPTY_INPUT', `${field}: there is nothing to embed.`)
  return work.stage('decode', async () => {
    const read: ReadItem[] = []
    for (const [i, item] of items.entries()) read.push(await readItem(item, `${field}[${i}]`))
    return read
  })
}

async function readItem(item: Item, name: string): Promise<ReadItem> {
  if (typeof item === 'string') return { kind: 'text', text: item }
  if ('text' in item && typeof item.text === 'string') return { kind: 'text', text: item.text }
  if ('picture' in item && item.picture) return { kind: 'picture', picture: await pictureOf(item.picture) }
  if ('video' in item && item.video) return { kind: 'video', clips: await clipsOf(item.video, `${name}.video`) }
  if ('sound' in item && item.sound) return { kind: 'sound', channels: channelsOf(item.sound) }
  if ('motion' in item && item.motion) return { kind: 'motion', recording: recordingOf(item.motion) }
  if ('embedding' in item && item.embedding instanceof Float32Array) {
    if (!(lengthOf(item.embedding) > 0 && item.embedding.every(Number.isFinite)))
      throw new M4Error('INVALID_REQUEST', `${name}: an embedding is finite numbers that are not all 0.`)
    return { kind: 'vector', vector: toUnitLength(item.embedding.slice()) }
  }
  throw new M4Error(
    'INVALID_REQUEST',
    `${name}: expected a text, {text}, {picture}, {video}, {sound}, {motion} or {embedding: Float32Array}, got ${describe(item)}.`,
  )
}

const describe = (item: unknown) => (item && typeof item === 'object' ? `{${Object.keys(item)}}` : String(item))

/**
 * Reads only the frames that are looked at, each once.
 * @throws M4Error `EMPTY_INPUT`, `INVALID_REQUEST`, `PICTURE_INVALID`
 */
async function clipsOf({ frames, rateHz }: Video, name: string): Promise<readonly (readonly Picture[])[]> {
  if (!Array.isArray(frames) || frames.some((frame) => typeof frame !== 'object' || frame === null))
    throw new M4Error('INVALID_REQUEST', `${name}: expected {frames, rateHz}, each frame a picture.`)
  if (frames.length === 0) throw new M4Error('EMPTY_INPUT', `${name}: there are no frames.`, { hint: 'Give some.' })
  const clips = clipFrames(frames.length, rateHz)
  const seen = new Map<number, Picture>()
  for (const i of clips.flat()) if (!seen.has(i)) seen.set(i, await pictureOf(frames[i]!))
  const [first, ...rest] = [...seen]
  for (const [i, { width, height }] of rest)
    if (width !== first![1].width || height !== first![1].height)
      throw new M4Error(
        'INVALID_REQUEST',
        `${name}: frame ${i} has ${width} × ${height} dots, frame ${first![0]} has ${first![1].width} × ${first![1].height}.`,
        { hint: 'All frames of a video are of one size.' },
      )
  return clips.map((clip) => clip.map((i) => seen.get(i)!))
}

/** All channels at 16 kHz. @throws M4Error `EMPTY_INPUT`, `AUDIO_INVALID`, `INVALID_REQUEST` */
function channelsOf(sound: Sound): readonly Float32Array[] {
  if (sound.wav) return soundChannels(sound.wav).channels
  const { samples, sampleRateHz } = sound
  if (!(samples instanceof Float32Array) || !(sampleRateHz > 0 && Number.isFinite(sampleRateHz)))
    throw new M4Error('INVALID_REQUEST', 'sound: expected {wav} or {samples: Float32Array, sampleRateHz}.')
  checkSound({ samples: [samples], sampleRateHz })
  return [resample(samples, sampleRateHz, 16_000)]
}

/** Rows of a sample each → one array a channel. @throws M4Error `EMPTY_INPUT`, `MOTION_INVALID`, `INVALID_REQUEST` */
function recordingOf({ rows, sampleRateHz, timesS }: Motion): MotionRecording {
  if (!Array.isArray(rows))
    throw new M4Error('INVALID_REQUEST', 'motion: expected {rows, sampleRateHz} or {rows, timesS}.')
  if (rows.length === 0)
    throw new M4Error('EMPTY_INPUT', 'The motion recording has no samples.', { hint: 'Record again.' })
  if ((sampleRateHz === undefined) === (timesS === undefined))
    throw new M4Error('INVALID_REQUEST', 'motion: give either sampleRateHz or the time of each sample, timesS.')
  const width = rows[0]!.length
  const odd = rows.findIndex((row) => row.length !== width)
  if (odd >= 0)
    throw new M4Error(
      'MOTION_INVALID',
      `Motion: sample ${odd} has ${rows[odd]!.length} numbers, sample 0 has ${width}.`,
    )
  const channels = Array.from({ length: width }, (_, channel) => Float32Array.from(rows, (row) => row[channel]!))
  return { channels, ...(timesS === undefined ? { sampleRateHz: sampleRateHz! } : { timesS }) }
}

/**
 * Unit vectors, in the order of the items.
 * @throws M4Error `NOT_AVAILABLE` where the image has no module for an item, or where its texts lie in a space of their own;
 * `SHAPE_MISMATCH` for vectors of another width
 */
export async function embedRead(
  items: readonly ReadItem[],
  options: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<readonly Float32Array[]> {
  return (await embedScaled(items, options, work)).vectors
}

/**
 * What heads read, at length 1: an encoder's middle layers where it gives them, else its vector of the joint space. Vectors that are
 * given stay as they are. Not comparable between modules.
 * @throws M4Error as `embedRead`
 */
export async function featuresRead(
  items: readonly ReadItem[],
  options: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<readonly Float32Array[]> {
  const sensed = items.filter(isSensed)
  for (const item of sensed) assertEncoder(item, work)
  const seen = new Map((await sense(sensed, work)).map((clips, k) => [sensed[k] as ReadItem, featuresOf(clips)]))
  const rest = items.filter((item) => !seen.has(item))
  const others = rest.length ? await embedRead(rest, options, work) : []
  const given = new Map(rest.map((item, k) => [item, others[k]!]))
  return items.map((item) => given.get(item) ?? seen.get(item)!)
}

/** At length 1. [F] */
export const featuresOf = (clips: ClipHeads): Float32Array =>
  toUnitLength(clips.features?.slice() ?? meanOfClips(clips))

export interface Scaled {
  /** Length 1. */
  readonly vectors: readonly Float32Array[]
  /** What each had before: 1, or less for a mean over clips. */
  readonly lengths: readonly number[]
  /** What the encoder of text multiplies its vectors with before a softmax; undefined where it has none, or read nothing. */
  readonly scale: number | undefined
}

/** As `embedRead`, with what a softmax over products needs. */
export async function embedScaled(
  items: readonly ReadItem[],
  options: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<Scaled> {
  assertOneSpace(items, work)
  const out: Float32Array[] = new Array(items.length)
  const sensed = items.flatMap((item, i) => (isSensed(item) ? [{ i, item }] : []))
  const heads = await sense(
    sensed.map(({ item }) => item),
    work,
  )
  for (const [k, { i }] of sensed.entries()) out[i] = meanOfClips(heads[k]!)
  let scale: number | undefined
  const texts = items.flatMap((item, i) => (item.kind === 'text' ? [{ i, text: item.text }] : []))
  if (texts.length) {
    const read = await embedTexts(
      texts.map(({ text }) => text),
      options,
      work,
    )
    scale = read.scale
    for (const [k, { i }] of texts.entries()) out[i] = read.embeddings[k]!
  }
  for (const [i, item] of items.entries()) if (item.kind === 'vector') out[i] = item.vector
  assertOneWidth(out)
  const lengths = out.map(lengthOf)
  return { vectors: out.map(toUnitLength), lengths, scale }
}

/** Clips of pictures, videos, sounds and recordings; each module is given back before the next is asked for. */
export async function sense(items: readonly SensedItem[], work: Work): Promise<ClipHeads[]> {
  const heads: ClipHeads[] = new Array(items.length)
  for (const role of new Set(Object.values(ENCODER_ROLES))) {
    const chosen = items.flatMap((item, i) => (ENCODER_ROLES[item.kind] === role ? [i] : []))
    if (!chosen.length) continue
    for (const i of chosen) heads[i] = await senseOne(items[i]!, work)
    work.done(role)
  }
  return heads
}

/** Keeps the module; `work.done` gives it back. */
export async function senseOne(item: SensedItem, work: Work): Promise<ClipHeads> {
  const { signal } = work
  if (item.kind === 'picture') {
    const encoder = await work.use('IMG')
    return work.stage('encode', () => encoder.encode(item.picture, signal))
  }
  if (item.kind === 'video') {
    const encoder = await work.use('IMG')
    return work.stage('encode', () => encoder.encodeVideo(item.clips, signal))
  }
  if (item.kind === 'sound') {
    const encoder = await work.use('AUD-B')
    return work.stage('encode', () => encoder.encode(item.channels, signal))
  }
  const encoder = await work.use('IMU')
  return work.stage('encode', () => encoder.encode(item.recording, signal))
}

async function embedTexts(texts: readonly string[], { window }: Pick<EmbedOptions, 'window'>, work: Work) {
  const encoder = await work.use('TXT')
  const embedded = await work.stage('embed', () => encoder.embed(texts, { window, signal: work.signal }))
  work.tokens.encoded += embedded.tokens
  work.done('TXT')
  return embedded
}

/** @throws M4Error `NOT_AVAILABLE` where the image has no encoder for the item */
export function assertEncoder({ kind }: SensedItem, { image }: Work): void {
  const { modules, name } = image.manifest
  const role = ENCODER_ROLES[kind]
  const missing = !modules[role] || (kind === 'video' && !Object.hasOwn(modules[role].graphs, 'video'))
  if (missing)
    throw new M4Error('NOT_AVAILABLE', `The image ${name} has no module ${role} for a ${kind}.`, {
      hint: `It has ${Object.keys(modules).join(', ')}. Use an image that is built with it, e.g. of the recipe standard.`,
      details: { role },
    })
}

/** Items meet only where their encoders share a space. */
function assertOneSpace(items: readonly ReadItem[], work: Work): void {
  const { modules, name } = work.image.manifest
  for (const item of items) if (isSensed(item)) assertEncoder(item, work)
  const kinds = [...new Set(items.flatMap(({ kind }) => (kind === 'vector' ? [] : [kind])))]
  const [first, ...rest] = kinds.map((kind) => {
    const role = kind === 'text' ? 'TXT' : ENCODER_ROLES[kind]
    return { kind, role, space: modules[role] && spaceOf(modules[role]) }
  })
  const other = rest.find(({ role, space }) => role !== first!.role && (space === undefined || space !== first!.space))
  if (!other) return
  throw new M4Error(
    'NOT_AVAILABLE',
    `The image ${name} has no space for both a ${first!.kind} (${first!.space ?? 'none'}) and a ${other.kind} (${other.space ?? 'none'}): their vectors cannot be compared.`,
    {
      hint: 'Use an image whose encoders share a space, e.g. of the recipe standard.',
      details: { spaces: { [first!.role]: first!.space, [other.role]: other.space } },
    },
  )
}

function assertOneWidth(vectors: readonly Float32Array[]): void {
  const other = vectors.findIndex(({ length }) => length !== vectors[0]!.length)
  if (other < 0) return
  throw new M4Error(
    'SHAPE_MISMATCH',
    `Embedding ${other} has ${vectors[other]!.length} numbers, embedding 0 has ${vectors[0]!.length}.`,
    { hint: 'Compare only what one image embedded.' },
  )
}
