/** The picture generator of an image. */

import { M4Error } from '../../core/errors.js'
import type { Engine } from '../../engine/types.js'
import type { Image } from '../../firmware/image.js'
import type { ModuleEntry, Role } from '../../firmware/manifest.js'
import { configNumber, configText, readTokenizer } from '../module-config.js'
import type { NoiseScheduleFacts } from './noise-schedule.js'
import { type PictureFacts, PictureGenerator } from './picture-generator.js'

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openPictureGenerator(
  image: Image,
  role: Role,
  entry: ModuleEntry,
  engine: Engine,
): Promise<PictureGenerator> {
  const scheduler = entry.config.scheduler as (NoiseScheduleFacts & { readonly sampler: string }) | undefined
  if (typeof scheduler?.trainSteps !== 'number' || typeof scheduler.sampler !== 'string')
    throw new M4Error('IMAGE_INVALID', `Module ${role}: config.scheduler is missing.`, {
      hint: 'Build the image again with this version of m4fm.',
    })
  const number = (field: string) => configNumber(entry, field)
  const facts: PictureFacts = {
    contextLength: number('contextLength'),
    startId: number('startId'),
    endId: number('endId'),
    padId: configText(entry, 'padding') === 'zero' ? 0 : number('endId'),
    latentChannels: number('latentChannels'),
    latentSize: number('latentSize'),
    dotsPerLatent: number('dotsPerLatent'),
    latentScale: number('latentScale'),
    embeddingWidth: number('embeddingWidth'),
    sampler: scheduler.sampler,
    schedule: scheduler,
  }
  const tokenizer = await readTokenizer(image, role)
  const generator = new PictureGenerator(
    engine,
    (graph) => engine.createSession({ path: image.graphPath(role, graph) }),
    { tokenizer, facts },
  )
  try {
    await generator.warm()
    return generator
  } catch (error) {
    generator.dispose()
    throw error
  }
}
