/** Case folder → report: one table from architecture to runner, one rule of comparison. */

import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isM4Error, M4Error, throwIfAborted, wrapSystemError } from '../core/errors.js'
import { openEngine } from '../engine/index.js'
import type { Engine } from '../engine/types.js'
import { isFile, openCase, type ParityCase } from './case.js'
import { runCharacterTokenizer, runClipTokenizer } from './clip-tokenizer.js'
import { compareTensor } from './compare.js'
import { runDiffusionText, runPipeline, runPrompt, runSchedulers, runUnclip, runUnet, runVae } from './diffusion.js'
import { runImageFrontEnd, runSoundFrontEnd, runVideoFrontEnd } from './front-ends.js'
import { runGgufBlocks } from './gguf-blocks.js'
import { runImage } from './image.js'
import { runImageBind } from './imagebind.js'
import { runImageBindFiles } from './imagebind-e2e.js'
import { llamaRunner } from './llama.js'
import { runLlamaAdapter } from './llama-adapter.js'
import { runLoader } from './loaders.js'
import { runLogMel } from './log-mel.js'
import { metricRunner } from './metrics.js'
import { runPandaGpt } from './pandagpt.js'
import { runPandaFiles } from './pandagpt-e2e.js'
import { runTokenizer } from './tokenizers.js'
import { TRAIN_RUNNERS } from './train/index.js'
import type { OutputReport, ParityReport, Produced, Runner } from './types.js'
import { runVits } from './vits.js'
import { runWav } from './wav.js'
import { runSpeechToText, runWhisper } from './whisper.js'
import { runWordErrorRate } from './word-error-case.js'

export interface ParityOptions {
  /** Default: the default engine of this machine. */
  readonly engine?: Engine
  readonly signal?: AbortSignal
}

/** `architecture` of case.json → what computes its outputs. */
const RUNNERS: Readonly<Record<string, Runner>> = Object.freeze({
  llama: llamaRunner(),
  'gguf-llama': llamaRunner(),
  'llama+peft-lora': llamaRunner('peft'),
  'llama+peft-prompt': llamaRunner('peft'),
  'llama+peft-prefix': llamaRunner('peft'),
  'lit-llama': llamaRunner(),
  'lit-llama+lora': llamaRunner('lit-lora'),
  'lit-llama+gptq': llamaRunner(),
  'lit-llama+adapter': runLlamaAdapter,
  pandagpt: runPandaGpt,
  'pandagpt-e2e': runPandaFiles,
  whisper: runWhisper,
  'whisper-e2e': runSpeechToText,
  'frontend-whisper-logmel': runLogMel,
  'tokenizer-llama': runTokenizer,
  'tokenizer-gpt2': runTokenizer,
  loader: runLoader,
  'gguf-dequant': runGgufBlocks,
  'codec-wav': runWav,
  'clip-text': runDiffusionText,
  'openclip-text': runDiffusionText,
  'sd-unet': runUnet,
  'sd-vae': runVae,
  'sd-unclip': runUnclip,
  'sd-scheduler': runSchedulers,
  'sd-pipeline': runPipeline,
  'sd-e2e': runPrompt,
  vits: runVits,
  'codec-image': runImage,
  'tokenizer-clip': runClipTokenizer,
  'tokenizer-vits': runCharacterTokenizer,
  imagebind: runImageBind,
  'imagebind-e2e': runImageBindFiles,
  'imagebind-lora': runImageBind,
  'imagebind-lora-mobilefm': runImageBind,
  'frontend-imagebind-image': runImageFrontEnd,
  'frontend-imagebind-video': runVideoFrontEnd,
  'frontend-imagebind-audio': runSoundFrontEnd,
  ...TRAIN_RUNNERS,
})

