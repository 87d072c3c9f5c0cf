/** Firmware images of two megabytes, written by hand: one backbone with an embedding and a decoder step. No recipe, no checkpoint. */

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256Hex } from '../../src/core/hash.js'
import {
  type Abi,
  abiId,
  type BlobName,
  canonicalJson,
  type GraphEntry,
  type Manifest,
  parseManifest,
} from '../../src/firmware/manifest.js'
import { encodeModel, type Graph, GraphBuilder, type GraphTensor, tensorFrom } from '../../src/graph/index.js'

export interface ToyOptions {
  readonly name?: string
  readonly version?: string
  readonly rollbackIndex?: number
  /** Other seed, other weights, other digest. */
  readonly seed?: number
  /** A manifest that lies in a way that no digest shows, or a graph that runs but gives no numbers. */
  readonly fault?: 'undeclared-input' | 'missing-output' | 'not-finite' | 'not-a-model'
}

const VOCABULARY = 32
const WIDTH = 64
const HEADS = 4
const HEAD_WIDTH = 16
/** A head of 2 MiB: ONNX Runtime aligns, and so safely prepacks, only weights above 1 MiB. */
const HEAD_OUT = 8192

/** Writes a toy image into `folder` and gives its manifest. */
export async function writeToyImage(folder: string, options: ToyOptions = {}): Promise<Manifest> {
  const { name = 'toy', version = '1.0.0', rollbackIndex = 0, seed = 1, fault } = options
  await mkdir(join(folder, 'blobs'), { recursive: true })
  const blobs: Record<BlobName, { bytes: number }> = {}
  const blob = async (bytes: Uint8Array): Promise<BlobName> => {
    const name: BlobName = `sha256-${sha256Hex(bytes)}`
    await writeFile(join(folder, 'blobs', name), bytes)
    blobs[name] = { bytes: bytes.length }
    return name
  }
  const graphEntry = async (graph: Graph): Promise<GraphEntry> => {
    // The data file is named after its digest, so it is made first; the second pass names it.
    const chunks: Uint8Array[] = []
    const collect = (chunk: Uint8Array) => void chunks.push(chunk.slice())
    await encodeModel(graph, { externalData: { location: 'data', write: collect } })
    const data = await blob(Buffer.concat(chunks))
    const model = await encodeModel(graph, { externalData: { location: data, write: () => undefined } })
    const port = ({ name, dtype, dims }: Graph['inputs'][number]) => `${name} ${dtype} [${dims.join(', ')}]`
    return { model: await blob(model), data: [data], inputs: graph.inputs.map(port), outputs: graph.outputs.map(port) }
  }
  const embed = await graphEntry(embedGraph(seed))
  let decode = await graphEntry(decodeGraph(seed, fault === 'not-finite'))
  if (fault === 'undeclared-input') decode = { ...decode, inputs: decode.inputs.slice(1) }
  if (fault === 'missing-output') decode = { ...decode, outputs: [...decode.outputs, 'hidden float32 [B, T, 64]'] }
  if (fault === 'not-a-model') {
    await rm(join(folder, 'blobs', decode.model))
    delete blobs[decode.model]
    decode = { ...decode, model: await blob(new TextEncoder().encode('not a model')) }
  }
  const tokenizer = await blob(new TextEncoder().encode('{"toy":true}'))
  const weightBytes = Object.values(blobs).reduce((sum, { bytes }) => sum + bytes, 0)
  const manifest: Manifest = {
    format: 'm4fm-image/1',
    name,
    version,
    rollbackIndex,
    weights: 'random',
    builtWith: { m4fm: '0.0.0-test', onnxruntime: '1.30.0' },
    abi: toyAbi(),
    modules: {
      backbone: {
        architecture: 'toy',
        title: 'toy decoder',
        config: { seed },
        graphs: { embed, decode },
        files: { tokenizer },
        parameters: VOCABULARY * WIDTH + 3 * WIDTH * WIDTH + WIDTH * HEAD_OUT,
        weightBytes,
        quantisation: 'float32',
      },
    },
    blobs,
    operators: {
      types: ['Gather', 'GroupQueryAttention', 'MatMul'],
      counts: { Gather: 2, GroupQueryAttention: 1, MatMul: 4 },
    },
    provenance: [
      {
        role: 'backbone',
        title: 'toy weights',
        uris: [],
        sha256: '0'.repeat(64),
        bytes: weightBytes,
        licence: 'Apache-2.0',
        note: `seed ${seed}`,
      },
    ],
  }
  await writeFile(join(folder, 'manifest.json'), canonicalJson(manifest))
  return parseManifest(await readFile(join(folder, 'manifest.json'), 'utf8'))
}

function toyAbi(): Abi {
  const part = (name: string) => ({ name, out: WIDTH })
  const abi = {
    layers: 1,
    width: WIDTH,
    vocabulary: VOCABULARY,
    kvHeads: HEADS,
    headWidth: HEAD_WIDTH,
    sourceHeadWidth: HEAD_WIDTH,
    sites: { qkv: { path: 'attn/qkv', in: WIDTH, parts: ['q', 'k', 'v'].map(part) } },
  }
  return { id: abiId(abi), ...abi }
}

function weights(dims: readonly number[], seed: number): GraphTensor {
  const data = new Float32Array(dims.reduce((a, b) => a * b, 1))
  // Cheap and different for each seed: tests make hundreds of megabytes of these.
  for (let i = 0, state = seed; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = state / 2 ** 33 - 0.25
  }
  return tensorFrom('float32', dims, data)
}

function embedGraph(seed: number): Graph {
  const g = new GraphBuilder('backbone.embed')
  const table = g.initializer('table', weights([VOCABULARY, WIDTH], seed))
  g.output('embeddings', g.op('Gather', [table, g.input('ids', 'int64', ['B', 'T'])], {}, 'looked'))
  return g.build()
}

/** One attention layer with the ports of a real backbone: caches in place, lengths, wanted positions. */
function decodeGraph(seed: number, notFinite: boolean): Graph {
  const g = new GraphBuilder('backbone.decode')
  const x = g.input('inputs_embeds', 'float32', ['B', 'T', WIDTH]) // [B, T, C]
  const lengths = [g.input('seqlens_k', 'int32', ['B']), g.input('total_sequence_length', 'int32', [])] as const
  const past = ['key', 'value'].map((kind) => g.input(`past/${kind}`, 'float32', ['B', HEADS, 'S', HEAD_WIDTH]))
  const dense = (name: string, i: number) =>
    g.op('MatMul', [x, g.initializer(`${name}/weight`, weights([WIDTH, WIDTH], seed + i))], {}, name)
  const [mixed, key, value] = g.ops(
    'GroupQueryAttention',
    [dense('q', 1), dense('k', 2), dense('v', 3), ...past, ...lengths],
    { num_heads: HEADS, kv_num_heads: HEADS },
    ['mixed', 'presentKey', 'presentValue'],
  )
  const wanted = g.op('Gather', [mixed, g.input('logit_idx', 'int64', ['J'])], { axis: 1 }, 'wanted')
  const head = g.initializer('head/weight', weights([WIDTH, HEAD_OUT], seed + 4))
  const logits = g.op('MatMul', [wanted, head], {}, 'projected')
  g.output('logits', notFinite ? g.op('Log', [g.op('Sub', [logits, logits])], {}, 'infinite') : logits)
  g.output('present/key', key)
  g.output('present/value', value)
  return g.build()
}
