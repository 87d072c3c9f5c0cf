/** Which way a request takes through the model: task → path of DESIGN §2, the modules it may wake, and its handler. */

import type { Manifest } from '../firmware/manifest.js'
import { PROJECT } from './backbone.js'
import { describe } from './describe-tasks.js'
import { embed, match, retrieve, similarity } from './embedding-tasks.js'
import type { ServedRole } from './modules.js'
import { paintsVectors } from './paint-joint.js'
import { paint } from './paint-tasks.js'
import { givesPatches } from './patch-heads/index.js'
import { count, detect, keypoints, segment } from './patch-tasks.js'
import { PATCHES } from './patches.js'
import type { Event, Outputs, PathNumber, RequestOf, Task } from './requests.js'
import { UPSCALE } from './small-flow.js'
import { speak } from './speak-tasks.js'
import { listen, transcribe } from './speech-tasks.js'
import { classify, complete, generate } from './text-tasks.js'
import { upscale } from './upscale-tasks.js'
import type { Work } from './work.js'

/** Gives events while it works and returns the output. */
export type Handler<T extends Task> = (
  request: RequestOf<T>,
  work: Work,
) => AsyncGenerator<Exclude<Event<T>, { type: 'answer' }>, Outputs[T]>

export interface Path<T extends Task> {
  readonly path: PathNumber
  /** Where it depends on what is asked. */
  readonly pathOf?: (request: RequestOf<T>, manifest: Manifest) => PathNumber
  /** In order of use. A caller may tell beforehand whether an image can do the task. */
  readonly roles: readonly ServedRole[]
  /** What else an image needs for it. */
  readonly needs?: (manifest: Manifest) => boolean
  readonly run: Handler<T>
}

export const PATHS: { readonly [T in Task]: Path<T> } = Object.freeze({
  generate: { path: 2, roles: ['backbone'], run: generate },
  complete: { path: 2, roles: ['backbone'], run: complete },
  classify: { path: 2, roles: ['backbone'], run: classify },
  /** The first half of path 1: where only the words are wanted, the backbone need not wake. */
  transcribe: { path: 1, roles: ['AUD-I'], run: transcribe },
  listen: { path: 1, roles: ['AUD-I', 'backbone'], run: listen },
  embed: { path: 3, roles: ['TXT'], run: embed },
  similarity: { path: 3, roles: ['TXT'], run: similarity },
  match: { path: 3, roles: ['TXT'], run: match },
  retrieve: { path: 3, roles: ['TXT'], run: retrieve },
  /** Which encoder wakes depends on what there is to describe. */
  describe: {
    path: 1,
    roles: ['backbone'],
    needs: ({ modules }) => {
      const graphs = modules.backbone?.graphs ?? {}
      const senses = (['IMG', 'AUD-B', 'IMU'] as const).some((role) => modules[role])
      return PATCHES in graphs || (PROJECT in graphs && senses)
    },
    run: describe,
  },
  /** A head that an app brings, on every patch of a picture. */
  detect: { path: 3, roles: ['IMG'], needs: givesPatches, run: detect },
  keypoints: { path: 3, roles: ['IMG'], needs: givesPatches, run: keypoints },
  segment: { path: 3, roles: ['IMG'], needs: givesPatches, run: segment },
  count: { path: 3, roles: ['IMG'], needs: givesPatches, run: count },
  /** What there is to paint after wakes its encoder; so does a text, where the generator knows nothing but vectors. */
  paint: {
    path: 4,
    pathOf: ({ from, embedding }, manifest) =>
      from !== undefined || (paintsVectors(manifest) && embedding === undefined) ? 3 : 4,
    roles: ['IMG-gen'],
    run: paint,
  },
  upscale: {
    path: 4,
    roles: ['IMG-gen'],
    needs: ({ modules }) => UPSCALE in (modules['IMG-gen']?.graphs ?? {}),
    run: upscale,
  },
  speak: { path: 4, roles: ['TTS'], run: speak },
})
