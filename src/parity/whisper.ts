/** Whisper cases: features, logits and greedy tokens with and without suppressed ids; a WAV file to text. */

import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import { argmax } from '../runtime/logits.js'
import { whisperSpecials } from '../tokenizers/index.js'
import { type OutputSpec, type ParityCase, readBytes } from './case.js'
import { countReport } from './compare.js'
import { HOP_SAMPLES, padOrTrim, samplesOf } from './log-mel.js'
import type { OutputReport, Runner } from './types.js'
import { vocabularyFile, whisperTokenizer } from './vocabularies.js'
import { openWhisper, type WhisperDecoder, type WhisperModel } from './whisper-model.js'

interface Heard {
  readonly model: WhisperModel
  readonly parityCase: ParityCase
  readonly features: HostTensor // [B, P, C]
  /** A decoder for each row. */
  readonly decoders: readonly WhisperDecoder[]
}

type Producer = (heard: Heard, spec: OutputSpec) => Promise<HostTensor>

const PRODUCERS: Readonly<Record<string, Producer>> = Object.freeze({
  encoder_features: async ({ features }) => features,
  logits: teacherForced,
  greedy_tokens_suppressed: async (heard, spec) => (await greedy(heard, spec.shape.at(-1)!, rules(heard))).tokens,
  tokens: async (heard, spec) => (await greedy(heard, spec.shape.at(-1)!, rules(heard))).tokens,
  greedy_tokens_plain: async (heard, spec) => (await greedy(heard, spec.shape.at(-1)!, PLAIN)).tokens,
  greedy_step_logits: stepLogits,
  hf_generate_ids: generateIds,
})

/** Names that say how much of the features is kept. */
const EVERY = /^encoder_features_every_(\d+)(?:st|nd|rd|th)$/

export const runWhisper: Runner = async (run) => {
  using model = await openWhisper(run)
  const mel = run.parityCase.input('mel')
  using input = run.engine.tensor('float32', mel.dims, mel.data as DataOf<'float32'>)
  return { tensors: await hearAndProduce(run, model, await model.encode(input)) }
}

/** WAV → log-mel → features → tokens → text. */
export const runSpeechToText: Runner = async (run) => {
  const { parityCase } = run
  using model = await openWhisper(run)
  using mel = await model.logMel(padOrTrim(samplesOf(parityCase), 2 * model.config.audioContext * HOP_SAMPLES))
  const tensors = await hearAndProduce(run, model, await model.encode(mel))
  const tokens = tensors.get('tokens')
  const { text } = parityCase.json
  if (typeof text !== 'string' || !tokens) return { tensors }
  return { tensors, checks: [textCheck(parityCase, text, Array.from(tokens.data as BigInt64Array, Number))] }
}

async function hearAndProduce(
  { parityCase, engine }: Parameters<Runner>[0],
  model: WhisperModel,
  encoded: Awaited<ReturnType<WhisperModel['encode']>>,
): Promise<Map<string, HostTensor>> {
  using features = encoded
  const [rows, positions, width] = features.dims as [number, number, number]
  const data = features.data as Float32Array
  const decoders: WhisperDecoder[] = []
  try {
    for (let row = 0; row < rows; row++) {
      const size = positions * width
      using one = engine.tensor('float32', [1, positions, width], data.slice(row * size, (row + 1) * size))
      decoders.push(await model.decoder(one))
    }
    const heard: Heard = { model, parityCase, features: hostTensor('float32', features.dims, data.slice()), decoders }
    const tensors = new Map<string, HostTensor>()
    for (const spec of parityCase.outputs) {
      const stride = EVERY.exec(spec.name)?.[1]
      if (stride) tensors.set(spec.name, everyRow(heard.features, Number(stride)))
      else if (Object.hasOwn(PRODUCERS, spec.name)) tensors.set(spec.name, await PRODUCERS[spec.name]!(heard, spec))
    }
    return tensors
  } finally {
    for (const decoder of decoders) decoder[Symbol.dispose]()
  }
}

/** Positions 0, n, 2n, … [B, P, C] → [B, ⌈P / n⌉, C] */
function everyRow({ dims, data }: HostTensor, stride: number): HostTensor {
  const [rows, positions, width] = dims as [number, number, number]
  const kept = Math.ceil(positions / stride)
  const out = new Float32Array(rows * kept * width)
  for (let i = 0; i < rows * kept; i++) {
    const start = (Math.floor(i / kept) * positions + (i % kept) * stride) * width
    out.set((data as Float32Array).subarray(start, start + width), i * width)
  }
  return hostTensor('float32', [rows, kept, width], out)
}

