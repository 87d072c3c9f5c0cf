/** Part `accuracy`: whole requests through `openFirmware` on real data: speech, sentiment, news topics. */

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { sumErrorRates, wordErrorRate } from '../dist/bench/metrics/word-error-rate.js'
import { openEngine } from '../dist/engine/index.js'
import { openFirmware } from '../dist/runtime/index.js'
import { agNews, sst2 } from './lib/label-sets.mjs'
import { imageOf } from './lib/prepare.mjs'
import { openResult } from './lib/results.mjs'
import { say, sayProgress } from './lib/say.mjs'
import { spokenWords, utterances } from './lib/speech-sets.mjs'
import { sharePoints } from './lib/stats.mjs'
import { dataPath } from './lib/texts.mjs'

const SEED = 7
const CALIBRATION_TEXTS = 100

/** @param options `threads`, `samples`, `only` (quantisations of the backbone; default int4), `fresh` */
export async function accuracy({ threads, samples, only, fresh }) {
  if (!dataPath('README.md'))
    return say('accuracy: skipped, there is no data folder (shared/data) beside the checkout.')
  const quantisations = only ?? ['int4']
  const protocol = {
    seed: SEED,
    samples,
    labels: `4 examples in the prompt, drawn from other rows than the samples; calibrated on ${CALIBRATION_TEXTS} more texts whose labels are not read`,
    match: 'MiniLM, nearest description by cosine, no examples',
    speech:
      'lower case, punctuation removed, hyphens split, numerals as they come ("15th" for "fifteenth" is an error); errors summed over all words',
    quantisations,
  }
  const result = openResult('accuracy', protocol, { fresh })
  const { data } = result
  await openEngine({ backend: 'ffi', threads })
  for (const [i, quantisation] of quantisations.entries()) {
    const firmware = await openFirmware(await imageOf(quantisation))
    try {
      const parts = { [`sst2 ${quantisation}`]: () => classify(firmware, sst2(SEED, samples, CALIBRATION_TEXTS)) }
      parts[`ag_news ${quantisation}`] = () => classify(firmware, agNews(SEED, samples, CALIBRATION_TEXTS))
      // Speech and text encoder are the same in every image.
      if (i === 0) {
        parts['ag_news zero-shot MiniLM'] = () => match(firmware, agNews(SEED, samples, CALIBRATION_TEXTS))
        for (const set of ['harvard', 'ljspeech']) parts[`speech ${set}`] = () => transcribe(firmware, set)
      }
      for (const [name, measure] of Object.entries(parts)) {
        if (data[name]) continue
        data[name] = await measure()
        result.save()
        say(`${name}: ${describe(data[name])}`)
      }
    } finally {
      firmware.dispose()
    }
  }
  result.save(true)
}

const describe = ({ accuracy, n, points, rate, words, errors }) =>
  accuracy === undefined
    ? `word error rate ${(100 * rate).toFixed(2)} % (${errors} of ${words} words)`
    : `${(100 * accuracy).toFixed(1)} % of ${n}, ± ${points.toFixed(1)}`

async function classify(firmware, { samples, examples, unlabelled, labels, names, instruction }) {
  const request = { task: 'classify', labels, examples, names, ...(instruction ? { instruction } : {}) }
  let calibration = unlabelled
  let right = 0
  let plainRight = 0
  for (const [i, { text, label }] of samples.entries()) {
    const { output } = await firmware.ask({ ...request, text, calibration })
    calibration = output.calibration
    if (output.label === label) right++
    const plain = [...output.scores].sort((a, b) => b.logProbability - a.logProbability)[0]
    if (plain.label === label) plainRight++
    sayProgress('classify', i + 1, samples.length)
  }
  return { ...share(right, samples.length), uncalibrated: plainRight / samples.length, examples }
}

async function match(firmware, { samples, labels, descriptions }) {
  const texts = samples.map(({ text }) => text)
  const { output } = await firmware.ask({ task: 'match', texts, labels, descriptions, window: 'mean' })
  const right = output.matches.filter(({ label }, i) => label === samples[i].label).length
  return { ...share(right, samples.length), descriptions }
}

const share = (right, n) => ({ accuracy: right / n, n, points: sharePoints(right / n, n) })

async function transcribe(firmware, set) {
  const heard = []
  const clips = await utterances(set)
  for (const [i, { path, sound, reference }] of clips.entries()) {
    const { output } = await firmware.ask({ task: 'transcribe', sound: sound ?? { wav: readFileSync(path) } })
    const expected = spokenWords(reference)
    const got = spokenWords(output.text)
    heard.push({ clip: basename(path), expected, got, rate: wordErrorRate(expected, got) })
    sayProgress('transcribe', i + 1, clips.length)
  }
  const { rate, errors, referenceLength } = sumErrorRates(heard.map((clip) => clip.rate))
  const wrong = heard.filter((clip) => clip.rate.errors > 0).map(({ clip, expected, got }) => ({ clip, expected, got }))
  return { rate, errors, words: referenceLength, clips: heard.length, wrong }
}
