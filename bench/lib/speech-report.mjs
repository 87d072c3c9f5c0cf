/** The round trip of speech for people: a line, and `results/speech-round-trip.md`. */

import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { table } from './markdown.mjs'
import { latestResults } from './results.mjs'

const PATH = fileURLToPath(new URL('../results/speech-round-trip.md', import.meta.url))

export const speechReport = ({ wordErrorRate, errors, words, realTimeFactor, firstSound }) =>
  `word error rate ${(100 * wordErrorRate).toFixed(2)} % (${errors} of ${words} words), real-time factor ${realTimeFactor.toFixed(2)}, first sound after ${(firstSound.firstMs / 1000).toFixed(2)} s`

export function writeSpeechReport() {
  const { date, commit, machine, protocol, data } = latestResults().get('speech-round-trip')
  const { firstSound } = data
  const rows = [
    ['word error rate', `${(100 * data.wordErrorRate).toFixed(2)} % (${data.errors} of ${data.words} words)`],
    [
      'real-time factor',
      `${data.realTimeFactor.toFixed(2)}; median of the sentences ${data.medianRealTimeFactor.toFixed(2)}`,
    ],
    [
      'processor time a second of speech',
      `${data.cpuSecondsPerSecond.toFixed(2)} s over all threads; load average of the machine ${data.medianLoad.toFixed(0)} for ${machine.cores} cores`,
    ],
    [
      'first sound of a long text',
      `${(firstSound.firstMs / 1000).toFixed(2)} s of ${(firstSound.allMs / 1000).toFixed(1)} s for ${firstSound.characters} characters, ${firstSound.durationS.toFixed(0)} s of speech`,
    ],
  ]
  const wrong = data.heard.filter(({ rate }) => rate.errors > 0).map(({ expected, got }) => [expected, got])
  const parts = [
    '# Speech there and back',
    `${protocol.sentences} sentences of \`texts/sentences.txt\` → voice (${protocol.voice}) → recogniser, both of ${protocol.image}. Written by \`node bench/speech-round-trip.mjs\`.`,
    `${date}, commit ${commit}, ${machine.cpu}, ${machine.cores} cores, ${protocol.threads} threads, ONNX Runtime ${machine.onnxRuntime}. Words: ${protocol.words}.`,
    table(['measured', 'value'], rows),
    wrong.length ? `Sentences with errors:\n\n${table(['said', 'heard'], wrong)}` : 'Every sentence came back whole.',
  ]
  writeFileSync(PATH, `${parts.join('\n\n')}\n`)
}