/** Logits of given tokens. [B, T, V] */
async function teacherForced({ model, parityCase, decoders }: Heard): Promise<HostTensor> {
  const { dims, data } = parityCase.input('tokens')
  const [rows, columns] = dims as [number, number]
  const { vocabulary } = model.config
  const out = new Float32Array(rows * columns * vocabulary)
  for (let row = 0; row < rows; row++) {
    const decoder = decoderOf(decoders, row)
    decoder.reset()
    const ids = Array.from({ length: columns }, (_, i) => Number(data[row * columns + i]))
    out.set(await decoder.run(ids), row * columns * vocabulary)
  }
  return hostTensor('float32', [rows, columns, vocabulary], out)
}

function decoderOf(decoders: readonly WhisperDecoder[], row: number): WhisperDecoder {
  const decoder = decoders[row]
  if (decoder) return decoder
  throw new M4Error('SHAPE_MISMATCH', `The case has ${decoders.length} recordings, but tokens for ${row + 1}.`)
}

/** Which ids may not be chosen: always, and at the first place. */
interface Rules {
  readonly always: ReadonlySet<number>
  readonly first: ReadonlySet<number>
}

const PLAIN: Rules = { always: new Set(), first: new Set() }

function rules({ parityCase }: Heard): Rules {
  const always = configIds(parityCase, 'suppressTokens')
  return { always: new Set(always), first: new Set([...always, ...configIds(parityCase, 'beginSuppressTokens')]) }
}

/** @throws M4Error `FORMAT_INVALID` */
function configIds({ config, folder }: ParityCase, key: string): number[] {
  const value = config[key] ?? []
  if (Array.isArray(value) && value.every((id) => Number.isInteger(id) && id >= 0)) return value
  throw new M4Error('FORMAT_INVALID', `${folder}: config.${key} must be a list of token ids.`)
}

function promptOf(parityCase: ParityCase): number[] {
  const ids = configIds(parityCase, 'prompt')
  if (ids.length) return ids
  throw new M4Error('FORMAT_INVALID', `${parityCase.folder}: config.prompt is empty, so nothing can be generated.`)
}

/** `count` tokens after the prompt, none of which ends the answer. tokens [B, count], logits [B, count, V] before suppression */
async function greedy(
  { model, parityCase, decoders }: Heard,
  count: number,
  { always, first }: Rules,
): Promise<{ tokens: HostTensor; logits: HostTensor }> {
  const { vocabulary } = model.config
  const prompt = promptOf(parityCase)
  const tokens: number[] = []
  const steps = new Float32Array(decoders.length * count * vocabulary)
  for (const [b, decoder] of decoders.entries()) {
    decoder.reset()
    let row = (await decoder.run(prompt)).subarray((prompt.length - 1) * vocabulary)
    for (let i = 0; i < count; i++) {
      steps.set(row, (b * count + i) * vocabulary)
      for (const id of i === 0 ? first : always) row[id] = Number.NEGATIVE_INFINITY
      const id = argmax(row)
      tokens.push(id)
      if (i + 1 < count) row = await decoder.run([id])
    }
  }
  return {
    tokens: int64Tensor([decoders.length, count], tokens),
    logits: hostTensor('float32', [decoders.length, count, vocabulary], steps),
  }
}

/** Those of the suppressed run: what the decoder gave before ids were ruled out. */
async function stepLogits(heard: Heard, spec: OutputSpec): Promise<HostTensor> {
  const { logits } = await greedy(heard, spec.shape.at(-2)!, rules(heard))
  return spec.shape.length === 2 && logits.dims[0] === 1 ? { ...logits, dims: logits.dims.slice(1) } : logits
}

/** transformers' generate(): the prompt, then tokens up to the end-of-text id, which also fills the rest. [B, T] */
async function generateIds(heard: Heard, spec: OutputSpec): Promise<HostTensor> {
  const { config } = heard.parityCase
  const prompt = promptOf(heard.parityCase)
  const count = spec.shape.at(-1)! - prompt.length
  const { tokens } = await greedy(heard, count, rules(heard))
  const generated = Array.from(tokens.data as BigInt64Array, Number)
  const rows = heard.decoders.flatMap((_, b) => {
    const row = generated.slice(b * count, (b + 1) * count)
    const end = row.indexOf(Number(config.eot))
    return [...prompt, ...row.map((id, i) => (end >= 0 && i > end ? Number(config.eot) : id))]
  })
  return int64Tensor([heard.decoders.length, prompt.length + count], rows)
}

function textCheck(parityCase: ParityCase, expected: string, ids: readonly number[]): OutputReport {
  const tokenizer = whisperTokenizer(readBytes(vocabularyFile(parityCase, 'shared/gpt2.tiktoken')))
  const specials = whisperSpecials(false)
  const text = tokenizer.decode(
    ids.filter((id) => !specials.has(id)),
    { continuing: true },
  )
  return countReport(
    'text',
    text === expected ? [] : [`expected ${JSON.stringify(expected)}, got ${JSON.stringify(text)}`],
  )
}
