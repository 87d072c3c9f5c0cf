/** The contract of the runtime, second half: what comes back while a firmware works, and the report that ends every answer. */

import type { Role } from '../firmware/manifest.js'
import type { Picture } from '../media/image.js'
import type { Task } from './requests.js'
import type { Calibration, LabelScore } from './score.js'

/** `eos`: the model ended; `stop`: a stop text came; `length`: maxTokens were used up. */
export type FinishReason = 'eos' | 'stop' | 'length'

export interface TextOutput {
  /** Equal to the `token` events' texts, joined. */
  readonly text: string
  readonly finishReason: FinishReason
}

export interface ClassifyOutput {
  readonly label: string
  /** Best first. */
  readonly scores: readonly LabelScore[]
  /** What was subtracted; give it back with the next text to spare the work. */
  readonly calibration?: Calibration
}

/** One window of at most 30 s. */
export interface TranscriptPart {
  readonly text: string
  readonly startS: number
  readonly endS: number
  /** `loop`: the decoder repeated itself and was stopped; `silence`: nothing was said. */
  readonly finishReason: 'eos' | 'length' | 'loop' | 'silence'
  /** Mean natural log of the probability of each token, the end included. 0 where nothing was decoded. */
  readonly logProbability: number
  /** That nothing is said here, as the model thinks before its first word. 1 for digital silence. */
  readonly noSpeech: number
}

export interface Transcript {
  /** Empty when nothing was said. */
  readonly text: string
  readonly parts: readonly TranscriptPart[]
  readonly durationS: number
  /**
   * False where some part is doubtful: its tokens have a mean log-probability below -1, the threshold under which OpenAI's own decoder
   * discards a result, or it went round in a loop. True for silence: that nothing was said is an answer.
   */
  readonly confident: boolean
}

export interface MatchOutput {
  /** Per item: all labels, nearest or most probable first. */
  readonly matches: readonly {
    readonly label: string
    /** False: nothing is close enough, by a threshold measured on held-out data. Absent for encoders without one. */
    readonly confident?: boolean
    readonly scores: readonly {
      readonly label: string
      /** Cosine; absent where a head answered. */
      readonly similarity?: number
      /** Of the head; or softmax over the labels at the encoder's scale, absent for encoders without one (confidence.ts). */
      readonly probability?: number
    }[]
  }[]
}

export interface SpokenSentence {
  readonly text: string
  readonly startS: number
  readonly endS: number
}

export interface SpeakOutput {
  /** Mono, full scale [-1, 1]; equal to the `sound` events' samples, joined. [N] */
  readonly samples: Float32Array
  readonly sampleRateHz: number
  readonly durationS: number
  /** Those that had a sound. */
  readonly sentences: readonly SpokenSentence[]
  /** Letters and digits of the text that this voice has no sound for, and left out. */
  readonly unspoken: readonly string[]
}

export interface DetectOutput {
  /** Best first. */
  readonly boxes: readonly {
    readonly label: string
    /** 0 to 1. */
    readonly score: number
    /** x, y of the top left corner, width, height; within the picture. */
    readonly box: readonly [x: number, y: number, width: number, height: number]
  }[]
}

export interface KeypointsOutput {
  readonly points: readonly {
    readonly name: string
    readonly x: number
    readonly y: number
    /** 1 where the head puts all of it into one place, less the more it is spread. */
    readonly score: number
  }[]
}

/** Row by row, as large as the picture. */
export type SegmentOutput = { readonly width: number; readonly height: number } & (
  | { readonly labels: readonly string[] /** Place in `labels` of each dot. */; readonly mask: Uint16Array }
  | { /** Share of foreground of each dot, 0 to 1. */ readonly alpha: Float32Array }
)

export interface CountOutput {
  /** The sum of `density`; seldom whole. */
  readonly count: number
  /** Cells of `cellDots` a side from the top left corner on, row by row; the last ones may reach beyond the picture. */
  readonly density: {
    readonly rows: number
    readonly columns: number
    readonly cellDots: number
    readonly values: Float32Array
  }
}

export interface Outputs {
  readonly generate: TextOutput
  readonly complete: TextOutput
  readonly classify: ClassifyOutput
  readonly transcribe: Transcript
  readonly listen: TextOutput & { readonly transcript: Transcript }
  /** Unit vectors, [items][C]. */
  readonly embed: { readonly embeddings: readonly Float32Array[]; readonly width: number }
  /** Cosines, [items][others]. */
  readonly similarity: { readonly similarities: readonly (readonly number[])[] }
  readonly match: MatchOutput
  /** Per item: places in the gallery, nearest first, with their cosine. */
  readonly retrieve: {
    readonly results: readonly (readonly { readonly index: number; readonly similarity: number }[])[]
  }
  readonly describe: TextOutput
  readonly detect: DetectOutput
  readonly keypoints: KeypointsOutput
  readonly segment: SegmentOutput
  readonly count: CountOutput
  readonly speak: SpeakOutput
  /** RGB; `encodePng` of media makes a file of it. */
  readonly paint: Picture
  readonly upscale: Picture
}

export type Event<T extends Task = Task> =
  | { readonly type: 'transcript'; readonly text: string }
  | { readonly type: 'token'; readonly text: string; readonly id: number }
  /** A sentence, the pause before it included. */
  | { readonly type: 'sound'; readonly samples: Float32Array; readonly sampleRateHz: number; readonly text: string }
  /** One step of a picture. */
  | { readonly type: 'step'; readonly done: number; readonly of: number }
  | { readonly type: 'answer'; readonly output: Outputs[T]; readonly report: Report }

/** Always the last event. */
export type Answer<T extends Task = Task> = Extract<Event<T>, { type: 'answer' }>

/** Paths of DESIGN §2: 1 encoder → backbone, 2 backbone, 3 encoders, 4 a generator alone. */
export type PathNumber = 1 | 2 | 3 | 4

export interface ModuleReport {
  readonly role: Role
  readonly architecture: string
  /** Bytes of its weights on disk. */
  readonly weightBytes: number
  /** Whether this request woke it. */
  readonly loaded: 'now' | 'before'
  /** 0 when it was loaded before. */
  readonly loadMs: number
}

export interface TokenCounts {
  /** Of the backbone's prompt, begin-of-text included. */
  prompt: number
  /** Of the prompt, those whose keys and values were still there from an earlier request. */
  reused: number
  generated: number
  /** Tokens of labels whose probability was read. */
  scored: number
  /** Read by an encoder of text. */
  encoded: number
  /** Written by the speech decoder. */
  transcribed: number
  /** Symbols read by the speech generator. */
  spoken: number
}

export interface Report {
  readonly path: PathNumber
  readonly task: Task
  /** The modules that woke up, in order of use. */
  readonly modules: readonly ModuleReport[]
  /** Sum over `modules`. */
  readonly weightBytes: number
  readonly stages: readonly { readonly name: string; readonly ms: number }[]
  readonly totalMs: number
  /** Name of the adapter that the answer was made with. */
  readonly adapter?: string
  readonly tokens: Readonly<TokenCounts>
  /** Only, and always, on answers of random weights: they mean nothing. */
  readonly random?: true
  readonly image: { readonly name: string; readonly version: string; readonly digest: string }
}
