/** A small base and trained parts for it, for the tests of this room. */

import { randomSource } from '../../core/random.js'
import { type Abi, abiId } from '../../firmware/manifest.js'
import type { AdapterFacts } from '../package-manifest.js'
import { partPadding } from '../places.js'
import type { TrainedLora, TrainedPart } from '../trained.js'
import type { Verdict, VerdictRecord } from '../verdicts.js'

/** 4 query heads and 2 key/value heads of width `from`, in a graph that has them `to` wide. */
export function baseOf(from: number, to: number): Abi {
  const facts = {
    layers: 3,
    width: 24,
    vocabulary: 30,
    kvHeads: 2,
    headWidth: to,
    sourceHeadWidth: from,
    sites: {
      qkv: {
        path: 'attn/qkv',
        in: 24,
        parts: [
          { name: 'q', out: 4 * to },
          { name: 'k', out: 2 * to },
          { name: 'v', out: 2 * to },
        ],
      },
      o: { path: 'attn/o', in: 4 * to, parts: [{ name: 'o', out: 24 }] },
      gateUp: {
        path: 'mlp/gateUp',
        in: 24,
        parts: [
          { name: 'gate', out: 10 },
          { name: 'up', out: 10 },
        ],
      },
      down: { path: 'mlp/down', in: 10, parts: [{ name: 'down', out: 24 }] },
    },
  }
  return { id: abiId(facts), ...facts }
}

export const random = (seed: number, length: number) => {
  const next = randomSource(seed)
  return Float32Array.from({ length }, () => next() - 0.5)
}

/** A part as training leaves it: zero in the padding. */
export function part(
  abi: Abi,
  layer: number,
  site: string,
  name: TrainedPart['part'],
  rank: number,
  alpha: number,
): TrainedPart {
  const { inputs, outputs } = partPadding(abi, { site, part: name })
  const seed = layer * 100 + rank * 10 + name.charCodeAt(0)
  const a = random(seed, inputs.length * rank)
  const b = random(seed + 1, rank * outputs.length)
  for (let i = 0; i < a.length; i++) if (inputs[Math.floor(i / rank)]) a[i] = 0
  for (let i = 0; i < b.length; i++) if (outputs[i % outputs.length]) b[i] = 0
  return { layer, site, part: name, rank, alpha, a, b }
}

export const everyPart = (abi: Abi, layer: number, rank: number, alpha: number): TrainedPart[] =>
  Object.entries(abi.sites).flatMap(([site, { parts }]) =>
    parts.map(({ name }) => part(abi, layer, site, name as TrainedPart['part'], rank, alpha)),
  )

/** LoRA of q and v in every layer. */
export const trainedLora = (abi: Abi, rank = 4): TrainedLora => ({
  kind: 'lora',
  rsLora: false,
  parts: Array.from({ length: abi.layers }, (_, layer) => [
    part(abi, layer, 'qkv', 'q', rank, 8),
    part(abi, layer, 'qkv', 'v', rank, 8),
  ]).flat(),
})

/** What an author says of `trainedLora`, with two samples. */
export const factsOf = (abi: Abi): AdapterFacts => ({
  name: 'news',
  version: '1.2.0',
  app: 'org.example.reader',
  task: 'T8',
  path: 2,
  kind: 'lora',
  prompt: { template: '### Sentence:\n{text}\n\n### Category:\n', labels: ['World', 'Sports'] },
  base: {
    abi: abi.id,
    module: 'backbone',
    image: { name: 'tiny-random', digest: 'a'.repeat(64) },
    sizes: { layers: abi.layers, width: abi.width },
  },
  training: {
    data: { digest: 'b'.repeat(64), samples: 40 },
    recipe: { learningRate: 3e-4, places: ['q', 'v'], schedule: { kind: 'cosine', warmup: 4 } },
    seed: 7,
    steps: 30,
    seconds: 12.5,
    peakMemoryBytes: 90_000_000,
    loss: { first: 4.61, last: 0.37 },
  },
  metric: { name: 'accuracy', value: 0.5, count: 2, stderr: 0.35 },
  licence: 'Apache-2.0',
  created: '2026-11-20T09:30:00Z',
})

export const SAMPLES = [
  { text: 'Rain again', label: 'World' },
  { text: 'Two to one', label: 'Sports' },
]

/** What a device found of the package `adapter` on `image`, by their digests. */
export const verdictOf = (verdict: Verdict, adapter: string, image: string): VerdictRecord => ({
  format: 1,
  verdict,
  reason: 'It fell by more than 0.020: accuracy 0.400 ± 0.100 (n 24), recorded 0.900.',
  adapter: { name: 'news', digest: adapter },
  image: { name: 'tiny-random', digest: image },
  measured: { name: 'accuracy', value: 0.4, count: 24, stderr: 0.1 },
  base: { name: 'accuracy', value: 0.5, count: 24, stderr: 0.1 },
  created: '2026-11-20T10:00:00.125Z',
})
