/** Part `memory`: time to load and memory after loading and after the first run, every load in a fresh process. */

import { loadavg } from 'node:os'
import { startContender } from './lib/child.mjs'
import { llamaName, m4Name } from './lib/contenders.mjs'
import { flashedImageOf, ggufOf, imageOf } from './lib/prepare.mjs'
import { openResult } from './lib/results.mjs'
import { say } from './lib/say.mjs'

const QUANTISATIONS = ['int4', 'int8-b128', 'w8a8']
const GGUF_NAMES = ['q4', 'q8', 'iq2']

/** @param options `rounds`, `threads`, `llama`, `only` (quantisations and GGUF names), `fresh` */
export async function memory({ rounds, threads, llama, only, fresh }) {
  const wanted = (name) => !only || only.includes(name)
  const contenders = [
    ...QUANTISATIONS.filter(wanted).flatMap((quantisation) =>
      [false, true].map((prepacked) => ({
        name: m4Name(quantisation, prepacked),
        options: async () => ({
          runtime: 'm4',
          prepacked,
          image: prepacked ? await flashedImageOf(quantisation, threads) : await imageOf(quantisation),
        }),
      })),
    ),
    ...(llama ? GGUF_NAMES.filter(wanted) : []).map((gguf) => ({
      name: llamaName(gguf),
      options: async () => ({ runtime: 'llama.cpp', gguf: await ggufOf(gguf) }),
    })),
  ]
  const protocol = {
    threads,
    rounds,
    contenders: contenders.map(({ name }) => name),
    load: 'model, tokenizer and context of 1,024 tokens in a fresh process, files in the page cache; the runtime itself apart',
    memory: 'smaps_rollup of the process: Rss and Anonymous; the bare Node process with the harness is `before`',
    firstRun: 'a prompt of 128 tokens and 8 decoded',
  }
  const result = openResult('memory', protocol, { fresh })
  const { data } = result
  data.rounds ??= []
  for (const { options } of contenders) await options()
  while (data.rounds.length < rounds) {
    const taken = { loadAverage: loadavg()[0] }
    for (const { name, options } of contenders) {
      const contender = startContender({ threads, contextTokens: 1024, ...(await options()) })
      try {
        const { runtimeMs, loadMs, digest, before, memory: afterLoad } = await contender.ask('load')
        await contender.ask('decode', { context: 128, tokens: 8, seed: 1 })
        taken[name] = { runtimeMs, loadMs, digest, before, afterLoad, afterFirstRun: await contender.ask('memory') }
      } finally {
        await contender.stop()
      }
    }
    data.rounds.push(taken)
    result.save(data.rounds.length >= rounds)
    say(`memory: round ${data.rounds.length} of ${rounds}`)
  }
}
