/** From a path to a checkpoint. The format is told by the first bytes, never by the name. */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { M4Error, wrapSystemError } from '../core/errors.js'
import type { ByteSource } from './byte-source.js'
import { detectFormat, type FileFormat } from './detect.js'
import { openDiffusers } from './diffusers.js'
import { FileSource } from './file.js'
import { openGgmlWhisper } from './ggml-whisper.js'
import { openGguf } from './gguf.js'
import { type JsonObject, parseJson } from './json.js'
import { joinMetaShards } from './meta.js'
import { openOnnx } from './onnx-initializers.js'
import { openSafetensors } from './safetensors.js'
import { joinShards, shardFiles } from './sharded.js'
import { makeCheckpoint } from './tensor.js'
import { isTfjs, openTfjs } from './tfjs.js'
import { openTorchLegacy, openTorchZip } from './torch.js'
import type { Checkpoint } from './types.js'

const READERS: Readonly<Record<Exclude<FileFormat, 'json'>, (source: ByteSource) => Checkpoint>> = Object.freeze({
  safetensors: openSafetensors,
  'torch-zip': openTorchZip,
  'torch-legacy': openTorchLegacy,
  gguf: openGguf,
  'ggml-whisper': openGgmlWhisper,
  onnx: (source) => openOnnx(source, (path) => new FileSource(join(dirname(source.name), path))),
})

/** Index and params files are small; a larger JSON file is something else. */
const MAX_JSON_BYTES = 64 << 20

/**
 * Opens a checkpoint: a file of any known format, a `*.index.json` of shards, a `model.json` of TensorFlow.js, or a folder — a diffusers model, Hugging Face
 * shards, Meta's `consolidated.NN.pth` with `params.json`, or one checkpoint file. Reads headers only.
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`, `UNSAFE_PICKLE`, `USAGE` when a folder holds several models
 */
export function openCheckpoint(path: string): Checkpoint {
  return onDisk(path, () => statSync(path).isDirectory()) ? openFolder(path) : openFile(path)
}

/** A file system call, its system error typed. */
function onDisk<T>(path: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw wrapSystemError(error, `Opening ${path}`)
  }
}

function openFile(path: string): Checkpoint {
  const source = new FileSource(path)
  try {
    const format = detectFormat(source)
    if (format !== 'json') return READERS[format](source)
    const index = readJson(path)
    source.dispose()
    return isTfjs(index) ? openTfjs(path, index, (file) => new FileSource(file)) : openIndex(path, index)
  } catch (error) {
    source.dispose()
    throw error
  }
}

function openFolder(folder: string): Checkpoint {
  const names = onDisk(folder, () => readdirSync(folder)).sort()
  if (names.includes('model_index.json')) return openDiffusers(folder, openCheckpoint)
  const indices = names.filter((name) => name.endsWith('.index.json'))
  const index = indices.find((name) => name.endsWith('.safetensors.index.json')) ?? indices[0]
  if (index) return withConfig(folder, names, openFile(join(folder, index)))
  const ranks = names.filter((name) => /^consolidated\.\d\d\.pth$/.test(name))
  if (ranks.length && names.includes('params.json')) return openMeta(folder, ranks)
  if (names.includes('model.json') && isTfjs(readJson(join(folder, 'model.json'))))
    return openFile(join(folder, 'model.json'))
  return withConfig(folder, names, openFile(join(folder, onlyCheckpoint(folder, names))))
}

/** Hugging Face keeps the configuration beside the weights. What a checkpoint says itself counts more. */
function withConfig(folder: string, names: readonly string[], checkpoint: Checkpoint): Checkpoint {
  if (!names.includes('config.json') || checkpoint.metadata.config !== undefined) return checkpoint
  try {
    const metadata = { ...checkpoint.metadata, config: readJson(join(folder, 'config.json')) }
    return makeCheckpoint(checkpoint.format, folder, checkpoint.tensors.values(), metadata, [checkpoint])
  } catch (error) {
    checkpoint.dispose()
    throw error
  }
}

/** The one checkpoint file of a folder. A torch file beside one safetensors file is the same model in the older format. */
function onlyCheckpoint(folder: string, names: readonly string[]): string {
  const files = names
    .filter((name) => onDisk(name, () => statSync(join(folder, name))).isFile())
    .map((name) => ({ name, format: formatOf(join(folder, name)) }))
    .filter(({ format }) => format !== undefined && format !== 'json')
  const isTorch = (format: FileFormat | undefined) => format === 'torch-zip' || format === 'torch-legacy'
  const [first, ...others] = files.some(({ format }) => format === 'safetensors')
    ? files.filter(({ format }) => !isTorch(format))
    : files
  if (first && !others.length) return first.name
  if (first)
    throw new M4Error('USAGE', `${folder} holds several checkpoints: ${files.map(({ name }) => name).join(', ')}.`, {
      hint: 'Name the file that is meant.',
      details: { files: files.map(({ name }) => name) },
    })
  throw new M4Error('FILE_NOT_FOUND', `${folder} holds no checkpoint.`, {
    hint: 'Expected *.safetensors, *.index.json, consolidated.NN.pth with params.json, *.gguf, *.bin, *.pt, *.pth, *.ckpt or *.onnx.',
  })
}

function formatOf(path: string): FileFormat | undefined {
  using source = new FileSource(path)
  try {
    return detectFormat(source)
  } catch {
    return undefined // a README or a tokenizer: any file that is no checkpoint may lie beside one
  }
}

function openIndex(path: string, index: JsonObject): Checkpoint {
  const folder = dirname(path)
  return openAll(
    shardFiles(path, index),
    (file) => openFile(join(folder, file)),
    (shards) => joinShards(path, index, shards),
  )
}

function openMeta(folder: string, ranks: readonly string[]): Checkpoint {
  const params = readJson(join(folder, 'params.json'))
  const missing = ranks.findIndex((name, rank) => Number(name.split('.')[1]) !== rank)
  if (missing >= 0)
    throw new M4Error(
      'FILE_NOT_FOUND',
      `${folder} has ${ranks.length} consolidated files but none of rank ${missing}.`,
      {
        hint: 'Fetch the missing file.',
      },
    )
  return openAll(
    ranks,
    (name) => openFile(join(folder, name)),
    (shards) => joinMetaShards(folder, [...shards.values()], params),
  )
}

/** Opens every part, or none: what is open when one fails is closed again. */
function openAll(
  names: readonly string[],
  open: (name: string) => Checkpoint,
  join: (shards: ReadonlyMap<string, Checkpoint>) => Checkpoint,
): Checkpoint {
  const shards = new Map<string, Checkpoint>()
  try {
    for (const name of names) shards.set(name, open(name))
    return join(shards)
  } catch (error) {
    for (const shard of shards.values()) shard.dispose()
    throw error
  }
}

function readJson(path: string): JsonObject {
  if (onDisk(path, () => statSync(path)).size > MAX_JSON_BYTES)
    throw new M4Error('FORMAT_INVALID', `${basename(path)} is larger than any index of shards.`, {
      hint: 'Name the checkpoint itself.',
    })
  return parseJson(
    path,
    onDisk(path, () => readFileSync(path, 'utf8')),
  )
}
