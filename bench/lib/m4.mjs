/** Contender `m4`: the backbone of a firmware image, through the same classes that `openFirmware` uses. */

import { performance } from 'node:perf_hooks'
import { cpuKey, openEngine } from '../../dist/engine/index.js'
import { openImage } from '../../dist/firmware/image.js'
import { openBackbone } from '../../dist/runtime/backbone.js'
import { perplexity } from '../../dist/runtime/perplexity.js'

const ROLE = 'backbone'

export async function openContender({ image, prepacked, threads, contextTokens }) {
  const start = performance.now()
  const engine = await openEngine({ backend: 'ffi', threads })
  const loaded = performance.now()
  const opened = await openImage(image, prepacked ? { cpuKey: cpuKey(engine) } : {})
  if (Boolean(prepacked) !== opened.prepacked)
    throw new Error(`${image}: expected prepacked ${Boolean(prepacked)}, got ${opened.prepacked}.`)
  const backbone = await openBackbone(opened, ROLE, opened.manifest.modules[ROLE], engine)
  const context = backbone.createContext()
  const ended = performance.now()
  if (backbone.facts.contextLength < contextTokens)
    throw new Error(`The context holds ${backbone.facts.contextLength}.`)
  return {
    runtimeMs: loaded - start,
    loadMs: ended - loaded,
    version: `ONNX Runtime ${engine.version}`,
    digest: opened.digest,
    weightBytes: opened.manifest.modules[ROLE].weightBytes,
    async prefill(ids) {
      context.rewind(0)
      await context.prefill([{ ids }])
    },
    async decode(count) {
      let logits = await context.step(FIRST)
      for (let i = 1; i < count; i++) logits = await context.step(argmax(logits))
    },
    perplexity: async (windows, onWindow) => perplexity(backbone, windows, { onWindow }),
    tokenize: (text) => backbone.tokenizer.encode(text),
  }
}

/** The first generated token is fixed, so that every contender reads the same position. */
const FIRST = 263

function argmax(values) {
  let best = 0
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i
  return best
}
