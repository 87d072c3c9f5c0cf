/** Command line of the benchmark of encoders and generators: `npm run bench:encoders -- [parts] [options]`. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { openEngine } from '../dist/engine/index.js'
import { benchArguments } from './lib/arguments.mjs'
import { openResult } from './lib/results.mjs'
import { SPEECH_PROTOCOL, speech } from './lib/speech.mjs'
import { UNET_PROTOCOL, unet } from './lib/unet.mjs'
import { VIT_PROTOCOL, vit } from './lib/vit.mjs'
import { VITS_PROTOCOL, vits } from './lib/vits.mjs'
import { report } from './report.mjs'

const PARTS = Object.freeze({
  vit: { protocol: VIT_PROTOCOL, run: vit },
  vits: { protocol: VITS_PROTOCOL, run: vits },
  unet: { protocol: UNET_PROTOCOL, run: unet },
  whisper: { protocol: SPEECH_PROTOCOL, run: speech },
})

const HELP = `npm run bench:encoders -- [parts] [options]

parts: ${Object.keys(PARTS).join(', ')}; default: all of them, then the report. What was stopped goes on where it was.
       Some of them: a result of their own, and no report.
  --rounds <n>    rounds of each part (default 5)
  --threads <n>   threads of every contender (default 2)
  --fresh         forget what was measured today
  --install       install what only the benchmark needs (@huggingface/transformers and a q8 Whisper beside llama.cpp) in bench/node_modules

Models of random weights (9 GB) and the Whisper export are written below M4FM_HOME/bench/encoders when they are missing: minutes, once.
`

const { named, parts, rounds, threads, fresh, install } = benchArguments({
  help: HELP,
  partNames: Object.keys(PARTS),
  flags: ['install'],
})
if (install) {
  const { status } = spawnSync('npm', ['ci', '--no-audit', '--no-fund'], {
    cwd: fileURLToPath(new URL('.', import.meta.url)),
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) process.exit(status ?? 1)
}

// A part alone must not take the place of the whole.
const name = ['encoders', ...named].join('-')
const protocol = { threads, rounds, parts: Object.fromEntries(parts.map((part) => [part, PARTS[part].protocol])) }
const { data, save } = openResult(name, protocol, { fresh })
const engine = await openEngine({ backend: 'ffi', threads })
for (const part of parts) {
  data[part] ??= {}
  if (data[part].rounds?.length >= rounds) continue
  await PARTS[part].run({ engine, threads, rounds, data: data[part], save })
}
save(true)
if (named.length === 0) report()
process.exit(0)
