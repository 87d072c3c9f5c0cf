/** Front ends of ImageBind: picture, video and sound files through our graphs. */

import type { DataOf, DType } from '../core/dtypes.js'
import { M4Error } from '../core/errors.js'
import { type HostTensor, hostTensor, int64Tensor } from '../core/tensor.js'
import type { Engine, Session } from '../engine/types.js'
import {
  clipSpans,
  clipTimes,
  decodeImage,
  decodeWav,
  IMAGEBIND_SOUND_CLIPS,
  IMAGEBIND_VIDEO_CLIPS,
  type Picture,
  resample,
} from '../media/index.js'
import {
  CLIP_PIXELS,
  fbankFrontEndGraph,
  IMAGEBIND_SOUND,
  IMAGEBIND_VIDEO,
  imageFrontEndGraph,
  kaldiMelBank,
  videoFrontEndGraph,
} from '../models/index.js'
import { type OutputSpec, type ParityCase, readBytes } from './case.js'
import { compareTensor, countReport } from './compare.js'
import { openGraph } from './graphs.js'
import type { OutputReport, Runner } from './types.js'

/** Picture files → the crop of each (outputs named after the file or `crop…`) and the normalised dots, maybe every n-th of them. */
export const runImageFrontEnd: Runner = async ({ parityCase, engine, signal }) => {
  const settings = configOf(parityCase)
  const config = {
    size: settings.number('size', CLIP_PIXELS.size),
    mean: settings.numbers('mean', CLIP_PIXELS.mean),
    std: settings.numbers('std', CLIP_PIXELS.std),
  }
  using session = await openGraph(engine, imageFrontEndGraph(config, true), signal)
  const tensors = new Map<string, HostTensor>()
  const checks: OutputReport[] = []
  for (const { name, picture } of await pictures(parityCase)) {
    const { crop, pixels } = await results(session, engine, {
      picture: hostTensor('uint8', [picture.height, picture.width, 3], bytes(picture)),
    })
    for (const spec of parityCase.outputs) {
      if (spec.name === name || /^crop/.test(spec.name)) tensors.set(spec.name, crop!)
      if (!/^pixels/.test(spec.name)) continue
      const got = everyDot(pixels!, Number(/_every_(\d+)/.exec(spec.name)?.[1] ?? 1))
      tensors.set(spec.name, got)
      checks.push(...meanCheck(parityCase, spec, got))
    }
  }
  return { tensors, checks }
}

/** Frames of one clip → crops; and the times of the clips of videos of several lengths. */
export const runVideoFrontEnd: Runner = async ({ parityCase, engine, signal }) => {
  const settings = configOf(parityCase)
  const crops = settings.number('crops', IMAGEBIND_VIDEO.crops)
  if (crops !== 1 && crops !== 3) throw invalid(parityCase, `config.crops must be 1 or 3, got ${crops}`)
  const config = {
    size: settings.number('size', IMAGEBIND_VIDEO.size),
    mean: settings.numbers('mean', IMAGEBIND_VIDEO.mean),
    std: settings.numbers('std', IMAGEBIND_VIDEO.std),
    frames: settings.number('frames', IMAGEBIND_VIDEO.frames),
    crops: crops as 1 | 3,
  }
  using session = await openGraph(engine, videoFrontEndGraph(config), signal)
  const produced = await results(session, engine, { clip: parityCase.input('clip') })
  return { tensors: new Map(Object.entries(produced)), checks: clipTimeChecks(parityCase) }
}

/** A WAV file → 16 kHz → mel bands of its clips. */
export const runSoundFrontEnd: Runner = async ({ parityCase, engine, signal }) => {
  const settings = configOf(parityCase)
  const config = {
    sampleRateHz: settings.number('sampleRate', IMAGEBIND_SOUND.sampleRateHz),
    melBands: settings.number('melBins', IMAGEBIND_SOUND.melBands),
    columns: settings.number('targetLength', IMAGEBIND_SOUND.columns),
    clips: settings.number('clips', IMAGEBIND_SOUND.clips),
    mean: settings.number('mean', IMAGEBIND_SOUND.mean),
    std: settings.number('std', IMAGEBIND_SOUND.std),
  }
  const sounds = parityCase.files.filter(({ file }) => /\.wav$/i.test(file))
  if (sounds.length !== 1) throw invalid(parityCase, `expected one WAV file, got ${sounds.length}`)
  const { samples, sampleRateHz } = decodeWav(readBytes(parityCase.path(sounds[0]!.file)))
  const channels = samples.map((channel) => resample(channel, sampleRateHz, config.sampleRateHz))
  const plan = { clipS: settings.number('clipDuration', IMAGEBIND_SOUND_CLIPS.clipS), clips: config.clips }
  const spans = clipSpans(channels[0]!.length, config.sampleRateHz, plan)
  const column = (side: 0 | 1) =>
    int64Tensor(
      [spans.length],
      spans.map((span) => span[side]),
    )
  using session = await openGraph(engine, fbankFrontEndGraph(config), signal)
  const tensors = new Map(
    Object.entries(await results(session, engine, { samples: planes(channels), starts: column(0), ends: column(1) })),
  )
  for (const { name, shape } of parityCase.outputs) {
    if (name.startsWith('resampled')) tensors.set(name, planes(channels.map((c) => c.subarray(0, shape.at(-1)))))
    if (name === 'mel_banks') tensors.set(name, bankOf(config.melBands, shape.at(-1)!, config.sampleRateHz))
  }
  return { tensors, checks: spanChecks(parityCase, spans) }
}

