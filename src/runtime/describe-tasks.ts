/**
 * Path 1 without words: what was seen, heard or felt becomes one soft token, and the backbone answers a question about it.
 *
 *   picture ─► IMG ─► head ─► project ─► soft token ─► ### Human: <Img>…</Img> question ### Assistant:
 *
 * @paper arXiv:2305.16355 (PandaGPT)
 */

import { M4Error } from '../core/errors.js'
import { type ReadItem, readItems, type SensedItem, sense } from './items.js'
import { addSoftTokens, pandaFragments, pandaIds, pandaSegments } from './panda-prompt.js'
import type { DescribeRequest, Event, TextOutput } from './requests.js'
import { answer } from './text-tasks.js'
import type { Work } from './work.js'

const DEFAULT_QUESTION = 'What is this?'
/** The next turn of the conversation begins with it. */
const END = '###'

type TokenEvent = Extract<Event, { type: 'token' }>

export async function* describe(request: DescribeRequest, work: Work): AsyncGenerator<TokenEvent, TextOutput> {
  const { question = DEFAULT_QUESTION, history = [], stop = [] } = request
  if (question.trim() === '') throw new M4Error('EMPTY_INPUT', 'The question is empty.', { hint: 'Ask something.' })
  const items = await readItems(request.items, work)
  const heads = await sense(items.map(sensed), work)
  const backbone = await work.use('backbone')
  const softTokens = await work.stage('project', async () => {
    const tokens: Float32Array[] = []
    for (const each of heads) tokens.push(await backbone.project(each))
    return tokens
  })
  const ids = pandaIds(backbone.tokenizer, pandaFragments(question, history))
  const segments = pandaSegments(ids, addSoftTokens(softTokens))
  return yield* answer(work, backbone, segments, { ...request, stop: [END, ...stop], trimStart: true })
}

function sensed(item: ReadItem): SensedItem {
  if (item.kind === 'picture' || item.kind === 'sound' || item.kind === 'motion') return item
  throw new M4Error('INVALID_REQUEST', `items: describe takes pictures, sounds and motion, got a ${item.kind}.`, {
    hint: 'Texts go into the question.',
  })
}
