/** VITS at the size of facebook/mms-tts-eng: how long a sentence takes, as a share of how long it lasts. */

import { normalSource } from '../../dist/core/random.js'
import { int64Tensor } from '../../dist/core/tensor.js'
import { configOf, randomModel } from './random-models.mjs'
import { say } from './say.mjs'
import { timed } from './timed.mjs'

const PLANS = Object.freeze({ fp32: { default: 'fp32' } })
/** Symbols of a sentence with a blank around each; two or three frames a symbol, as speech has them. */
const SENTENCES = Object.freeze({ short: 61, long: 241 })

export const VITS_PROTOCOL = Object.freeze({
  model:
    'VITS, sizes of facebook/mms-tts-eng (text encoder, stochastic durations, flow, HiFi-GAN at 16 kHz); RANDOM weights',
  sentences: SENTENCES,
  durations:
    'the graph that finds durations is run and timed; spoken are 2 or 3 frames of 16 ms a symbol, since random weights find no sensible ones',
  factor: 'time of both graphs as a share of the sound’s length: smaller is faster',
  peer: 'none: @huggingface/transformers needs an ONNX export of VITS, which npm does not have, and would run it on the same ONNX Runtime',
})

export async function vits({ engine, rounds, data, save }) {
  const config = configOf('vits')
  const hop = config.decoder.rates.reduce((a, b) => a * b, 1)
  const models = []
  try {
    for (const [name, plan] of Object.entries(PLANS)) {
      const paths = []
      for (const graph of ['encode', 'synthesise']) paths.push((await randomModel('vits', graph, plan)).path)
      const [encode, synthesise] = [
        await engine.createSession({ path: paths[0] }),
        await engine.createSession({ path: paths[1] }),
      ]
      models.push({ name, encode, synthesise })
    }
    for (const model of models) await speak(engine, config, model, SENTENCES.short)
    data.rounds ??= []
    while (data.rounds.length < rounds) {
      const taken = {}
      for (const [sentence, symbols] of Object.entries(SENTENCES))
        for (const model of models) {
          const { result: frames, ms, cpuMs } = await timed(() => speak(engine, config, model, symbols))
          const seconds = (frames * hop) / config.sampleRateHz
          taken[`${sentence} ${model.name}`] = { seconds, ms, factor: ms / 1000 / seconds, cpuMs }
        }
      data.rounds.push(taken)
      save()
      const shown = Object.entries(taken).map(([name, { factor }]) => `${name} ${factor.toFixed(3)}`)
      say(`vits: round ${data.rounds.length} of ${rounds}: ${shown.join(' · ')}`)
    }
  } finally {
    for (const { encode, synthesise } of models) {
      encode.dispose()
      synthesise.dispose()
    }
  }
}

/** @returns frames that were spoken */
async function speak(engine, { latentWidth, vocabulary, noiseScale, durationNoiseScale }, sessions, symbols) {
  const next = normalSource(symbols)
  const integers = (values) => engine.tensor('int64', [1, symbols], int64Tensor([1, symbols], values).data)
  const noise = (dims, scale) => {
    const tensor = engine.tensor('float32', dims)
    for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = next() * scale
    return tensor
  }
  const ids = Array.from({ length: symbols }, (_, i) => (i % 2 ? 1 + ((i * 7) % (vocabulary - 1)) : 0))
  const found = await sessions.encode.run({
    ids: integers(ids),
    length_scale: engine.tensor('float32', [], Float32Array.of(1)),
    noise: noise([1, 2, symbols], durationNoiseScale),
  })
  const lengths = ids.map((_, i) => 2 + (i % 2))
  const frames = lengths.reduce((a, b) => a + b, 0)
  const spoken = await sessions.synthesise.run(
    {
      prior_mean: found.prior_mean,
      prior_log_scale: found.prior_log_scale,
      durations: integers(lengths),
      noise: noise([1, latentWidth, frames], noiseScale),
    },
    ['waveform'],
  )
  for (const tensor of [...Object.values(found), spoken.waveform]) tensor.dispose()
  return frames
}
