/** The TTS Transformer as a voice: its loop against written-down steps, and random weights from text to samples. */

import { afterEach, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../core/disposal.js'
import { normalSource } from '../core/random.js'
import { openEngine } from '../engine/index.js'
import type { Binding, Engine, Session, Tensor } from '../engine/types.js'
import {
  TTS_TRANSFORMER_ARCHITECTURES,
  type TtsTransformerConfig,
  type VocoderConfig,
} from '../models/tts-transformer/index.js'
import type { WeightTensor } from '../models/weights.js'
import { EXACT, openGraph } from '../parity/graphs.js'
import { fromCharacters, loadTokenizer } from '../tokenizers/index.js'
import {
  dictionaryTokenizer,
  type TtsTransformerFacts,
  type TtsTransformerSessions,
  TtsTransformerVoice,
} from './tts-transformer-voice.js'
import type { Manner } from './voice.js'

let engine: Engine
beforeAll(async () => {
  engine = await openEngine()
})
afterEach(() => expect(liveHandles()).toEqual({}))

const DICTIONARY = 'AH0 900\nHH 80\nL 70\nOW1 6\n. 5\n'
const ALPHABET = { a: 4, b: 5, c: 6, d: 7, ' ': 8 }
const alphabet = () => loadTokenizer(fromCharacters(ALPHABET, null))

const manner = (change: Partial<Manner> = {}): Manner => ({
  voice: undefined,
  speed: 1,
  normal: normalSource(0),
  variation: 1,
  signal: new AbortController().signal,
  onStage: () => {},
  ...change,
})

describe('the loop', () => {
  const FACTS: TtsTransformerFacts = {
    endId: 2,
    melBands: 2,
    framesPerStep: 2,
    prenetLayers: 2,
    prenetWidth: 3,
    prenetDropout: 0.5,
    speakers: 1,
    maxSymbols: 6,
    maxSteps: 5,
    stopProbability: 0.5,
    sampleRateHz: 100,
    hopSamples: 3,
  }
  interface Step {
    readonly frames: number[]
    readonly position: number
    readonly keep: number[]
    readonly seqlens: number
    readonly total: number
  }
  const float32 = (dims: readonly number[], fill = 0) =>
    engine.tensor('float32', dims, new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(fill))

  /** Sessions that write down what they are given. Step i gives frames of value i + 1, and says stop at step `last`. */
  function recorded(last: number, hop = FACTS.hopSamples) {
    const steps: Step[] = []
    const seen: { ids?: number[]; features?: number[]; cross: number } = { cross: 0 }
    const plain = { endProfiling: () => '', dispose() {}, [Symbol.dispose]() {} }
    const noBind = (): Binding => {
      throw new Error('not bound')
    }
    const encode: Session = {
      ...plain,
      inputs: [],
      outputs: ['memory', 'cross/layers.0/key'].map((name) => ({ name, dtype: 'float32', dims: [] })),
      bind: noBind,
      run: async ({ ids }, fetches) => {
        seen.ids = Array.from(ids!.data as BigInt64Array, Number)
        return Object.fromEntries(fetches!.map((name) => [name, float32([1, 1, 1, 8])]))
      },
    }
    const decode: Session = {
      ...plain,
      inputs: [{ name: 'past/layers.0/key', dtype: 'float32', dims: [1, 1, 'S', 8] }],
      outputs: [],
      run: async () => ({}),
      bind: () => {
        const bound = new Map<string, Tensor>()
        return {
          bindInput: (name, tensor) => void bound.set(name, tensor),
          bindOutput: (name, tensor) => void bound.set(name, tensor!),
          output: (name) => bound.get(name)!,
          dispose() {},
          [Symbol.dispose]() {},
          async run() {
            const list = (name: string) => Array.from(bound.get(name)!.data as ArrayLike<number | bigint>, Number)
            const step = steps.length
            if (bound.has('cross/layers.0/key')) seen.cross++
            steps.push({
              frames: list('frames'),
              position: list('position')[0]!,
              keep: list('keep'),
              seqlens: list('seqlens_k')[0]!,
              total: list('total_sequence_length')[0]!,
            })
            ;(bound.get('features')!.data as Float32Array).fill(step + 1)
            ;(bound.get('stop')!.data as Float32Array).fill(step === last ? 0.75 : 0.5)
          },
        }
      },
    }
    const postnet: Session = {
      ...plain,
      inputs: [],
      outputs: [],
      bind: noBind,
      run: async ({ features }) => {
        seen.features = Array.from(features!.data as Float32Array)
        return { mel: float32([1, FACTS.melBands, features!.dims[1]! * FACTS.framesPerStep]) }
      },
    }
    const vocode: Session = {
      ...plain,
      inputs: [],
      outputs: [],
      bind: noBind,
      run: async ({ mel }) => ({ waveform: float32([1, mel!.dims[2]! * hop], 0.5) }),
    }
    return { steps, seen, sessions: { encode, decode, postnet, vocode } satisfies TtsTransformerSessions }
  }

  const voiceOf = (sessions: TtsTransformerSessions, facts: Partial<TtsTransformerFacts> = {}) =>
    new TtsTransformerVoice(engine, sessions, { tokenizer: alphabet(), facts: { ...FACTS, ...facts } })

  test('zeros first, then what the step before gave; the step that says stop is the last', async () => {
    const { steps, seen, sessions } = recorded(2)
    using voice = voiceOf(sessions)
    const stages: string[] = []
    const said = await voice.say('ab', manner({ variation: 0, onStage: (name) => void stages.push(name) }))
    expect(seen.ids).toEqual([4, 5, 2])
    expect(steps.map(({ frames }) => frames)).toEqual([
      [0, 0, 0, 0],
      [1, 1, 1, 1],
      [2, 2, 2, 2],
    ])
    expect(steps.map(({ position, seqlens, total }) => [position, seqlens, total])).toEqual([
      [0, 0, 1],
      [1, 1, 2],
      [2, 2, 3],
    ])
    expect(steps.every(({ keep }) => keep.every((value) => value === 1))).toBe(true)
    expect(seen.cross).toBe(3)
    expect(seen.features).toEqual([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])
    expect(said!.symbols).toBe(2)
    expect(said!.samples.length).toBe(3 * 2 * 3)
    expect(stages).toEqual(['encode', 'synthesise'])
    // A second sentence begins with zeros again.
    await expect(voice.say('c', manner())).rejects.toMatchObject({ code: 'CONTEXT_OVERFLOW' })
    expect(steps[3]!.frames).toEqual([0, 0, 0, 0])
  })

  test('dropout: seeded, of the right share, never changing the mean; variation scales it', async () => {
    const drawn = async (seed: number, variation: number, dropout = 0.25) => {
      const { steps, sessions } = recorded(0)
      using voice = voiceOf(sessions, { prenetWidth: 4000, prenetDropout: dropout })
      await voice.say('a', manner({ normal: normalSource(seed), variation }))
      return steps[0]!.keep
    }
    const keep = await drawn(1, 1)
    const kept = Math.fround(1 / 0.75)
    expect(new Set(keep)).toEqual(new Set([0, kept]))
    expect(keep.filter((value) => value === 0).length / keep.length).toBeCloseTo(0.25, 1)
    expect(keep.reduce((a, b) => a + b, 0) / keep.length).toBeCloseTo(1, 1)
    expect(await drawn(1, 1)).toEqual(keep)
    expect(await drawn(2, 1)).not.toEqual(keep)
    expect(new Set(await drawn(1, 0.5))).toEqual(new Set([0.5, Math.fround(1 + 0.5 * (1 / 0.75 - 1))]))
    expect(new Set(await drawn(1, 1, 0))).toEqual(new Set([1]))
  })

  test('a sentence without an end, or of too many symbols', async () => {
    const { steps, sessions } = recorded(99)
    using voice = voiceOf(sessions)
    await expect(voice.say('ab', manner())).rejects.toMatchObject({ code: 'CONTEXT_OVERFLOW', details: { steps: 5 } })
    expect(steps.length).toBe(5)
    await expect(voice.say('abcdab', manner())).rejects.toMatchObject({
      code: 'CONTEXT_OVERFLOW',
      details: { symbols: 6, maxSymbols: 5 },
    })
    // 60 s are 25 steps of 2.4 s.
    using slow = voiceOf(recorded(99).sessions, { maxSteps: 1000, hopSamples: 120 })
    await expect(slow.say('ab', manner())).rejects.toMatchObject({ details: { steps: 25 } })
  })

  test('what the model has not is refused', async () => {
    using voice = voiceOf(recorded(0).sessions)
    await expect(voice.say('a', manner({ speed: 2 }))).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    expect(() => voice.check(0)).not.toThrow()
    for (const name of [1, 'anna', '', -1]) expect(() => voice.check(name)).toThrow(/one voice/)
    expect(await voice.say('777', manner())).toBeUndefined()
    using several = voiceOf(recorded(0).sessions, { speakers: 3 })
    expect(() => several.check('2')).not.toThrow()
    expect(() => several.check(3)).toThrow(/0 to 2/)
    using other = voiceOf(recorded(0, 7).sessions)
    await expect(other.say('a', manner())).rejects.toMatchObject({ code: 'IMAGE_INVALID' })
  })

  test('gives up when told to', async () => {
    const controller = new AbortController()
    const { steps, sessions } = recorded(99)
    using voice = voiceOf(sessions, { maxSteps: 1000 })
    const onStage = () => controller.abort()
    await expect(voice.say('a', manner({ signal: controller.signal, onStage }))).rejects.toMatchObject({
      code: 'ABORTED',
    })
    expect(steps).toEqual([])
  })
})

describe('random weights', () => {
  const stack = { width: 16, feedForward: 32, heads: 2, layers: 2, normFirst: true }
  const CONFIG: TtsTransformerConfig = {
    vocabulary: 9,
    encoder: { ...stack, convLayers: 2, convKernel: 5 },
    decoder: stack,
    prenet: { layers: 2, width: 8, dropout: 0.5 },
    postnet: { layers: 2, width: 8, kernel: 3 },
    melBands: 6,
    framesPerStep: 3,
    speakers: 2,
    speakerWidth: 4,
    maxSymbols: 50,
    maxSteps: 300,
    stopProbability: 0.5,
    sampleRateHz: 16_000,
    hopSamples: 8,
    frameStatistics: null,
  }
  const VOCODER: VocoderConfig = {
    melBands: 6,
    width: 8,
    rates: [4, 2],
    kernels: [8, 4],
    blockKernels: [3],
    dilations: [[1, 3]],
    edgeKernels: [7, 7],
    slope: 0.1,
    outputBias: true,
  }
  const { 'tts-transformer': acoustic, 'hifi-gan': vocoder } = TTS_TRANSFORMER_ARCHITECTURES

  async function openVoice(weights: Map<string, WeightTensor>): Promise<TtsTransformerVoice> {
    const graphs = {
      ...acoustic.graphs(CONFIG, weights, EXACT),
      ...vocoder.graphs(VOCODER, vocoder.random(VOCODER, 2), EXACT),
    }
    const sessions: [string, Session][] = []
    for (const [name, make] of Object.entries(graphs)) sessions.push([name, await openGraph(engine, make())])
    const facts = acoustic.runtimeConfig(CONFIG) as unknown as TtsTransformerFacts
    return new TtsTransformerVoice(engine, Object.fromEntries(sessions) as unknown as TtsTransformerSessions, {
      tokenizer: alphabet(),
      facts,
    })
  }

  test('from text to samples; every step is the last', async () => {
    using voice = await openVoice(acoustic.random(CONFIG, 1))
    const { samples, symbols } = (await voice.say('abba cd', manner()))!
    expect(symbols).toBe(7)
    expect(samples.length).toBe(3 * 8)
    expect(samples.some((value) => value !== 0)).toBe(true)
    expect(samples.every((value) => Math.abs(value) <= 1)).toBe(true)
  })

  test('the seed decides how long it speaks and what it says; another voice, another sound', async () => {
    const weights = acoustic.random(CONFIG, 1)
    // What dropout leaves weighs more than what stays the same from step to step.
    const prenet = weights.get('decoder/in')!
    weights.set('decoder/in', { ...prenet, float32: () => prenet.float32().map((value) => 20 * value) })
    const row = Float32Array.from({ length: 16 }, normalSource(8))
    weights.set('decoder/stop', { name: 'stop', dims: [1, 16], float32: () => row })
    weights.set('decoder/stop/bias', { name: 'stop', dims: [1], float32: () => Float32Array.of(-1) })
    using voice = await openVoice(weights)
    const say = async (seed: number, change: Partial<Manner> = {}) =>
      (await voice.say('abba cd', manner({ normal: normalSource(seed), ...change })))!.samples
    const first = await say(1)
    expect(first.length % 24).toBe(0)
    expect(await say(1)).toEqual(first)
    const lengths = [first.length, (await say(2)).length, (await say(3)).length]
    expect(Math.max(...lengths)).toBeGreaterThan(24)
    expect(await say(2)).not.toEqual(first)
    expect(await say(1, { voice: 1 })).not.toEqual(first)
  })
})

describe('a dictionary of fairseq', () => {
  test('symbols with spaces between, ids from 4 on', () => {
    const tokenizer = dictionaryTokenizer(DICTIONARY)
    expect(tokenizer.vocabularySize).toBe(9)
    expect(tokenizer.encode('HH AH0  L OW1 .')).toEqual([5, 4, 6, 7, 8])
    expect(tokenizer.encode('HH', { addBos: true, addEos: true })).toEqual([0, 5, 2])
    expect(tokenizer.encode('hello </s>')).toEqual([3, 3])
    expect(tokenizer.encode(' ')).toEqual([])
    expect(tokenizer.decode([5, 4])).toBe('HH AH0')
    expect(() => tokenizer.decode([9])).toThrow(/9 symbols/)
  })

  test.each(['AH0', 'AH0 1\nAH0 2', 'A B 1', '<s> 1'])('%j is none', (text) => {
    expect(() => dictionaryTokenizer(text)).toThrow(/line/)
  })
})