const bankOf = (bands: number, bins: number, rateHz: number) =>
  hostTensor('float32', [bands, bins], kaldiMelBank(bands, bins, rateHz) as DataOf<'float32'>)

function planes(channels: readonly Float32Array[]): HostTensor<'float32'> {
  const length = channels[0]!.length
  const out = new Float32Array(channels.length * length)
  for (const [i, channel] of channels.entries()) out.set(channel, i * length)
  return hostTensor('float32', [channels.length, length], out)
}

/** The files of the case, each under its name without ending. */
async function pictures(parityCase: ParityCase): Promise<{ name: string; picture: Picture }[]> {
  const files = parityCase.files.filter(({ file }) => /\.(png|jpe?g|webp|gif|tiff?|avif)$/i.test(file))
  return Promise.all(
    files.map(async ({ file }) => ({
      name: file.replace(/\.\w+$/, ''),
      picture: await decodeImage(readBytes(parityCase.path(file))),
    })),
  )
}

const bytes = ({ data }: Picture) => data as DataOf<'uint8'>

/** [1, 3, S, S] → every n-th row and column of it */
function everyDot(tensor: HostTensor, stride: number): HostTensor {
  const [rows, columns] = tensor.dims.slice(-2) as [number, number]
  const [tall, wide] = [Math.ceil(rows / stride), Math.ceil(columns / stride)]
  const data = tensor.data as Float32Array
  const images = data.length / (rows * columns)
  const out = new Float32Array(images * tall * wide)
  for (let i = 0; i < out.length; i++) {
    const [image, y, x] = [Math.floor(i / (tall * wide)), Math.floor(i / wide) % tall, i % wide]
    out[i] = data[(image * rows + y * stride) * columns + x * stride]!
  }
  return hostTensor('float32', [...tensor.dims.slice(0, -2), tall, wide], out)
}

/** The bound on the mean that stands at the case, not at the output. */
function meanCheck(parityCase: ParityCase, spec: OutputSpec, got: HostTensor): OutputReport[] {
  const { meanAbsTolerance } = parityCase.json
  if (typeof meanAbsTolerance !== 'number') return []
  const name = `${spec.name} mean`
  return [compareTensor({ ...spec, name, meanAbs: meanAbsTolerance }, parityCase.expected(spec), got)]
}

/** `clipTimes` of the case: duration → [start, end] of each clip. */
function clipTimeChecks(parityCase: ParityCase): OutputReport[] {
  const table = parityCase.json.clipTimes
  if (typeof table !== 'object' || table === null) return []
  const wrong = Object.entries(table as Record<string, readonly (readonly number[])[]>).flatMap(([seconds, times]) => {
    const got = clipTimes(Number(seconds), { ...IMAGEBIND_VIDEO_CLIPS, clips: times.length })
    const far = got.some((span, i) => span.some((time, k) => Math.abs(time - times[i]![k]!) > 1e-9))
    return far ? [`${seconds} s: expected ${JSON.stringify(times)}, got ${JSON.stringify(got)}`] : []
  })
  return [countReport('clip times', wrong)]
}

/** `clipStartsEndSamples` of the case. */
function spanChecks({ json }: ParityCase, spans: readonly (readonly [number, number])[]): OutputReport[] {
  const { clipStartsEndSamples: expected } = json
  if (!Array.isArray(expected)) return []
  const same = JSON.stringify(expected) === JSON.stringify(spans)
  const wrong = same ? [] : [`expected ${JSON.stringify(expected)}, got ${JSON.stringify(spans)}`]
  return [countReport('clips in samples', wrong)]
}

/** One run, its outputs copied to host memory. */
async function results(
  session: Session,
  engine: Engine,
  inputs: Readonly<Record<string, HostTensor>>,
): Promise<Record<string, HostTensor>> {
  const given = Object.entries(inputs).map(
    ([name, { dtype, dims, data }]) => [name, engine.tensor(dtype, dims, data as DataOf<DType>)] as const,
  )
  try {
    const outputs = await session.run(Object.fromEntries(given))
    return Object.fromEntries(
      Object.entries(outputs).map(([name, output]) => {
        using held = output
        return [name, hostTensor(held.dtype, held.dims, held.data.slice() as DataOf<DType>)]
      }),
    )
  } finally {
    for (const [, tensor] of given) tensor.dispose()
  }
}

interface Settings {
  number(key: string, fallback: number): number
  numbers(key: string, fallback: readonly number[]): readonly number[]
}

function configOf(parityCase: ParityCase): Settings {
  const { config } = parityCase
  const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)
  return {
    number: (key, fallback) => {
      const value = config[key] ?? fallback
      if (isNumber(value)) return value
      throw invalid(parityCase, `config.${key} must be a number`)
    },
    numbers: (key, fallback) => {
      const value = config[key] ?? fallback
      if (Array.isArray(value) && value.length === fallback.length && value.every(isNumber)) return value
      throw invalid(parityCase, `config.${key} must be ${fallback.length} numbers`)
    },
  }
}

const invalid = ({ folder }: ParityCase, what: string) => new M4Error('FORMAT_INVALID', `${folder}: ${what}.`)
