/**
 * The contract of the runtime, first half: what may be asked of a firmware. What comes back stands in outputs.ts. Plain data
 * throughout, so that a service can carry it and a test can write it down.
 */

import type { AdapterTensors } from '../adapters/types.js'
import type { Picture } from '../media/image.js'
import type { HeadAdapter } from './class-head.js'
import type { SamplingOptions } from './sampling.js'
import type { Calibration } from './score.js'

export type * from './outputs.js'

interface Common {
  /** Gives up within one decode step or one prefill chunk; the events end with the error `ABORTED`. */
  readonly signal?: AbortSignal | undefined
}

interface Adapted {
  /** The answer is that of the base plus this adapter. Same rank-0 graph, so the base itself is never touched. */
  readonly adapter?: AdapterTensors | undefined
}

interface Projected {
  /**
   * A head of type `retrieval`: vectors of its module's items are projected into the space of the image's texts, so that both can be
   * compared also where the encoders share no space. Items given as `{embedding}` are taken as projected.
   */
  readonly adapter?: HeadAdapter | undefined
}

interface Decoded {
  /**
   * Most tokens to generate. Prompt + maxTokens beyond the context is the error `CONTEXT_OVERFLOW`.
   * Default: 256, or what the context still holds where that is less.
   */
  readonly maxTokens?: number | undefined
  /** Default: greedy. */
  readonly sampling?: SamplingOptions | undefined
  /** Texts that end the answer; they are not part of it. */
  readonly stop?: readonly string[] | undefined
}

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant'
  readonly content: string
}

export interface LineExample {
  readonly input: string
  readonly output: string
}

export interface LineNames {
  readonly input: string
  readonly output: string
}

/** Continues a prompt as it stands, or answers a conversation through the model's chat template. */
export type GenerateRequest = { readonly task: 'generate' } & Common &
  Adapted &
  Decoded &
  (
    | { readonly prompt: string; readonly messages?: undefined }
    | { readonly messages: readonly ChatMessage[]; readonly prompt?: undefined }
  )

/** Few-shot prompt of lines (`Q: …` / `A: …`); the answer is the rest of the last line. */
export interface CompleteRequest extends Common, Adapted, Decoded {
  readonly task: 'complete'
  readonly input: string
  readonly examples?: readonly LineExample[]
  readonly instruction?: string
  /** Default: `Q` and `A`. */
  readonly names?: LineNames
}

/** Chooses the label that the backbone finds most probable behind the text. */
export interface ClassifyRequest extends Common, Adapted {
  readonly task: 'classify'
  readonly text: string
  readonly labels: readonly string[]
  readonly examples?: readonly { readonly text: string; readonly label: string }[]
  readonly instruction?: string
  /** Default: `Text` and `Label`. */
  readonly names?: LineNames
  /** Prompt of one's own, `{}` standing for the text and the label following it directly: what an adapter was trained on. */
  readonly template?: string
  /**
   * Takes away how much the model favours each label whatever the text (49 % → 87 % on SST-2): 20 or so unlabelled texts, or
   * the calibration that an earlier answer gave.
   */
  readonly calibration?: readonly string[] | Calibration
}

/** Sound: a WAV file, or mono samples. */
export type Sound =
  | { readonly wav: Uint8Array; readonly samples?: undefined }
  | { readonly samples: Float32Array; readonly sampleRateHz: number; readonly wav?: undefined }

export interface TranscribeRequest extends Common {
  readonly task: 'transcribe'
  readonly sound: Sound
  readonly maxTokens?: number
}

/** Path 1: AUD-I hears, its transcript goes into a prompt, the backbone answers. */
export interface ListenRequest extends Common, Adapted, Decoded {
  readonly task: 'listen'
  readonly sound: Sound
  /** Prompt with `{}` where the transcript goes; the answer then ends at `stop` or end-of-text. Default: a line prompt of `examples`. */
  readonly template?: string
  readonly examples?: readonly LineExample[]
  readonly instruction?: string
  readonly names?: LineNames
}

interface Windowed {
  /** What to do with a text longer than the encoder's context. Default: the error `CONTEXT_OVERFLOW`. `mean`: the mean over windows. */
  readonly window?: 'mean' | undefined
}

/**
 * A recording of motion: a row a sample, acceleration x, y, z (m/s²), then rotation x, y, z (rad/s). Either evenly spaced, or with
 * the time of each sample. At least as long as the encoder's window, 5 s of ImageBind's.
 */
