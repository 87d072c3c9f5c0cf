/** ImageBind from files: a picture, a sound and texts through the front ends and the tokenizer into the towers. */

import { gunzipSync } from 'node:zlib'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import { decodeImage } from '../media/index.js'
import { type ImageBindModality, imageFrontEndGraph } from '../models/index.js'
import { clipSequence, fromClipMerges, loadTokenizer } from '../tokenizers/index.js'
import { type ParityCase, readBytes } from './case.js'
import { countReport } from './compare.js'
import { runSoundFrontEnd } from './front-ends.js'
import { openGraph } from './graphs.js'
import { imagebindOutputs } from './imagebind.js'
import type { CaseRun, OutputReport, Runner } from './types.js'
import { vocabularyFile } from './vocabularies.js'

const MERGES = 'shared/bpe_simple_vocab_16e6.txt.gz'
const CONTEXT = 77

export const runImageBindFiles: Runner = async (run) => {
  const { parityCase } = run
  const inputs = new Map<ImageBindModality, HostTensor>()
  const checks: OutputReport[] = []
  if (parityCase.hasInput('imu')) inputs.set('imu', parityCase.input('imu'))
  const picture = await pixelsOf(run)
  if (picture) inputs.set('vision', picture)
  if (parityCase.files.some(({ file }) => /\.wav$/i.test(file))) {
    const sound = (await runSoundFrontEnd(run)).tensors?.get('melspec')
    if (sound) inputs.set('audio', sound)
  }
  const texts = parityCase.config.texts
  if (Array.isArray(texts)) {
    const ids = tokensOf(parityCase, texts.map(String))
    inputs.set('text', ids)
    if (parityCase.hasInput('expected_token_ids')) checks.push(idCheck(ids, parityCase.input('expected_token_ids')))
  }
  return { tensors: await imagebindOutputs(run, inputs), checks }
}

/** The case's picture as the model sees it, [1, 3, S, S]. */
export async function pixelsOf({ parityCase, engine, signal }: CaseRun): Promise<HostTensor | undefined> {
  const pictures = parityCase.files.filter(({ file }) => /\.(png|jpe?g|webp)$/i.test(file))
  if (!pictures.length) return undefined
  if (pictures.length > 1)
    throw new M4Error('FORMAT_INVALID', `${parityCase.folder}: expected one picture, got ${pictures.length}.`)
  const { data, width, height } = await decodeImage(readBytes(parityCase.path(pictures[0]!.file)))
  using session = await openGraph(engine, imageFrontEndGraph(), signal)
  using bytes = engine.tensor('uint8', [height, width, 3], data as DataOf<'uint8'>)
  using pixels = (await session.run({ picture: bytes }, undefined, { signal })).pixels!
  return hostTensor('float32', pixels.dims, (pixels.data as DataOf<'float32'>).slice())
}

/** Start, text, end, zeros. [texts, context] */
function tokensOf(parityCase: ParityCase, texts: readonly string[]): HostTensor {
  const merges = gunzipSync(readBytes(vocabularyFile(parityCase, MERGES)))
  const tokenizer = loadTokenizer(fromClipMerges(new TextDecoder().decode(merges)))
  const towers = parityCase.config.allModalities as { readonly text?: { readonly context?: unknown } } | undefined
  const length = typeof towers?.text?.context === 'number' ? towers.text.context : CONTEXT
  const rows = texts.map(
    (text) => clipSequence(tokenizer.encode(text), { length, startId: tokenizer.bosId!, endId: tokenizer.eosId! }).ids,
  )
  return int64Tensor([rows.length, length], rows.flat())
}

function idCheck(got: HostTensor, expected: HostTensor): OutputReport {
  const same = got.dims.join() === expected.dims.join()
  const at = Array.from(expected.data as ArrayLike<unknown>).findIndex((id, i) => id !== got.data[i])
  if (!same) return countReport('token ids', [`expected [${expected.dims}], got [${got.dims}]`])
  return countReport('token ids', at < 0 ? [] : [`at ${at} expected ${expected.data[at]}, got ${got.data[at]}`])
}
