/** Path 3 with text: vectors, their closeness, and the choice of a label by it. The backbone sleeps. */

import { M4Error } from '../core/errors.js'
import { fillTemplate } from './prompts.js'
import type { EmbedRequest, MatchOutput, MatchRequest, Outputs, SimilarityRequest } from './requests.js'
import { cosine, type EmbedOptions } from './text-embedding.js'
import { checkLabels } from './text-tasks.js'
import type { Work } from './work.js'

const MATCH_TEMPLATE = 'This text is about {}.'

// biome-ignore lint/correctness/useYield: a handler is a generator, also where nothing comes before the answer
export async function* embed(request: EmbedRequest, work: Work): AsyncGenerator<never, Outputs['embed']> {
  const embeddings = await embedTexts(request.texts, request, work)
  return { embeddings, width: embeddings[0]!.length }
}

export async function* similarity(
  request: SimilarityRequest,
  work: Work,
): AsyncGenerator<never, Outputs['similarity']> {
  const { texts, others = [] } = request
  // One batch for both sides: padding is shared.
  const vectors = await embedTexts([...texts, ...others], request, work)
  const rows = vectors.slice(0, texts.length)
  const columns = request.others ? vectors.slice(texts.length) : rows
  return { similarities: rows.map((row) => columns.map((column) => cosine(row, column))) }
}

export async function* match(request: MatchRequest, work: Work): AsyncGenerator<never, MatchOutput> {
  const { texts, labels, descriptions = {}, template = MATCH_TEMPLATE } = request
  checkLabels(labels)
  const unknown = Object.keys(descriptions).find((label) => !labels.includes(label))
  if (unknown !== undefined)
    throw new M4Error('INVALID_REQUEST', `descriptions: "${unknown}" is not among the labels ${labels.join(', ')}.`)
  const meanings = labels.map((label) => {
    if (Object.hasOwn(descriptions, label)) return descriptions[label]!
    const { shared, own } = fillTemplate(template, label)
    return shared + own
  })
  const vectors = await embedTexts([...texts, ...meanings], request, work)
  const targets = vectors.slice(texts.length)
  const matches = vectors.slice(0, texts.length).map((vector) => {
    const scores = labels
      .map((label, i) => ({ label, similarity: cosine(vector, targets[i]!) }))
      .sort((a, b) => b.similarity - a.similarity)
    return { label: scores[0]!.label, scores }
  })
  return { matches }
}

async function embedTexts(
  texts: readonly string[],
  { window }: Pick<EmbedOptions, 'window'>,
  work: Work,
): Promise<readonly Float32Array[]> {
  const encoder = await work.use('TXT')
  const { embeddings, tokens } = await work.stage('embed', () => encoder.embed(texts, { window, signal: work.signal }))
  work.tokens.encoded += tokens
  return embeddings
}
