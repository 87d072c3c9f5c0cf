/** The other way of `match`: a head that learned its classes stands beside the encoder (the paper's GEN_dec). No text wakes. */

import { M4Error } from '../core/errors.js'
import type { Role } from '../firmware/manifest.js'
import { assertEncoder, ENCODER_ROLES, isSensed, type ReadItem, type SensedItem, senseOne } from './items.js'
import { readText } from './module-config.js'
import type { MatchOutput } from './requests.js'
import { toUnitLength } from './tower.js'
import type { Work } from './work.js'

/** Names in a module (`head` is ImageBind's own): the graph, `features` [B, C] → `probabilities` [B, classes], and the JSON list of its classes. */
const CLASSIFY = 'classify'
const LABELS = 'labels'

/**
 * All classes of the module's head for each item, most probable first. The features are the unit vector that `embed` gives.
 * @throws M4Error `INVALID_REQUEST` where an item's module has no head, `NOT_AVAILABLE`, `IMAGE_INVALID`
 */
export async function matchByHead(items: readonly ReadItem[], work: Work): Promise<MatchOutput> {
  const sensed = items.map((item) => withHead(item, work))
  const matches: MatchOutput['matches'][number][] = new Array(items.length)
  for (const role of new Set(sensed.map(({ kind }) => ENCODER_ROLES[kind]))) {
    const labels = await labelsOf(role, work)
    for (const [i, item] of sensed.entries()) {
      if (ENCODER_ROLES[item.kind] !== role) continue
      const { embedding } = await senseOne(item, work)
      const encoder = await work.use(role)
      const features = toUnitLength(embedding.slice())
      const probabilities = await work.stage('classify', () => encoder.classify(features, work.signal))
      if (probabilities.length !== labels.length)
        throw badLabels(role, `a list of ${probabilities.length}, got ${labels.length}`)
      const scores = labels
        .map((label, k) => ({ label, probability: probabilities[k]! }))
        .sort((a, b) => b.probability - a.probability)
      matches[i] = { label: scores[0]!.label, scores }
    }
    work.done(role)
  }
  return { matches }
}

function withHead(item: ReadItem, work: Work): SensedItem {
  if (isSensed(item)) {
    assertEncoder(item, work)
    const { files, graphs } = work.image.manifest.modules[ENCODER_ROLES[item.kind]]!
    if (Object.hasOwn(files, LABELS) && Object.hasOwn(graphs, CLASSIFY)) return item
  }
  throw new M4Error(
    'INVALID_REQUEST',
    `labels: expected two or more, got none; the module of a ${item.kind} has no head of its own.`,
    {
      hint: 'Give labels; or use an image whose encoder carries the graph classify and the file labels.',
      details: { kind: item.kind },
    },
  )
}

async function labelsOf(role: Role, { image }: Work): Promise<readonly string[]> {
  let labels: unknown
  try {
    labels = JSON.parse(await readText(image, role, LABELS))
  } catch (cause) {
    if (cause instanceof SyntaxError) throw badLabels(role, 'JSON', cause)
    throw cause
  }
  if (Array.isArray(labels) && labels.every((label) => typeof label === 'string')) return labels
  throw badLabels(role, 'a list of texts')
}

const badLabels = (role: Role, expected: string, cause?: unknown) =>
  new M4Error('IMAGE_INVALID', `The labels of module ${role}: expected ${expected}.`, {
    hint: 'Correct the file labels of the recipe, then build the image again.',
    details: { role },
    cause,
  })
