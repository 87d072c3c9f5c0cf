/** The modules of an image: asleep until a request needs them, one request at a time each, put back to sleep on demand. */

import { M4Error, unknownName } from '../core/errors.js'
import type { Engine } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import { type Backbone, openBackbone } from './backbone.js'
import { openPictureGenerator, type PictureGenerator } from './diffusion/index.js'
import { openForeignVoice } from './foreign-voice.js'
import type { ModuleReport } from './requests.js'
import { type FlowPainter, openFlowPainter } from './small-flow.js'
import { openSpeech, type SpeechRecogniser } from './speech.js'
import { openJointTextEmbedder, openTextEmbedder, type TextEmbedder } from './text-embedding.js'
import {
  type MotionEncoder,
  openMotionEncoder,
  openPictureEncoder,
  openSoundEncoder,
  type PictureEncoder,
  type SoundEncoder,
} from './tower.js'
import { openTtsTransformerVoice } from './tts-transformer-voice.js'
import { createTurnstile, type Turnstile } from './turnstile.js'
import { openVitsVoice } from './vits-voice.js'
import type { Voice } from './voice.js'
import { openWhisperSounds, type WhisperSoundEncoder } from './whisper-sounds.js'

/** Role → what serves it. */
export interface ModuleTypes {
  readonly backbone: Backbone
  readonly 'AUD-I': SpeechRecogniser
  readonly TXT: TextEmbedder
  readonly IMG: PictureEncoder
  readonly 'AUD-B': SoundEncoder | WhisperSoundEncoder
  readonly IMU: MotionEncoder
  readonly TTS: Voice
  readonly 'IMG-gen': PictureGenerator | FlowPainter
}

export type ServedRole = keyof ModuleTypes

type Opener<M> = (image: Image, role: Role, entry: ModuleEntry, engine: Engine) => Promise<M>

/** Role → architectures that can serve it. */
const OPENERS: { readonly [R in ServedRole]: Readonly<Record<string, Opener<ModuleTypes[R]>>> } = Object.freeze({
  backbone: { llama: openBackbone, persimmon: openBackbone },
  'AUD-I': { whisper: openSpeech },
  TXT: { bert: openTextEmbedder, 'imagebind-text': openJointTextEmbedder },
  IMG: { 'imagebind-vision': openPictureEncoder, resnet: openPictureEncoder },
  'AUD-B': { 'imagebind-audio': openSoundEncoder, 'whisper-features': openWhisperSounds },
  IMU: { 'imagebind-imu': openMotionEncoder },
  'IMG-gen': { 'stable-diffusion': openPictureGenerator, 'small-flow': openFlowPainter },
  TTS: { vits: openVitsVoice, 'tts-transformer': openTtsTransformerVoice, foreign: openForeignVoice },
})

/** A module while one request has it. */
export interface Lease<R extends ServedRole> {
  readonly module: ModuleTypes[R]
  readonly report: ModuleReport
  readonly waitMs: number
  /** Ends the request's turn. More than once is harmless. */
  leave(): void
}

export interface Modules {
  /** Waits for the module's turn and loads it where it sleeps. @throws M4Error `NOT_AVAILABLE`, `ABORTED`, `ENGINE`, `DISPOSED` */
  use<R extends ServedRole>(role: R, signal?: AbortSignal): Promise<Lease<R>>
  /** Puts a module to sleep once the requests before this have left it; false when it slept already. */
  release(role: ServedRole): Promise<boolean>
  loaded(): ServedRole[]
  /** Puts all to sleep, for good: at once, or when the request that has a module leaves it. */
  close(): void
}

interface Slot {
  readonly turnstile: Turnstile
  module: ModuleTypes[ServedRole] | undefined
}

export function createModules(image: Image, engine: Engine): Modules {
  const slots = new Map<ServedRole, Slot>()
  let closed = false

  const slotOf = (role: ServedRole): Slot => {
    if (!Object.hasOwn(OPENERS, role)) throw unknownName('module role', role, Object.keys(OPENERS))
    let slot = slots.get(role)
    if (!slot) {
      slot = { turnstile: createTurnstile(), module: undefined }
      slots.set(role, slot)
    }
    return slot
  }
  const sleep = (slot: Slot) => {
    slot.module?.dispose()
    slot.module = undefined
  }
  return {
    async use<R extends ServedRole>(role: R, signal?: AbortSignal): Promise<Lease<R>> {
      const slot = slotOf(role)
      const { entry, open } = openerOf(image, role)
      const asked = performance.now()
      const leaveTurnstile = await slot.turnstile.enter(signal)
      const leave = () => {
        if (closed) sleep(slot)
        leaveTurnstile()
      }
      const waitMs = performance.now() - asked
      try {
        if (closed) throw new M4Error('DISPOSED', 'The firmware was closed while this request waited.')
        const before = slot.module as ModuleTypes[R] | undefined
        const started = performance.now()
        const module = before ?? (await open(image, role, entry, engine))
        slot.module = module
        const report: ModuleReport = {
          role,
          architecture: entry.architecture,
          weightBytes: entry.weightBytes,
          loaded: before ? 'before' : 'now',
          loadMs: before ? 0 : performance.now() - started,
        }
        return { module, report, waitMs, leave }
      } catch (error) {
        leave()
        throw error
      }
    },
    async release(role) {
      const slot = slotOf(role)
      const leave = await slot.turnstile.enter()
      const wasLoaded = slot.module !== undefined
      sleep(slot)
      leave()
      return wasLoaded
    },
    loaded: () => [...slots].filter(([, { module }]) => module !== undefined).map(([role]) => role),
    close() {
      closed = true
      for (const slot of slots.values()) if (!slot.turnstile.busy) sleep(slot)
    },
  }
}

function openerOf<R extends ServedRole>(image: Image, role: R): { entry: ModuleEntry; open: Opener<ModuleTypes[R]> } {
  const { manifest } = image
  const entry = manifest.modules[role]
  if (!entry)
    throw new M4Error('NOT_AVAILABLE', `The image ${manifest.name} ${manifest.version} has no module ${role}.`, {
      hint: `It has ${Object.keys(manifest.modules).join(', ') || 'none'}. Use an image that is built with it.`,
      details: { role },
    })
  const table = OPENERS[role]
  const open = Object.hasOwn(table, entry.architecture) ? table[entry.architecture] : undefined
  if (!open)
    throw new M4Error(
      'FORMAT_UNSUPPORTED',
      `Module ${role} has architecture ${entry.architecture}, this version of m4fm runs ${Object.keys(table).join(', ')}.`,
      { hint: 'Use the version of m4fm that built the image.', details: { role, architecture: entry.architecture } },
    )
  return { entry, open }
}
