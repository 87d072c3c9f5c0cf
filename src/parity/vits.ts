/** VITS cases: ids and given noise → durations, prior, latents and waveform. */

import { join } from 'node:path'
import { openCheckpoint } from '../checkpoint/index.js'
import type { DataOf } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor } from '../core/tensor.js'
import type { Session, Tensor } from '../engine/types.js'
import { weightsOf } from '../firmware/build.js'
import { ARCHITECTURES, type VitsConfig } from '../models/index.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { EXACT, openGraph } from './graphs.js'
import type { CaseRun, Runner } from './types.js'

/** What cases call the voice, where the model has several. */
const SPEAKER_INPUTS = ['speaker', 'speaker_id', 'speaker_ids', 'sid', 'speakers']

export const runVits: Runner = async (run) => {
  const { parityCase, engine, signal } = run
  using voice = await openVoice(run)
  const { config } = voice
  const kept: Tensor[] = []
  const keep = (tensor: Tensor) => {
    kept.push(tensor)
    return tensor
  }
  const given = (name: string, scale?: number) => keep(tensorOf(run, parityCase.input(name), scale))
  try {
    const asked = SPEAKER_INPUTS.find((name) => parityCase.hasInput(name))
    const speaker = config.speakerWidth && asked ? { speaker: keep(speakerOf(run, parityCase.input(asked))) } : {}
    const stochastic = config.durations.kind === 'stochastic'
    const feeds = {
      ids: given('input_ids'),
      length_scale: keep(engine.tensor('float32', [], Float32Array.of(1 / config.speakingRate))),
      ...(stochastic ? { noise: given('duration_noise', config.durationNoiseScale) } : {}),
      ...speaker,
    }
    const encoded = await voice.encode.run(feeds, undefined, { signal })
    Object.values(encoded).forEach(keep)
    const { prior_mean, prior_log_scale, durations, log_durations } = encoded as Record<string, Tensor>
    const spoken = await voice.synthesise.run(
      {
        prior_mean: prior_mean!,
        prior_log_scale: prior_log_scale!,
        durations: durations!,
        noise: given('prior_noise', config.noiseScale),
        ...speaker,
      },
      undefined,
      { signal },
    )
    Object.values(spoken).forEach(keep)
    const tensors = new Map<string, HostTensor>([
      ['waveform', host(spoken.waveform!)],
      ['latents', host(spoken.latents!)],
      ['prior_mean', channelsFirst(prior_mean!)],
      ['prior_log_scale', channelsFirst(prior_log_scale!)],
      ['log_durations', asRow(log_durations!)],
      ['durations', asRow(durations!)],
    ])
    return { tensors }
  } finally {
    for (const tensor of kept) tensor.dispose()
  }
}

interface Voice extends Disposable {
  readonly config: VitsConfig
  readonly encode: Session
  readonly synthesise: Session
}

async function openVoice({ parityCase, engine, signal }: CaseRun): Promise<Voice> {
  using checkpoint = openCheckpoint(parityCase.checkpointPath())
  const { vits } = ARCHITECTURES
  const stored = weightsOf(checkpoint)
  const metadata = { ...checkpoint.metadata, config: caseConfig(parityCase) }
  const config = vits.configure({ format: checkpoint.format, metadata, weights: stored })
  const graphs = vits.graphs(config, vits.weights(config, stored), EXACT)
  const encode = await openGraph(engine, graphs.encode!(), signal)
  try {
    const synthesise = await openGraph(engine, graphs.synthesise!(), signal)
    const dispose = () => {
      encode.dispose()
      synthesise.dispose()
    }
    return { config, encode, synthesise, [Symbol.dispose]: dispose }
  } catch (error) {
    encode.dispose()
    throw error
  }
}

/** What the case says of the run goes before the file beside the weights. */
function caseConfig({ folder, config }: ParityCase): unknown {
  const path = join(folder, 'config.json')
  return isFile(path) ? { ...(readJsonFile(path) as object), ...config } : config
}

function tensorOf({ engine, parityCase }: CaseRun, { dtype, dims, data }: HostTensor, scale?: number): Tensor {
  if (scale === undefined) return engine.tensor(dtype, dims, data)
  if (dtype !== 'float32')
    throw new M4Error('FORMAT_INVALID', `${parityCase.folder}: noise must be float32, got ${dtype}.`)
  const factor = Math.fround(scale)
  return engine.tensor(
    'float32',
    dims,
    (data as DataOf<'float32'>).map((value) => value * factor),
  )
}

/** One voice, whatever shape and integer type the case writes it in. */
function speakerOf({ engine }: CaseRun, { data }: HostTensor): Tensor {
  return engine.tensor('int64', [1], BigInt64Array.of(BigInt(data[0] ?? 0)))
}

const host = ({ dtype, dims, data }: Tensor): HostTensor => hostTensor(dtype, dims, data.slice())

/** [1, T] → [1, 1, T] */
const asRow = (tensor: Tensor): HostTensor => ({ ...host(tensor), dims: [1, ...tensor.dims] })

/** [1, T, C] → [1, C, T] */
function channelsFirst({ dims, data }: Tensor): HostTensor {
  const [, length, width] = dims as [number, number, number]
  const out = new Float32Array(length * width)
  for (let t = 0; t < length; t++)
    for (let c = 0; c < width; c++) out[c * length + t] = (data as Float32Array)[t * width + c]!
  return hostTensor('float32', [1, width, length], out)
}
