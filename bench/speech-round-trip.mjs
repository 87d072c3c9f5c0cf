/**
 * Speech that comes back as text: sentences → the voice of an image → the recogniser of the same image → word error rate, with the
 * speed of the voice and the time until its first sound.
 *
 *   m4fm build lite && m4fm flash lite
 *   node bench/speech-round-trip.mjs [image, default: device] [--voice af_heart] [--threads 2] [--fresh]
 */

import { readFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { sumErrorRates, wordErrorRate } from '../dist/bench/metrics/word-error-rate.js'
import { openEngine } from '../dist/engine/index.js'
import { openFirmware } from '../dist/runtime/index.js'
import { openResult } from './lib/results.mjs'
import { say, sayProgress } from './lib/say.mjs'
import { speechReport, writeSpeechReport } from './lib/speech-report.mjs'
import { spokenWords } from './lib/speech-sets.mjs'
import { median } from './lib/stats.mjs'

const SENTENCES = fileURLToPath(new URL('texts/sentences.txt', import.meta.url))
/** One text of many sentences: how soon it is heard. */
const READ_ALOUD = 12

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    voice: { type: 'string' },
    threads: { type: 'string', default: '2' },
    fresh: { type: 'boolean', default: false },
  },
})
const [image = 'device'] = positionals
const sentences = readFileSync(SENTENCES, 'utf8').trim().split('\n')
await openEngine({ backend: 'ffi', threads: Number(values.threads) })
const firmware = await openFirmware(image)
const protocol = {
  image: `${firmware.manifest.name} ${firmware.manifest.version}, ${firmware.manifest.modules.TTS.title}`,
  voice: values.voice ?? 'default',
  threads: Number(values.threads),
  sentences: sentences.length,
  words: 'lower case, punctuation removed, hyphens split; spellings as they come; errors summed over all words',
}
const result = openResult('speech-round-trip', protocol, { fresh: values.fresh })
const { data } = result

try {
  const voice = values.voice ? { voice: values.voice } : {}
  // Loads the voice: its first request says nothing of the speed.
  await firmware.ask({ task: 'speak', text: 'Hello.', ...voice })
  data.heard ??= []
  for (const reference of sentences.slice(data.heard.length)) {
    const [started, cpuBefore] = [performance.now(), process.cpuUsage()]
    const { output } = await firmware.ask({ task: 'speak', text: reference, ...voice })
    const seconds = (performance.now() - started) / 1000
    const { user, system } = process.cpuUsage(cpuBefore)
    const load = loadavg()[0]
    const heard = await firmware.ask({ task: 'transcribe', sound: output })
    const [expected, got] = [spokenWords(reference), spokenWords(heard.output.text)]
    data.heard.push({
      expected,
      got,
      durationS: output.durationS,
      seconds,
      cpuSeconds: (user + system) / 1e6,
      load,
      rate: wordErrorRate(expected, got),
    })
    result.save()
    sayProgress('sentences', data.heard.length, sentences.length)
  }
  data.firstSound = await firstSound(sentences.slice(0, READ_ALOUD).join(' '), voice)
  Object.assign(data, summary(data.heard))
  result.save(true)
} finally {
  firmware.dispose()
}
say(speechReport(data))
writeSpeechReport()

function summary(heard) {
  const { rate, errors, referenceLength } = sumErrorRates(heard.map((each) => each.rate))
  const total = (key) => heard.reduce((sum, each) => sum + each[key], 0)
  return {
    wordErrorRate: rate,
    errors,
    words: referenceLength,
    durationS: total('durationS'),
    realTimeFactor: total('seconds') / total('durationS'),
    medianRealTimeFactor: median(heard.map(({ seconds, durationS }) => seconds / durationS)),
    /** Of all threads: a machine with other load does not change it much. */
    cpuSecondsPerSecond: total('cpuSeconds') / total('durationS'),
    medianLoad: median(heard.map(({ load }) => load)),
  }
}

/** Until the first sentence of a long text is there, and until the last is. */
async function firstSound(text, voice) {
  const started = performance.now()
  let firstMs
  let durationS = 0
  for await (const event of firmware.run({ task: 'speak', text, ...voice })) {
    if (event.type === 'sound') firstMs ??= performance.now() - started
    else if (event.type === 'answer') durationS = event.output.durationS
  }
  return { characters: text.length, firstMs, allMs: performance.now() - started, durationS }
}
