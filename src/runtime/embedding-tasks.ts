/** Path 3: vectors, their closeness, the choice of a label by it, the nearest of a gallery. The backbone sleeps. */

import { M4Error } from '../core/errors.js'
import { embedProjected, type HeadAdapter, matchByAdapter, matchByHead } from './class-head.js'
import { embedRead, embedScaled, featuresRead, type ReadItem, readItems } from './items.js'
import { fillTemplate } from './prompts.js'
import type {
  EmbedRequest,
  Item,
  Itemised,
  MatchOutput,
  MatchRequest,
  Outputs,
  RetrieveRequest,
  SimilarityRequest,
} from './requests.js'
import { cosine, type EmbedOptions } from './text-embedding.js'
import { checkLabels } from './text-tasks.js'
import type { Work } from './work.js'

const TEXT_TEMPLATE = 'This text is about {}.'
/** ImageBind's examples put the bare name of the thing beside a picture. */
const BARE_TEMPLATE = '{}'
const DEFAULT_TOP = 10

// biome-ignore lint/correctness/useYield: a handler is a generator, also where nothing comes before the answer
export async function* embed(request: EmbedRequest, work: Work): AsyncGenerator<never, Outputs['embed']> {
  const { of, adapter } = request
  if (of !== undefined && (of !== 'features' || adapter))
    throw new M4Error(
      'INVALID_REQUEST',
      `of: expected features, without an adapter, got ${of}${adapter ? ` and ${adapter.name}` : ''}.`,
      {
        hint: 'Leave `of` out for vectors of the joint space.',
      },
    )
  const items = await readItems(itemsOf(request), work)
  const embeddings = await (of === 'features' ? featuresRead : vectorsOf)(items, request, work)
  return { embeddings, width: embeddings[0]!.length }
}

export async function* similarity(
  request: SimilarityRequest,
  work: Work,
): AsyncGenerator<never, Outputs['similarity']> {
  const items = await readItems(itemsOf(request), work)
  const others = request.others ? await readItems(request.others, work, 'others') : []
  // One batch for both sides: padding is shared.
  const vectors = await vectorsOf([...items, ...others], request, work)
  const rows = vectors.slice(0, items.length)
  const columns = request.others ? vectors.slice(items.length) : rows
  return { similarities: rows.map((row) => columns.map((column) => cosine(row, column))) }
}

export async function* match(request: MatchRequest, work: Work): AsyncGenerator<never, MatchOutput> {
  const { labels, adapter, descriptions = {} } = request
  if (adapter && labels !== undefined)
    throw new M4Error('INVALID_REQUEST', `match: the adapter ${adapter.name} has labels of its own, got labels too.`, {
      hint: 'Leave labels or the adapter out.',
    })
  if (adapter) return matchByAdapter(await readItems(itemsOf(request), work), adapter, request, work)
  if (labels === undefined) return matchByHead(await readItems(itemsOf(request), work), work)
  checkLabels(labels)
  const unknown = Object.keys(descriptions).find((label) => !labels.includes(label))
  if (unknown !== undefined)
    throw new M4Error('INVALID_REQUEST', `descriptions: "${unknown}" is not among the labels ${labels.join(', ')}.`)
  const given = itemsOf(request)
  const template = request.template ?? (given.every(isText) ? TEXT_TEMPLATE : BARE_TEMPLATE)
  const meanings = labels.map((label) => {
    if (Object.hasOwn(descriptions, label)) return descriptions[label]!
    const { shared, own } = fillTemplate(template, label)
    return shared + own
  })
  const items = await readItems(given, work)
  const texts: ReadItem[] = meanings.map((text) => ({ kind: 'text', text }))
  const { vectors, lengths, scale } = await embedScaled([...items, ...texts], request, work)
  const targets = vectors.slice(items.length)
  const matches = vectors.slice(0, items.length).map((vector, k) => {
    const similarities = targets.map((target) => cosine(vector, target))
    const shares = scale === undefined ? undefined : softmax(similarities.map((value) => value * lengths[k]! * scale))
    const scores = labels
      .map((label, i) => ({
        label,
        similarity: similarities[i]!,
        ...(shares ? { probability: shares[i]! } : {}),
      }))
      .sort((a, b) => b.similarity - a.similarity)
    return { label: scores[0]!.label, scores }
  })
  return { matches }
}

export async function* retrieve(request: RetrieveRequest, work: Work): AsyncGenerator<never, Outputs['retrieve']> {
  const { top = DEFAULT_TOP } = request
  if (!Number.isInteger(top) || top < 1)
    throw new M4Error('INVALID_REQUEST', `top: expected a whole number, 1 or more, got ${top}.`)
  const queries = await readItems(itemsOf(request), work)
  const gallery = await readItems(request.gallery, work, 'gallery')
  const vectors = await vectorsOf([...queries, ...gallery], request, work)
  const targets = vectors.slice(queries.length)
  const results = vectors.slice(0, queries.length).map((query) =>
    targets
      .map((target, index) => ({ index, similarity: cosine(query, target) }))
      .sort((a, b) => b.similarity - a.similarity || a.index - b.index)
      .slice(0, top),
  )
  return { results }
}

interface Embedding extends Pick<EmbedOptions, 'window'> {
  readonly adapter?: HeadAdapter | undefined
}

const vectorsOf = (items: readonly ReadItem[], options: Embedding, work: Work): Promise<readonly Float32Array[]> =>
  options.adapter ? embedProjected(items, options.adapter, options, work) : embedRead(items, options, work)

/** What was asked about, under either name. @throws M4Error `INVALID_REQUEST` */
export function itemsOf({ texts, items }: Itemised): readonly Item[] {
  if ((texts === undefined) === (items === undefined))
    throw new M4Error('INVALID_REQUEST', 'Expected texts or items, one of the two.')
  return (texts ?? items)!
}

const isText = (item: Item) => typeof item === 'string' || 'text' in item

function softmax(values: readonly number[]): number[] {
  const most = Math.max(...values)
  const raised = values.map((value) => Math.exp(value - most))
  const sum = raised.reduce((a, b) => a + b, 0)
  return raised.map((value) => value / sum)
}
