import { test } from 'vitest'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildFirmware, findRecipe } from '../src/firmware/index.js'
import { openFirmware } from '../src/runtime/index.js'
import { encodeWav16 } from '../src/media/index.js'
import { liveHandles } from '../src/core/index.js'
test('x', async () => {
  const out = join(mkdtempSync(join(tmpdir(), 'rt-')), 'img')
  let t = performance.now()
  await buildFirmware(findRecipe('tiny-random'), { out })
  console.log('build', performance.now() - t)
  const fw = await openFirmware(out)
  console.log(fw.tasks())
  for await (const e of fw.run({ task: 'generate', prompt: 'Hello world', maxTokens: 8 })) console.log(JSON.stringify(e))
  console.log(JSON.stringify(await fw.ask({ task: 'complete', input: 'Hello', examples: [{ input: 'a', output: 'b' }], maxTokens: 8, sampling: { temperature: 1, topP: 0.9, seed: 3 } })))
  console.log(JSON.stringify(await fw.ask({ task: 'classify', text: 'Hello', labels: ['good', 'bad', 'goodish'], calibration: ['x', 'y'] })))
  const s = new Float32Array(16000).map((_, i) => Math.sin(i / 10) * 0.3)
  console.log(JSON.stringify(await fw.ask({ task: 'transcribe', sound: { wav: encodeWav16(s, 16000) } })))
  console.log(JSON.stringify(await fw.ask({ task: 'listen', sound: { samples: s, sampleRateHz: 16000 }, maxTokens: 4 })))
  console.log(JSON.stringify(await fw.ask({ task: 'embed', texts: ['hello', 'world wide'] })).slice(0, 300))
  console.log(JSON.stringify(await fw.ask({ task: 'similarity', texts: ['hello', 'world wide'] })))
  console.log(JSON.stringify(await fw.ask({ task: 'match', texts: ['hello'], labels: ['a', 'b'] })))
  fw.dispose()
  console.log(liveHandles())
})