export interface Motion {
  readonly rows: readonly (readonly number[])[]
  readonly sampleRateHz?: number
  /** s, rising. */
  readonly timesS?: readonly number[]
}

/**
 * A video as its frames, evenly spaced, all of one size; containers such as MP4 are not read, so whoever has one takes the frames
 * out. Of 5 clips of 2 s the first and the last frame are looked at, and only these are decoded.
 */
export interface Video {
  readonly frames: readonly PictureSource[]
  /** Frames per second, 0.5 or more: a clip of 2 s must hold one. */
  readonly rateHz: number
}

/** What path 3 understands. All lie in one space where the image has ImageBind's encoders for them; a string is a text. */
export type Item =
  | string
  | { readonly text: string }
  | { readonly picture: PictureSource }
  | { readonly video: Video }
  | { readonly sound: Sound }
  | { readonly motion: Motion }
  /** What an earlier answer of `embed` gave; for a head, with `of: 'features'`. */
  | { readonly embedding: Float32Array }

/** Texts, or items of any kind: one of the two. */
export interface Itemised {
  readonly texts?: readonly string[] | undefined
  readonly items?: readonly Item[] | undefined
}

export interface EmbedRequest extends Common, Projected, Windowed, Itemised {
  readonly task: 'embed'
  /**
   * `features`: what a head reads, an encoder's middle layers where it gives them. They know more than the joint space does, and are
   * comparable with those of the same module alone. Default: the vector of the joint space.
   */
  readonly of?: 'features' | undefined
}

export interface SimilarityRequest extends Common, Projected, Windowed, Itemised {
  readonly task: 'similarity'
  /** Rows of the answer are the items, columns these. Default: the items again. */
  readonly others?: readonly Item[]
}

/** The nearest of a gallery to each item. */
export interface RetrieveRequest extends Common, Projected, Windowed, Itemised {
  readonly task: 'retrieve'
  /** Items of any kind; those embedded before are given as `{embedding}`. */
  readonly gallery: readonly Item[]
  /** How many of them. Default 10. */
  readonly top?: number
}

/**
 * Path 1: the backbone answers a question about what was seen, heard or felt, of which it gets one soft token (PandaGPT), or one a
 * patch of the one picture (Fuyu, without history).
 */
export interface DescribeRequest extends Common, Adapted, Decoded {
  readonly task: 'describe'
  /** Pictures, videos, sounds and motion, or what `embed` gave for one; of several the soft tokens are added up. */
  readonly items: readonly Item[]
  /** Default: `What is this?` */
  readonly question?: string | undefined
  /** Earlier turns about the same items. */
  readonly history?: readonly { readonly question: string; readonly answer: string }[]
}

/** Zero-shot choice among labels by closeness in the joint space, or a head's choice among its own; the backbone sleeps. */
export interface MatchRequest extends Common, Windowed, Itemised {
  readonly task: 'match'
  /** Left out: the encoder's own head answers, where the image brings one. */
  readonly labels?: readonly string[] | undefined
  /**
   * A head of type `classifier` (head-adapter.ts): its own labels with their probabilities; neither `labels` nor any text. It reads
   * items of the module that it was trained on, and what `embed` gave for such.
   */
  readonly adapter?: HeadAdapter | undefined
  /** What each label means, in a sentence; better than its bare name (72.3 against 63.7 % on AG News). */
  readonly descriptions?: Readonly<Record<string, string>>
  /** For labels without a description. Default: `This text is about {}.`, or the bare label where not all items are texts. */
  readonly template?: string
}

/** What a head of patches finds in one picture; lengths are dots of the picture, from its top left corner. */
interface Looked extends Common {
  readonly picture: PictureSource
}

/** Objects in boxes, best first. */
export interface DetectRequest extends Looked {
  readonly task: 'detect'
  /** A head of type `boxes` (head-adapter.ts). */
  readonly adapter: HeadAdapter
  /** Boxes below are left out, 0 to 1. Default 0.3. */
  readonly minScore?: number | undefined
  /** Of two boxes of a label that overlap more, intersection over union, the better one stays. Default 0.5. */
  readonly overlap?: number | undefined
  /** Most boxes. Default 100. */
  readonly top?: number | undefined
}

