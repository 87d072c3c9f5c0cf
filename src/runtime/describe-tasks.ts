/**
 * Path 1 without words: what was seen, heard or felt becomes soft tokens, and the backbone answers a question about it.
 *
 *   picture ─► IMG ─► head ─► project ─► soft tokens ─► the prompt around them (soft-prompt.ts)
 *
 * A backbone that takes pictures itself (Fuyu) needs no encoder: the patches are its tokens.
 *
 *   picture ─► patches ─► a token each ─► question
 *
 * @paper arXiv:2305.16355 (PandaGPT) · Fuyu: https://www.adept.ai/blog/fuyu-8b
 */

import { M4Error } from '../core/errors.js'
import type { Picture } from '../media/index.js'
import { isSensed, type ReadItem, readItems, type SensedItem, sense } from './items.js'
import { addSoftTokens, pandaSegments } from './panda-prompt.js'
import { PATCHES, patchQuestionIds, placePicture } from './patches.js'
import type { DescribeRequest, Event, TextOutput } from './requests.js'
import { softPromptIds, softPromptOf } from './soft-prompt.js'
import { answer } from './text-tasks.js'
import type { ClipHeads } from './tower.js'
import type { Work } from './work.js'

const DEFAULT_QUESTION = 'What is this?'

type VectorItem = Extract<ReadItem, { kind: 'vector' }>
type TokenEvent = Extract<Event, { type: 'token' }>

export async function* describe(request: DescribeRequest, work: Work): AsyncGenerator<TokenEvent, TextOutput> {
  const { question = DEFAULT_QUESTION, history = [], stop = [] } = request
  if (question.trim() === '') throw new M4Error('EMPTY_INPUT', 'The question is empty.', { hint: 'Ask something.' })
  const items = (await readItems(request.items, work)).map(describable)
  const pictures = items.flatMap((item) => (item.kind === 'picture' ? [item.picture] : []))
  const sees = PATCHES in (work.image.manifest.modules.backbone?.graphs ?? {})
  if (sees && pictures.length === items.length) return yield* describePatches(pictures, question, request, work)
  const seen = items.filter(isSensed)
  const heads = [
    ...(await sense(seen, work)),
    ...items.flatMap((item) => (item.kind === 'vector' ? headsOf(item) : [])),
  ]
  const backbone = await work.use('backbone')
  const softTokens = await work.stage('project', async () => {
    const tokens: Float32Array[] = []
    for (const each of heads) tokens.push(await backbone.project(each))
    return tokens
  })
  const form = softPromptOf(work.image.manifest.modules.backbone!)
  const { end, ...ids } = softPromptIds(backbone.tokenizer, form, question, history)
  const segments = pandaSegments(ids, addSoftTokens(softTokens))
  return yield* answer(work, backbone, segments, { ...request, stop: [end, ...stop], trimStart: true })
}

/** Fuyu was trained on one picture and one question. @throws M4Error `INVALID_REQUEST`, `CONTEXT_OVERFLOW` */
async function* describePatches(
  pictures: readonly Picture[],
  question: string,
  request: DescribeRequest,
  work: Work,
): AsyncGenerator<TokenEvent, TextOutput> {
  if (pictures.length > 1)
    throw new M4Error('INVALID_REQUEST', `items: this backbone takes one picture, got ${pictures.length}.`, {
      hint: 'Ask about each by itself.',
    })
  if (request.history?.length)
    throw new M4Error('INVALID_REQUEST', 'history: this backbone answers one question about a picture.', {
      hint: 'Say what was said before in the question.',
    })
  const backbone = await work.use('backbone')
  const { context, tokenizer } = backbone
  const facts = backbone.patches!.facts
  const placed = await work.stage('shrink', async () => placePicture(pictures[0]!, facts))
  const asked = { ids: patchQuestionIds(tokenizer, backbone.facts.bosId, question, facts) }
  // Before the patches are read: too many are an error at once.
  context.useAdapter(request.adapter)
  context.assertFits([{ ids: placed.ids }, asked], request.maxTokens ?? 1)
  const embeddings = await work.stage('patches', () => backbone.see(placed, work.signal))
  return yield* answer(work, backbone, [{ embeddings }, asked], { ...request, trimStart: true })
}

/** A vector of an earlier answer stands for what it was made of. */
const headsOf = ({ vector }: VectorItem): ClipHeads => ({ heads: vector, clips: 1, embedding: vector })

function describable(item: ReadItem): SensedItem | VectorItem {
  if (isSensed(item) || item.kind === 'vector') return item
  throw new M4Error(
    'INVALID_REQUEST',
    `items: describe takes pictures, videos, sounds, motion and embeddings, got a ${item.kind}.`,
    {
      hint: 'Texts go into the question.',
    },
  )
}
