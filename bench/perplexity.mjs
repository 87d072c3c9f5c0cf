/** Part `perplexity`: each quantisation and llama.cpp on the source file, over the same token windows. */

import { startContender } from './lib/child.mjs'
import { llamaName, m4Name, QUANTISATIONS } from './lib/contenders.mjs'
import { ggufOf, imageOf } from './lib/prepare.mjs'
import { openResult } from './lib/results.mjs'
import { say, sayProgress } from './lib/say.mjs'
import { perplexityTexts } from './lib/texts.mjs'

const WINDOW = 511
const BOS = 1

/** @param options `threads`, `llama`, `only` (quantisations, GGUF names), `windows`, `fresh` */
export async function measurePerplexity({ threads, llama, only, windows: count, fresh }) {
  const wanted = (name) => !only || only.includes(name)
  const contenders = [
    ...(llama && wanted('iq2') ? [['llama.cpp', 'iq2']] : []),
    ...Object.keys(QUANTISATIONS)
      .filter(wanted)
      .map((quantisation) => ['m4', quantisation]),
    ...(llama ? ['q8', 'q4'].filter(wanted) : []).map((gguf) => ['llama.cpp', gguf]),
  ]
  const texts = perplexityTexts()
  const protocol = {
    windows: `${count} of begin-of-text and ${WINDOW} tokens each, one after the other from the start of the text; all but the first scored`,
    texts: texts.map(({ name, about }) => ({ name, about })),
    tokens: 'tokenised once by M4; the same ids for all',
    llamaCpp: 'full distribution at temperature 1 from node-llama-cpp controlledEvaluate',
    threads,
  }
  const result = openResult('perplexity', protocol, { fresh })
  const { data } = result
  for (const [runtime, model] of contenders) {
    const name = runtime === 'm4' ? m4Name(model) : llamaName(model)
    if (texts.every((text) => data[text.name]?.[name])) continue
    const files = runtime === 'm4' ? { image: await imageOf(model) } : { gguf: await ggufOf(model) }
    const contender = startContender({ runtime, threads, contextTokens: 512, ...files })
    try {
      await contender.ask('load')
      for (const text of texts) {
        data[text.name] ??= {}
        if (data[text.name][name]) continue
        const ids = await windowsOf(text.text, count)
        const onProgress = ({ done, total }) => sayProgress(`${name}, ${text.name}`, done, total)
        data[text.name][name] = await contender.ask('perplexity', { windows: ids }, onProgress)
        result.save()
        say(`${text.name}: ${name} ${data[text.name][name].perplexity.toFixed(3)}`)
      }
    } finally {
      await contender.stop()
    }
  }
  result.save(true)
}

let tokenizer
/** Windows of ids; only as much text is tokenised as they need. */
async function windowsOf(text, count) {
  if (!tokenizer) {
    const { openImage } = await import('../dist/firmware/image.js')
    const { readTokenizer } = await import('../dist/runtime/module-config.js')
    tokenizer = await readTokenizer(await openImage(await imageOf('int4')), 'backbone')
  }
  // Eight characters a token is above what English takes with this vocabulary, so the last window is not cut.
  const ids = [...tokenizer.encode(text.slice(0, count * WINDOW * 8))]
  if (ids.length < count * WINDOW) throw new Error(`The text has ${ids.length} tokens, ${count * WINDOW} are needed.`)
  return Array.from({ length: count }, (_, i) => [BOS, ...ids.slice(i * WINDOW, (i + 1) * WINDOW)])
}
