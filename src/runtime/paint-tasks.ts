/**
 * Path 4, the picture generator alone: a text, or a text and a picture, become a picture. Path 3 where an encoder wakes before it:
 * what was seen, heard, felt or read is painted.
 */

import { M4Error } from '../core/errors.js'
import { decodeImage, type Picture } from '../media/index.js'
import type { PictureGenerator, StepDone } from './diffusion/index.js'
import { embeddingToPaint } from './paint-after.js'
import { paintsVectors, paintVector } from './paint-joint.js'
import type { Event, PaintRequest, PictureSource } from './requests.js'
import type { Work } from './work.js'

type StepEvent = Extract<Event, { type: 'step' }>

/** As the reference scripts of Stable Diffusion 1. */
const DEFAULT_STEPS = 50
const DEFAULT_GUIDANCE = 7.5
/** As its script for pictures from pictures. */
const DEFAULT_STRENGTH = 0.8

export async function* paint(request: PaintRequest, work: Work): AsyncGenerator<StepEvent, Picture> {
  checkRequest(request)
  const paintWith = paintsVectors(work.image.manifest) ? paintVector : paintDiffusion
  const steps = await paintWith(request, work)
  for (;;) {
    const { done, value } = await steps.next()
    if (done) return value
    yield { type: 'step', ...value }
  }
}

async function paintDiffusion(request: PaintRequest, work: Work): Promise<AsyncGenerator<StepDone, Picture>> {
  const { prompt = '', negative = '', seed = 0, guidance = DEFAULT_GUIDANCE, from, signal: _, ...rest } = request
  const picture = rest.picture && (await work.stage('decode picture', () => pictureOf(rest.picture!)))
  const embedding = from === undefined ? rest.embedding : await embeddingToPaint(from, work)
  const generator = (await work.use('IMG-gen')) as PictureGenerator
  work.tokens.encoded += [prompt, negative].reduce((sum, text) => sum + generator.tokenizer.encode(text).length + 2, 0)
  return generator.paint({
    prompt,
    negative,
    seed,
    guidance,
    embedding,
    picture,
    steps: rest.steps ?? DEFAULT_STEPS,
    strength: rest.strength ?? DEFAULT_STRENGTH,
    noiseLevel: rest.noiseLevel ?? 0,
    sampler: rest.sampler,
    width: rest.width,
    height: rest.height,
    signal: work.signal,
    onStage: work.spent,
  })
}

function checkRequest({ prompt = '', seed = 0, guidance = 1, embedding, from }: PaintRequest): void {
  if (from !== undefined && embedding)
    throw new M4Error('INVALID_REQUEST', 'paint: expected from or embedding, got both.', { hint: 'Leave one out.' })
  if (prompt.trim() === '' && !embedding && from === undefined)
    throw new M4Error('EMPTY_INPUT', 'There is nothing to paint.', {
      hint: 'Describe the picture in some words.',
      details: { field: 'prompt' },
    })
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff)
    throw new M4Error('INVALID_REQUEST', `seed: expected a whole number from 0 to 2^32 - 1, got ${seed}.`)
  if (!(guidance >= 1 && guidance <= 100))
    throw new M4Error('INVALID_REQUEST', `guidance: expected 1 to 100, got ${guidance}.`, {
      hint: '1 follows the text as the model alone would; 7.5 is usual.',
    })
}

/** @throws M4Error `PICTURE_INVALID`, `INVALID_REQUEST` */
export async function pictureOf(source: PictureSource): Promise<Picture> {
  if (source.file) return decodeImage(source.file)
  const { data, width, height } = source
  if (data instanceof Uint8Array && width >= 1 && height >= 1 && data.length === 3 * width * height) return source
  throw new M4Error('INVALID_REQUEST', 'picture: expected {file} or {data: Uint8Array of RGB, width, height}.')
}
