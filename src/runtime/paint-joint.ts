/**
 * Painting after a vector of the joint space: whatever the image can read, see, hear or feel is first embedded, as path 3 does it,
 * and the picture generator sees nothing but that vector.
 */

import { M4Error } from '../core/errors.js'
import type { Manifest } from '../firmware/manifest.js'
import type { Picture } from '../media/index.js'
import type { StepDone } from './diffusion/index.js'
import { ENCODER_ROLES, embedRead, isSensed, type ReadItem, readItems } from './items.js'
import type { Item, PaintRequest } from './requests.js'
import type { FlowPainter } from './small-flow.js'
import { spaceOf } from './space.js'
import type { Work } from './work.js'

/** Measured: `bench/painted.mjs`. */
const DEFAULT_STEPS = 25
const DEFAULT_GUIDANCE = 3

/** Whether the image's picture generator knows nothing but vectors. */
export const paintsVectors = ({ modules }: Pick<Manifest, 'modules'>): boolean =>
  modules['IMG-gen']?.architecture === 'small-flow'

/**
 * @throws M4Error `INVALID_REQUEST` for what such a generator does not know, `NOT_AVAILABLE` where the encoder of what is given is
 * missing or speaks of another space, `SHAPE_MISMATCH` for a vector of another width; else as `embed`
 */
export async function paintVector(request: PaintRequest, work: Work): Promise<AsyncGenerator<StepDone, Picture>> {
  const { seed = 0, steps = DEFAULT_STEPS, guidance = DEFAULT_GUIDANCE, negative = '' } = request
  refuseUnknown(request)
  const asked = [askedItem(request), ...(negative.trim() === '' ? [] : [negative])]
  const read = await readItems(asked, work, request.from === undefined ? 'prompt' : 'from')
  for (const item of read) assertSpace(item, work)
  const [given, away] = await embedRead(read, {}, work)
  const painter = (await work.use('IMG-gen')) as FlowPainter
  const { joint, size } = painter.facts
  for (const side of ['width', 'height'] as const)
    if (request[side] !== undefined && request[side] !== size)
      throw new M4Error(
        'INVALID_REQUEST',
        `${side}: this picture generator paints ${size} dots, got ${request[side]}.`,
        {
          hint: 'Leave it out.',
        },
      )
  if (given!.length !== joint)
    throw new M4Error('SHAPE_MISMATCH', `The picture generator takes ${joint} numbers, got ${given!.length}.`, {
      hint: 'Give what the task embed of this image gave.',
    })
  const { signal } = work
  return painter.paint({ given: given!, away: away ?? new Float32Array(joint), steps, guidance, seed, signal })
}

/** The one thing to paint after. */
function askedItem({ prompt = '', from, embedding }: PaintRequest): Item {
  const given: Item[] = [
    ...(prompt.trim() === '' ? [] : [prompt]),
    ...(from === undefined ? [] : [from]),
    ...(embedding === undefined ? [] : [{ embedding }]),
  ]
  if (given.length === 1) return given[0]!
  throw new M4Error(
    'INVALID_REQUEST',
    `paint: expected one of prompt, from and embedding, got ${given.length} of them.`,
    {
      hint: 'This picture generator paints after one vector.',
    },
  )
}

const UNKNOWN = ['picture', 'strength', 'noiseLevel', 'sampler'] as const satisfies readonly (keyof PaintRequest)[]

function refuseUnknown(request: PaintRequest): void {
  const name = UNKNOWN.find((field) => request[field] !== undefined)
  if (name)
    throw new M4Error('INVALID_REQUEST', `${name}: the picture generator of this image does not know it.`, {
      hint: 'Leave it out, or use an image of the recipe standard.',
      details: { field: name },
    })
}

function assertSpace(item: ReadItem, { image }: Work): void {
  if (item.kind === 'vector') return
  const { modules, name } = image.manifest
  const role = isSensed(item) ? ENCODER_ROLES[item.kind] : 'TXT'
  const wanted = spaceOf(modules['IMG-gen']!)
  const encoder = modules[role]
  const space = encoder && spaceOf(encoder)
  if (encoder === undefined || (space !== undefined && space === wanted)) return
  throw new M4Error(
    'NOT_AVAILABLE',
    `The image ${name} paints after vectors of ${wanted ?? 'no space'}, its ${role} gives those of ${space ?? 'none'}.`,
    { hint: 'Describe the picture in words, or use an image whose modules share a space.', details: { role } },
  )
}
