/**
 * The picture generator that paints after vectors of the joint space: from noise, in equal steps of time, the way that the
 * transformer says.
 *
 * @paper arXiv:2209.03003 (Euler's method, §2.1) · guidance: arXiv:2207.12598
 */

import { Handle } from '../core/disposal.js'
import { M4Error, throwIfAborted } from '../core/errors.js'
import { normalSource } from '../core/random.js'
import { hostTensor } from '../core/tensor.js'
import type { Engine, Session, Tensor } from '../engine/types.js'
import type { Image } from '../firmware/image.js'
import type { ModuleEntry, Role } from '../firmware/manifest.js'
import type { Picture } from '../media/index.js'
import type { StepDone } from './diffusion/index.js'
import { pictureFromPlanes } from './diffusion/planes.js'
import { configNumber } from './module-config.js'

/** The picture is there; 0 is noise. Times are whole thousandths. */
const LAST_TIME = 1000

export interface FlowFacts {
  /** 1: shades of grey; 3: colours. */
  readonly channels: number
  /** Dots along each side. */
  readonly size: number
  /** Width of the joint space, E. */
  readonly joint: number
}

export interface FlowOptions {
  /** What to paint, and what to steer away from: length 1; zeros say nothing. [E] */
  readonly given: Float32Array
  readonly away: Float32Array
  readonly steps: number
  /** away + guidance · (given − away); 1: `away` is not asked for. */
  readonly guidance: number
  readonly seed: number
  readonly signal?: AbortSignal | undefined
}

type OpenGraph = (graph: string) => Promise<Session>

/** Part of the module that makes pictures larger. */
export const UPSCALE = 'upscale'

/** The velocity of every dot at a time, in thousandths. */
export type Velocity = (dots: Float32Array<ArrayBuffer>, time: number) => Promise<Float32Array>

/**
 * Turns noise into pictures where it lies, in steps of equal length (Euler's method); tells every step that is done.
 * @throws M4Error `INVALID_REQUEST`, `ABORTED`
 */
export async function* flow(
  dots: Float32Array<ArrayBuffer>,
  velocity: Velocity,
  { steps, signal }: Pick<FlowOptions, 'steps' | 'signal'>,
): AsyncGenerator<StepDone, void> {
  if (!Number.isInteger(steps) || steps < 1 || steps > LAST_TIME)
    throw new M4Error('INVALID_REQUEST', `steps: expected a whole number from 1 to ${LAST_TIME}, got ${steps}.`)
  const times = Array.from({ length: steps + 1 }, (_, i) => Math.round((LAST_TIME * i) / steps))
  for (let i = 0; i < steps; i++) {
    throwIfAborted(signal)
    const said = await velocity(dots, times[i]!)
    const share = (times[i + 1]! - times[i]!) / LAST_TIME
    for (let d = 0; d < dots.length; d++) dots[d]! += share * said[d]!
    yield { done: i + 1, of: steps }
  }
}

/** Of both branches, one behind the other: away + guidance · (given − away). */
export function guided(said: Float32Array, guidance: number): Float32Array {
  const half = said.length / 2
  return said.subarray(0, half).map((away, i) => away + guidance * (said[half + i]! - away))
}

export class FlowPainter extends Handle {
  readonly facts: FlowFacts
  readonly #engine: Engine
  readonly #velocity: Session
  readonly #open: OpenGraph
  #larger: Session | undefined

  /** @param open opens another graph of the module, when it is first needed */
  constructor(engine: Engine, velocity: Session, facts: FlowFacts, open: OpenGraph) {
    super('flow-painter')
    this.facts = facts
    this.#engine = engine
    this.#velocity = velocity
    this.#open = open
  }

  /** More dots for a picture, each colour by itself. @throws M4Error `ENGINE`, `ABORTED` */
  async upscale({ data, width, height }: Picture, signal?: AbortSignal): Promise<Picture> {
    this.assertLive('upscale')
    this.#larger ??= await this.#open(UPSCALE)
    const planes = Float32Array.from({ length: data.length }, (_, i) => {
      const [plane, dot] = [Math.floor(i / (width * height)), i % (width * height)]
      return data[3 * dot + plane]! / 255
    })
    using plane = this.#engine.tensor('float32', [3, 1, height, width], planes)
    using larger = (await this.#larger.run({ plane }, ['larger'], { signal })).larger!
    const [, , rows, columns] = larger.dims as [number, number, number, number]
    const shades = Float32Array.from(larger.data as Float32Array, (value) => Math.min(1, Math.max(0, value)))
    return pictureFromPlanes(hostTensor('float32', [1, 3, rows, columns], shades))
  }

  /** Tells every step that is done; the picture at the end. Same options, same picture. @throws M4Error as `flow`, `ENGINE` */
  async *paint(options: FlowOptions): AsyncGenerator<StepDone, Picture> {
    this.assertLive('paint')
    const { given, away, guidance, signal } = options
    const { channels, size } = this.facts
    const normal = normalSource(options.seed)
    const dots = Float32Array.from({ length: channels * size * size }, normal)
    const velocity: Velocity = async (at, time) =>
      guidance === 1
        ? this.look(at, time, [given], signal)
        : guided(await this.look(Float32Array.of(...at, ...at), time, [away, given], signal), guidance)
    yield* flow(dots, velocity, options)
    const planes = dots.map((value) => Math.min(1, Math.max(0, (value + 1) / 2)))
    return pictureFromPlanes(hostTensor('float32', [1, channels, size, size], planes))
  }

  /** The velocity of pictures [N, Z, Y, X], each under what it is told. @throws M4Error `ENGINE`, `ABORTED` */
  async look(
    picture: Float32Array<ArrayBuffer>,
    time: number,
    told: readonly Float32Array[],
    signal?: AbortSignal,
  ): Promise<Float32Array> {
    const { channels, size, joint } = this.facts
    const rows = told.length
    const vectors = new Float32Array(rows * joint)
    for (const [row, vector] of told.entries()) vectors.set(vector, row * joint)
    const feeds: Record<string, Tensor> = {
      picture: this.#engine.tensor('float32', [rows, channels, size, size], picture),
      time: this.#engine.tensor('int64', [rows], new BigInt64Array(rows).fill(BigInt(time))),
      joint: this.#engine.tensor('float32', [rows, joint], vectors),
    }
    try {
      const { velocity } = await this.#velocity.run(feeds, ['velocity'], { signal })
      using result = velocity!
      return (result.data as Float32Array).slice()
    } finally {
      for (const tensor of Object.values(feeds)) tensor.dispose()
    }
  }

  protected override release(): void {
    this.#velocity.dispose()
    this.#larger?.dispose()
  }
}

/** @throws M4Error `IMAGE_INVALID`, `ENGINE` */
export async function openFlowPainter(
  image: Image,
  role: Role,
  entry: ModuleEntry,
  engine: Engine,
): Promise<FlowPainter> {
  const facts: FlowFacts = {
    channels: configNumber(entry, 'channels'),
    size: configNumber(entry, 'size'),
    joint: configNumber(entry, 'joint'),
  }
  const open: OpenGraph = (graph) => engine.createSession({ path: image.graphPath(role, graph) })
  return new FlowPainter(engine, await open('velocity'), facts, open)
}
