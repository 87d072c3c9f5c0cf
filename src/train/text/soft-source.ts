/** What is seen and heard in questions, as vectors of the joint space: each file is read and embedded once. */

import { readFile } from 'node:fs/promises'
import { M4Error, throwIfAborted, wrapSystemError } from '../../core/errors.js'
import type { LongOperation } from '../../core/progress.js'
import type { Engine } from '../../engine/types.js'
import type { Image } from '../../firmware/image.js'
import { PROJECT } from '../../runtime/backbone.js'
import { type Firmware, type Item, openFirmware } from '../../runtime/index.js'
import { softPromptOf } from '../../runtime/soft-prompt.js'
import { readGraph } from '../backbone/read-graph.js'
import { softTokensOf } from '../backbone/soft-tokens.js'
import type { AskedSample } from '../data/index.js'
import type { SoftSource } from './task.js'

interface SoftSourceRequest extends LongOperation {
  readonly image: Image
  readonly engine: Engine
}

/**
 * @throws M4Error `NOT_AVAILABLE` where the image has no encoder or no projection, `PICTURE_INVALID` and `AUDIO_INVALID` naming the
 * file, `IO`, `ABORTED`
 */
export async function openSoftSource(
  { image, engine, signal, onProgress }: SoftSourceRequest,
  samples: readonly AskedSample[],
): Promise<SoftSource> {
  const backbone = image.manifest.modules.backbone
  if (!backbone || !Object.hasOwn(backbone.graphs, PROJECT))
    throw new M4Error('NOT_AVAILABLE', `The image ${image.manifest.name} has no projection into its backbone.`, {
      hint: 'Questions about pictures and sounds need one: use an image whose backbone has the graph `project`.',
      details: { needs: PROJECT },
    })
  const project = await readGraph(image.graphPath('backbone', PROJECT))
  const items = new Map(samples.map((sample) => [sample.path, sample.kind]))
  const vectors = new Map<string, Float32Array>()
  using firmware = await openFirmware(image, { engine })
  for (const [path, kind] of items) {
    throwIfAborted(signal)
    vectors.set(path, await vectorOf(firmware, path, kind, signal))
    onProgress?.({ task: 'features', done: vectors.size, total: items.size, unit: 'items' })
  }
  return { form: softPromptOf(backbone), tokens: softTokensOf(project), vectors }
}

/** [E] */
async function vectorOf(firmware: Firmware, path: string, kind: AskedSample['kind'], signal?: AbortSignal) {
  const items = [await itemOf(path, kind)]
  try {
    return (await firmware.ask({ task: 'embed', items, signal })).output.embeddings[0]!
  } catch (error) {
    if (!(error instanceof M4Error)) throw error
    const { code, message, hint } = error
    throw new M4Error(code, `${path}: ${message}`, { ...(hint ? { hint } : {}), cause: error })
  }
}

async function itemOf(path: string, kind: AskedSample['kind']): Promise<Item> {
  const bytes = await readFile(path).catch((error) => {
    throw wrapSystemError(error, `Reading ${path}`)
  })
  return kind === 'image-answer' ? { picture: { file: bytes } } : { sound: { wav: bytes } }
}