/** Where `architecture` is missing or says less than the name: beginnings of names, the longest that fits. */
const RUNNERS_BY_NAME: Readonly<Record<string, Runner>> = Object.freeze({
  'llama-hf': llamaRunner(),
  'llama-meta': llamaRunner(),
  'llama-peft': llamaRunner('peft'),
  'gguf-llama': llamaRunner(),
  'litllama-base': llamaRunner(),
  'litllama-lora': llamaRunner('lit-lora'),
  'litllama-gptq': llamaRunner(),
  whisper: runWhisper,
  'e2e-whisper': runSpeechToText,
  'frontend-whisper-logmel': runLogMel,
  'tokenizer-llama': runTokenizer,
  'tokenizer-whisper-en': runTokenizer,
  loader: runLoader,
  'gguf-blocks': runGgufBlocks,
  'codec-wav': runWav,
  'codec-image': runImage,
  'frontend-imagebind-audio': runSoundFrontEnd,
  'frontend-imagebind-image': runImageFrontEnd,
  'frontend-imagebind-video': runVideoFrontEnd,
  'tokenizer-clip': runClipTokenizer,
  'tokenizer-vits': runCharacterTokenizer,
  'e2e-imagebind': runImageBindFiles,
  'imagebind-': runImageBind,
  'metric-wer': runWordErrorRate,
  'metric-bleu': metricRunner('bleu'),
  'metric-classification': metricRunner('classification'),
  'metric-coco-bbox': metricRunner('bbox'),
  'metric-coco-keypoints': metricRunner('keypoints'),
  'metric-fid': metricRunner('fid'),
  'metric-image-quality': metricRunner('imageQuality'),
  'metric-mcd': metricRunner('mcd'),
  'metric-misc': metricRunner('misc'),
  'metric-retrieval': metricRunner('retrieval'),
  'metric-rouge-cider': metricRunner('rougeCider'),
  'metric-segmentation': metricRunner('segmentation'),
  'metric-slurp': metricRunner('slurp'),
  'metric-squad': metricRunner('squad'),
})

function runnerOf({ architecture, name }: ParityCase): Runner | undefined {
  if (Object.hasOwn(RUNNERS, architecture)) return RUNNERS[architecture]
  // Another architecture that is named is not guessed at.
  if (architecture !== '' && architecture !== 'metric') return undefined
  const starts = Object.keys(RUNNERS_BY_NAME).filter((start) => name.startsWith(start))
  const longest = starts.sort((a, b) => b.length - a.length)[0]
  return longest === undefined ? undefined : RUNNERS_BY_NAME[longest]
}

/**
 * Runs one case and compares every output that it declares.
 * What stops a case (a checkpoint that does not open, a graph that does not run) is a failed report with its `code`.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` when the folder is no case, `ENGINE_UNAVAILABLE`, `ABORTED`
 */
export async function runParity(folder: string, options: ParityOptions = {}): Promise<ParityReport> {
  const { signal } = options
  throwIfAborted(signal)
  using parityCase = openCase(folder)
  const { name } = parityCase
  const runner = runnerOf(parityCase)
  if (!runner) {
    const skipped = `architecture "${parityCase.architecture}" is not part of this version`
    return { name, pass: false, outputs: [], skipped, code: 'NOT_AVAILABLE' }
  }
  const engine = options.engine ?? (await openEngine())
  try {
    const outputs = compareAll(parityCase, await runner({ parityCase, engine, signal }))
    const pass = outputs.length > 0 && outputs.every((output) => output.pass)
    return { name, pass, outputs, ...(pass ? {} : { code: 'PARITY_FAILED' }) }
  } catch (error) {
    if (isM4Error(error, 'ABORTED')) throw error
    const { code, message } = wrapSystemError(error, `Case ${name}`)
    return { name, pass: false, outputs: [], code, error: message }
  }
}

/**
 * Runs a case folder, or every case folder below it (by name).
 * @throws M4Error as `runParity`; `FILE_NOT_FOUND` when the folder is missing or holds no case
 */
export async function runParityAll(folder: string, options: ParityOptions = {}): Promise<ParityReport[]> {
  const folders = caseFolders(folder)
  if (!folders.length)
    throw new M4Error('FILE_NOT_FOUND', `${folder} holds no case: neither it nor a folder in it has a case.json.`, {
      hint: 'Give a case folder, or the folder that holds them.',
      details: { path: folder },
    })
  const reports: ParityReport[] = []
  for (const path of folders) reports.push(await runParity(path, options))
  return reports
}

/** The folder itself when it is a case, else those of its folders that are, by name; maybe none. @throws M4Error `FILE_NOT_FOUND`, `IO` */
export function caseFolders(folder: string): string[] {
  if (isFile(join(folder, 'case.json'))) return [folder]
  try {
    return readdirSync(folder)
      .sort()
      .map((name) => join(folder, name))
      .filter((path) => isFile(join(path, 'case.json')))
  } catch (error) {
    throw wrapSystemError(error, `Reading ${folder}`)
  }
}

function compareAll(parityCase: ParityCase, { tensors, checks = [], exact }: Produced): OutputReport[] {
  const compared = parityCase.outputs.map((spec): OutputReport => {
    const got = tensors?.get(spec.name)
    if (got) return compareTensor(spec, parityCase.expected(spec), got, exact)
    const note = 'this version does not compute this output'
    return { name: spec.name, maxAbs: Number.MAX_VALUE, maxRel: Number.MAX_VALUE, pass: false, note }
  })
  return [...compared, ...checks]
}
