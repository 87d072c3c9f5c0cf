/** Part `speed`: decode and prefill, contenders interleaved round by round so that all see the same moods of the machine. */

import { loadavg } from 'node:os'
import { startContender } from './lib/child.mjs'
import { llamaName, m4Name } from './lib/contenders.mjs'
import { ggufOf, imageOf } from './lib/prepare.mjs'
import { openResult } from './lib/results.mjs'
import { say } from './lib/say.mjs'

const MODELS = Object.freeze([
  ['m4', 'int4'],
  ['llama.cpp', 'q4'],
  ['m4', 'int8-b128'],
  ['llama.cpp', 'q8'],
  ['m4', 'w8a8'],
  ['m4', 'int4-b128'],
  ['llama.cpp', 'q4mix'],
  ['m4', 'int8'],
  ['llama.cpp', 'iq2'],
])

const DECODE_CONTEXT = 128
const DECODE_TOKENS = 64

/** What is measured in a round, in this order for each contender. */
const MEASURES = Object.freeze({
  prefill128: { tokens: 128, run: (ask, seed) => ask('prefill', { tokens: 128, seed }) },
  prefill512: { tokens: 512, run: (ask, seed) => ask('prefill', { tokens: 512, seed }) },
  decode: {
    tokens: DECODE_TOKENS,
    run: (ask, seed) => ask('decode', { context: DECODE_CONTEXT, tokens: DECODE_TOKENS, seed }),
  },
})

/** @param options `rounds`, `threads`, `llama` (false: llama.cpp is not there), `only` (names), `fresh` */
export async function speed({ rounds, threads, llama, only, fresh }) {
  const models = MODELS.filter(([runtime, model]) => (llama || runtime === 'm4') && (!only || only.includes(model)))
  const protocol = {
    model: 'TinyLlama 1.1B Chat, all contenders from the same IQ2_XXS file',
    threads,
    rounds,
    contenders: models.map(([runtime, model]) => nameOf(runtime, model)),
    order:
      'one process each, all loaded; in each round every contender does each measure once, one process working at a time',
    decode: `greedy, ${DECODE_TOKENS} tokens after a prompt of ${DECODE_CONTEXT}, sampling included`,
    prefill: 'prompts of 128 and 512 tokens that no cache knows, logits of the last token',
    unit: 'tokens per second; cpuMs is the process time of both threads',
  }
  const result = openResult('speed', protocol, { fresh })
  const { data } = result
  data.rounds ??= []
  if (data.rounds.length >= rounds) return say(`speed: ${rounds} rounds are there already`)
  const running = []
  try {
    data.models ??= {}
    for (const [runtime, model] of models) {
      const contender = startContender(await optionsOf(runtime, model, threads))
      const name = nameOf(runtime, model)
      running.push({ name, contender })
      const { version, digest, weightBytes } = await contender.ask('load')
      data.models[name] = { version, digest, weightBytes }
      // The first run pages the weights in.
      await contender.ask('decode', { context: 32, tokens: 4, seed: 0 })
      say(`loaded ${name}`)
    }
    while (data.rounds.length < rounds) {
      const round = data.rounds.length
      const taken = { loadAverage: loadavg()[0] }
      for (const { name, contender } of running) taken[name] = await measure(contender, round)
      data.rounds.push(taken)
      result.save(data.rounds.length >= rounds)
      say(`round ${round + 1} of ${rounds}: ${summary(taken)}`)
    }
  } finally {
    for (const { contender } of running) await contender.stop()
  }
}

const nameOf = (runtime, model) => (runtime === 'm4' ? m4Name(model) : llamaName(model))

async function optionsOf(runtime, model, threads) {
  const common = { runtime, threads, contextTokens: 1024 }
  return runtime === 'm4' ? { ...common, image: await imageOf(model) } : { ...common, gguf: await ggufOf(model) }
}

async function measure(contender, round) {
  const taken = {}
  for (const [i, [name, { tokens, run }]] of Object.entries(MEASURES).entries()) {
    const { ms, cpuMs } = await run((operation, args) => contender.ask(operation, args), 1 + round * 10 + i)
    taken[name] = { tokensPerSecond: (tokens * 1000) / ms, ms, cpuMs }
  }
  return taken
}

const summary = (taken) =>
  Object.entries(taken)
    .filter(([, measured]) => measured.decode)
    .map(
      ([name, { decode, prefill512 }]) =>
        `${name} ${decode.tokensPerSecond.toFixed(1)}/${prefill512.tokensPerSecond.toFixed(0)}`,
    )
    .join(' · ')
