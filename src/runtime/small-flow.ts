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

export class FlowPainter extends Handle {
  readonly facts: FlowFacts
  readonly #engine: Engine
  readonly #velocity: Session

  constructor(engine: Engine, velocity: Session, facts: FlowFacts) {
    super('flow-painter')
    this.facts = facts
    this.#engine = engine
    this.#velocity = velocity
  }

  /** Tells every step that is done; the picture at the end. Same options, same picture. @throws M4Error `INVALID_REQUEST`, `ABORTED`, `ENGINE` */
  async *paint(options: FlowOptions): AsyncGenerator<StepDone, Picture> {
    this.assertLive('paint')
    const { given, away, steps, guidance, signal } = options
    if (!Number.isInteger(steps) || steps < 1 || steps > LAST_TIME)
      throw new M4Error('INVALID_REQUEST', `steps: expected a whole number from 1 to ${LAST_TIME}, got ${steps}.`)
    const { channels, size } = this.facts
    const normal = normalSource(options.seed)
    const dots = Float32Array.from({ length: channels * size * size }, normal)
    const told = guidance === 1 ? [given] : [away, given]
    const times = Array.from({ length: steps + 1 }, (_, i) => Math.round((LAST_TIME * i) / steps))
    for (let i = 0; i < steps; i++) {
      throwIfAborted(signal)
      const said = await this.#look(dots, times[i]!, told, signal)
      const share = (times[i + 1]! - times[i]!) / LAST_TIME
      const last = said.length - dots.length
      for (let d = 0; d < dots.length; d++) {
        const [plain, asked] = [said[d]!, said[last + d]!]
        dots[d]! += share * (last ? plain + guidance * (asked - plain) : plain)
      }
      yield { done: i + 1, of: steps }
    }
    const planes = dots.map((value) => Math.min(1, Math.max(0, (value + 1) / 2)))
    return pictureFromPlanes(hostTensor('float32', [1, channels, size, size], planes))
  }

  /** The velocity under each of what is told, one after the other. */
  async #look(
    dots: Float32Array,
    time: number,
    told: readonly Float32Array[],
    signal: AbortSignal | undefined,
  ): Promise<Float32Array> {
    const { channels, size, joint } = this.facts
    const rows = told.length
    const picture = new Float32Array(rows * dots.length)
    const vectors = new Float32Array(rows * joint)
    for (const [row, vector] of told.entries()) {
      picture.set(dots, row * dots.length)
      vectors.set(vector, row * joint)
    }
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
  return new FlowPainter(engine, await engine.createSession({ path: image.graphPath(role, 'velocity') }), facts)
}
