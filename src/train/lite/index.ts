/** The modules of `lite` that are trained here: `npm run train:lite`. Adding one is a file beside this and a row below. */

import { LETTER_TO_SOUND_TRAINING } from './letter-to-sound.js'
import type { LiteTraining } from './module.js'
import { motionTraining } from './motion/motion.js'
import { trainPictureGenerator } from './picture-generator.js'
import { PICTURES } from './pictures.js'
import { PROJECTION_TRAINING } from './projection.js'
import { SOUNDS } from './sounds.js'
import { trainUpscaler } from './upscaler.js'

export { type LiteModule, type LiteRecord, type LiteRequest, type LiteTraining, writeLiteModule } from './module.js'

/** Name of the file in `weights/lite` → its training, in the order in which they are made. */
export const LITE_TRAININGS: Readonly<Record<string, LiteTraining>> = {
  'letter-to-sound': LETTER_TO_SOUND_TRAINING,
  'pictures-join': PICTURES,
  sounds: SOUNDS,
  motion: motionTraining,
  projection: PROJECTION_TRAINING,
  'picture-generator': {
    about: 'IMG-gen: small pictures after a vector of the joint space; MNIST, Fashion-MNIST',
    train: trainPictureGenerator,
  },
  upscaler: { about: 'IMG-gen, part upscale: twice the dots; 70 photographs', train: trainUpscaler },
}
