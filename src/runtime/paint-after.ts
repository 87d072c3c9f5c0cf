/**
 * What a picture is painted after: a picture, a video, a sound, motion or a text → the vector that unCLIP was trained on. Its space
 * is that of ImageBind, whose encoders of pictures and texts are the ones that unCLIP knows.
 *
 * Pictures and texts give what their head gives, of any length; the others the output of their post-processor: each clip at length
 * 1, times the scale of its tower (sound 20, motion 5), then the mean.
 *
 * @reference Zeqiang-Lai/Anything2Image
 */

import { M4Error } from '../core/errors.js'
import type { ModuleEntry } from '../firmware/manifest.js'
import { assertEncoder, ENCODER_ROLES, isSensed, type ReadItem, readItems, sense } from './items.js'
import { optionalNumber } from './module-config.js'
import type { Item } from './requests.js'
import { meanOfRows } from './tower.js'
import type { Work } from './work.js'

/**
 * The item's vector; its encoder wakes, and is given back. [C]
 * @throws M4Error `NOT_AVAILABLE`, before anything wakes, where the image lacks the encoder or its generator is none of unCLIP;
 * `SHAPE_MISMATCH` where the two are of different widths; else as `embed`
 */
export async function embeddingToPaint(item: Item, work: Work): Promise<Float32Array> {
  const [read] = await readItems([item], work, 'from')
  assertFits(read!, work)
  if (read!.kind === 'text') {
    const encoder = await work.use('TXT')
    const { head, tokens } = await work.stage('embed', () => encoder.head(read!.text, work.signal))
    work.tokens.encoded += tokens
    work.done('TXT')
    return head
  }
  if (!isSensed(read!)) throw vectorGiven()
  const [seen] = await sense([read!], work)
  if (ENCODER_ROLES[read!.kind] !== 'IMG') return seen!.embedding
  const { heads, clips } = seen!
  const width = heads.length / clips
  return meanOfRows(Array.from({ length: clips }, (_, clip) => heads.subarray(clip * width, (clip + 1) * width)))
}

function assertFits(item: ReadItem, work: Work): void {
  const { modules, name } = work.image.manifest
  if (item.kind === 'vector') throw vectorGiven()
  if (isSensed(item)) assertEncoder(item, work)
  else if (modules.TXT?.architecture !== 'imagebind-text')
    throw new M4Error('NOT_AVAILABLE', `The image ${name} has no imagebind-text for a text to paint after.`, {
      hint: 'Give the text as prompt, or use an image of the recipe standard.',
      details: { role: 'TXT' },
    })
  const generator = modules['IMG-gen']
  if (!generator)
    throw new M4Error('NOT_AVAILABLE', `The image ${name} has no module IMG-gen.`, {
      hint: `It has ${Object.keys(modules).join(', ')}. Use an image that is built with it.`,
      details: { role: 'IMG-gen' },
    })
  const takes = optionalNumber(generator, 'embeddingWidth') ?? 0
  if (takes === 0)
    throw new M4Error('NOT_AVAILABLE', `The picture generator of the image ${name} paints after texts alone.`, {
      hint: 'Build an image whose IMG-gen is stabilityai/stable-diffusion-2-1-unclip, or describe the picture in words.',
      details: { role: 'IMG-gen' },
    })
  const encoder = modules[isSensed(item) ? ENCODER_ROLES[item.kind] : 'TXT'] as ModuleEntry
  const gives = optionalNumber(encoder, 'joint')
  if (gives !== takes)
    throw new M4Error('SHAPE_MISMATCH', `The picture generator takes ${takes} numbers, the encoder gives ${gives}.`, {
      hint: 'Both must be of one joint space: 1024 numbers of ImageBind as published.',
    })
}

const vectorGiven = () =>
  new M4Error('INVALID_REQUEST', 'from: expected a picture, a video, a sound, motion or a text, got an embedding.', {
    hint: 'Vectors go into the field embedding; those of the task embed have lost their length.',
  })
