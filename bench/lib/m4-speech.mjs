/** Contender `m4-speech`: the recogniser of a firmware image, through the same classes that `openFirmware` uses. */

import { performance } from 'node:perf_hooks'
import { openEngine } from '../../dist/engine/index.js'
import { openImage } from '../../dist/firmware/index.js'
import { openSpeech } from '../../dist/runtime/speech.js'

const ROLE = 'AUD-I'

export async function openContender({ image, threads }) {
  const engine = await openEngine({ backend: 'ffi', threads })
  const opened = await openImage(image)
  const start = performance.now()
  const speech = await openSpeech(opened, ROLE, opened.manifest.modules[ROLE], engine)
  return {
    loadMs: performance.now() - start,
    version: `ONNX Runtime ${engine.version}`,
    digest: opened.digest,
    weightBytes: opened.manifest.modules[ROLE].weightBytes,
    /** @param args `context`: `short` or `full` (30 s, as the reference pads) */
    transcribe: async (samples, { context }) => (await speech.transcribe(samples, { context })).text,
  }
}
