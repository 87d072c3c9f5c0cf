/** The U-Net of Stable Diffusion 1.5 (860 M weights): one denoising step of a picture of 512 × 512 dots. */

import { normalSource } from '../../dist/core/random.js'
import { rate } from './peak.mjs'
import { configOf, randomModel } from './random-models.mjs'
import { say } from './say.mjs'
import { timed } from './timed.mjs'

const PLANS = Object.freeze({ fp32: { default: 'fp32' }, w8a8: { default: 'w8a8' } })
const SIZES = { B: 1, Y: 64, X: 64, T: 77 }

export const UNET_PROTOCOL = Object.freeze({
  model: 'Stable Diffusion 1.5’s U-Net, latents of 64 × 64, 77 tokens of text, one picture; RANDOM weights',
  plans: PLANS,
  w8a8: 'linear layers at 8 bit; convolutions compute in fp32 as ever',
  guided: 'classifier-free guidance runs two of these a step',
  peer: 'none: @huggingface/transformers has no diffusion pipeline',
})

export async function unet({ engine, rounds, data, save }) {
  const config = configOf('stable-diffusion').unet
  const next = normalSource(7)
  const normal = (dims) => {
    const tensor = engine.tensor('float32', dims)
    for (let i = 0; i < tensor.data.length; i++) tensor.data[i] = next()
    return tensor
  }
  const feeds = {
    latents: normal([SIZES.B, config.inChannels, SIZES.Y, SIZES.X]),
    step: engine.tensor('int64', [SIZES.B], BigInt64Array.of(500n)),
    text: normal([SIZES.B, SIZES.T, config.contextWidth]),
  }
  data.models ??= {}
  data.rounds ??= []
  const models = []
  try {
    for (const [name, plan] of Object.entries(PLANS)) {
      const { path, bytes, weights, macs } = await randomModel('stable-diffusion', 'unet', plan, SIZES)
      const { result: session, ms } = await timed(() => engine.createSession({ path }))
      models.push({ name, macs, session })
      data.models[name] = { bytes, weights, macs, loadMs: ms }
      say(`unet: loaded ${name}`)
    }
    for (const { session } of models) await step(session, feeds)
    while (data.rounds.length < rounds) {
      const taken = {}
      for (const { name, macs, session } of models) {
        const { ms, cpuMs } = await timed(() => step(session, feeds))
        taken[name] = { ms, gflops: rate(macs, ms), cpuMs }
      }
      data.rounds.push(taken)
      save()
      const shown = Object.entries(taken).map(([name, { ms }]) => `${name} ${ms.toFixed(0)} ms`)
      say(`unet: round ${data.rounds.length} of ${rounds}: ${shown.join(' · ')}`)
    }
  } finally {
    for (const { session } of models) session.dispose()
  }
}

async function step(session, feeds) {
  const { prediction } = await session.run(feeds)
  prediction.dispose()
}
