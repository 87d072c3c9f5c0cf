/** PandaGPT from files: a picture or a sound, a question, and the text of the answer. */

import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import type { ImageBindModality } from '../models/index.js'
import { pandaFragments, pandaIds } from '../runtime/panda-prompt.js'
import { fromSentencePiece, loadTokenizer } from '../tokenizers/index.js'
import { type ParityCase, readBytes } from './case.js'
import { countReport } from './compare.js'
import { runSoundFrontEnd } from './front-ends.js'
import { pixelsOf } from './imagebind-e2e.js'
import { answer, openPanda } from './pandagpt.js'
import type { CaseRun, OutputReport, Runner } from './types.js'
import { vocabularyFile } from './vocabularies.js'

const VOCABULARY = 'shared/llama-tokenizer.model'

export const runPandaFiles: Runner = async (run) => {
  const { parityCase, signal } = run
  const { question, maxNewTokens } = parityCase.config
  const tokenizer = loadTokenizer(fromSentencePiece(readBytes(vocabularyFile(parityCase, VOCABULARY))))
  const fragments = pandaFragments(String(question))
  const ids = pandaIds(tokenizer, fragments)
  const seen = await seenOf(run)
  using model = await openPanda(run)
  model.llama.context.useAdapter(model.adapter)
  const { tokens: soft } = await model.soften(seen.modality, seen.input)
  let last = new Float32Array()
  const tokens = await answer(model.llama, ids, soft[0]!, {
    count: Number(maxNewTokens),
    signal,
    onPrompt: (logits) => {
      last = logits.slice()
    },
  })
  const tensors = new Map<string, HostTensor>([['tokens', int64Tensor([1, tokens.length], tokens)]])
  for (const { name, shape } of parityCase.outputs)
    if (name.startsWith('last_logits')) tensors.set(name, hostTensor('float32', shape, last.slice(0, shape.at(-1)!)))
  const checks = [
    ...same('fragments', parityCase.config.fragments, fragments),
    ...same('fragment ids', parityCase.config.fragmentIds, [ids.before, ids.after]),
    ...same('text', parityCase.json.text, tokenizer.decode(tokens)),
  ]
  return { tensors, checks }
}

/** What the case shows to the model. */
async function seenOf(run: CaseRun): Promise<{ modality: ImageBindModality; input: HostTensor }> {
  const picture = await pixelsOf(run)
  if (picture) return { modality: 'vision', input: picture }
  const sound = hasSound(run.parityCase) ? (await runSoundFrontEnd(run)).tensors?.get('melspec') : undefined
  if (sound) return { modality: 'audio', input: sound }
  throw new M4Error('FORMAT_INVALID', `${run.parityCase.folder}: it has neither a picture nor a sound.`)
}

const hasSound = ({ files }: ParityCase) => files.some(({ file }) => /\.wav$/i.test(file))

/** A check where the case says what to expect. */
function same(name: string, expected: unknown, got: unknown): OutputReport[] {
  if (expected === undefined) return []
  const [want, have] = [JSON.stringify(expected), JSON.stringify(got)]
  return [countReport(name, want === have ? [] : [`expected ${want}, got ${have}`])]
}