/** Named points, each once: of the one thing that the picture, or the region, shows. */
export interface KeypointsRequest extends Looked {
  readonly task: 'keypoints'
  /** A head of type `key-points`. */
  readonly adapter: HeadAdapter
  /** Where to look: x, y of the top left corner, width, height. Default: the whole picture. */
  readonly region?: readonly [x: number, y: number, width: number, height: number] | undefined
}

/** A class, or how much of it is foreground, for every dot. */
export interface SegmentRequest extends Looked {
  readonly task: 'segment'
  /** A head of type `segmentation` or `matting`. */
  readonly adapter: HeadAdapter
}

export interface CountRequest extends Looked {
  readonly task: 'count'
  /** A head of type `counting`. */
  readonly adapter: HeadAdapter
}

/** Path 4: the speech generator alone. The same text, voice and seed give the same sound. */
export interface SpeakRequest extends Common {
  readonly task: 'speak'
  /**
   * Spoken sentence by sentence, each an event as soon as it is there; sentences of more than 400 characters in pieces, cut behind a
   * mark or at a space. Nothing is left out but what has no sound (`unspoken`); a text of any length may be given, and is held in
   * memory as samples until its last sentence (24 kHz: 6 MB a minute).
   */
  readonly text: string
  /** Which of several voices: a number from 0, or a name where voices have names. Default: the first. */
  readonly voice?: string | number | undefined
  /** 0.25 to 4; 2 is twice as fast. Default 1. */
  readonly speed?: number | undefined
  /** Default 0. */
  readonly seed?: number | undefined
  /** Factor on the chance in melody and rhythm that the voice was published with, 0 to 2. Default 1. */
  readonly variation?: number | undefined
}

/** A picture: a JPEG, PNG, WebP, GIF, TIFF or AVIF file, or its dots. */
export type PictureSource =
  | { readonly file: Uint8Array; readonly data?: undefined }
  | (Picture & { readonly file?: undefined })

/**
 * Path 4: the picture generator alone; path 3 with `from`, or where the generator knows nothing but vectors and TXT reads its text:
 * an encoder wakes before it. The same request gives the same picture.
 */
export interface PaintRequest extends Common {
  readonly task: 'paint'
  /** May be left out where there is `from` or `embedding`. */
  readonly prompt?: string | undefined
  /** What the picture should not look like. Default: nothing is said. */
  readonly negative?: string | undefined
  /** A picture to start from. Its sides are cut, half at each end, to what the model can paint: multiples of 8 dots. */
  readonly picture?: PictureSource | undefined
  /** How much of `picture` may change: above 0, at most 1, where nothing of it is left. Default 0.8. */
  readonly strength?: number | undefined
  /** Looks of the model; more is finer and slower. Default 50; 25 of a generator that paints after vectors. */
  readonly steps?: number | undefined
  /** How closely the text is followed, 1 to 100. Default 7.5; 3 of a generator that paints after vectors. */
  readonly guidance?: number | undefined
  /** Default 0. */
  readonly seed?: number | undefined
  /** `ddim` or `pndm`. Default: the one that the model was published with. */
  readonly sampler?: string | undefined
  /** Dots, multiples of 8, or just what the model was trained on. Default: that. */
  readonly width?: number | undefined
  readonly height?: number | undefined
  /**
   * What to paint after: a picture, a video, a sound, motion or a text, as its own encoder understands it. The error
   * `NOT_AVAILABLE` where the generator of the image paints after texts alone, or no encoder for it shares the generator's space.
   */
  readonly from?: Item | undefined
  /**
   * In place of `from`: a vector of the joint space; for unCLIP at the length that the generator was trained on, not a unit vector.
   */
  readonly embedding?: Float32Array | undefined
  /** unCLIP: how freely, 0 to 999. Default 0. */
  readonly noiseLevel?: number | undefined
}

/** Path 4: the same picture with twice as many dots along each side, by the part `upscale` of the picture generator. */
export interface UpscaleRequest extends Common {
  readonly task: 'upscale'
  /** At most 1,048,576 dots. */
  readonly picture: PictureSource
}

export type Request =
  | GenerateRequest
  | CompleteRequest
  | ClassifyRequest
  | TranscribeRequest
  | ListenRequest
  | EmbedRequest
  | SimilarityRequest
  | MatchRequest
  | RetrieveRequest
  | DescribeRequest
  | DetectRequest
  | KeypointsRequest
  | SegmentRequest
  | CountRequest
  | SpeakRequest
  | PaintRequest
  | UpscaleRequest

export type Task = Request['task']
export type RequestOf<T extends Task> = Extract<Request, { task: T }>
