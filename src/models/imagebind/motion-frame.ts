/**
 * Motion whichever way the device is held: beside the six measured channels, six that no rotation of the device changes, told by
 * where gravity points; and plain statistics of all twelve for heads, which a class token does not keep.
 *
 * @paper 10.1109/ISWC.2003.1241424 (the mean acceleration of a window stands for gravity)
 */

import type { Scope, Value } from '../../graph/index.js'

/** Acceleration is counted in these, so that both sensors are of one size. */
const GRAVITY_M_S2 = 9.80665
/** What the frame adds to the measured channels. */
export const FRAME_CHANNELS = 6
/** Roots and logarithms of less are not taken. */
const FLOOR = 1e-6
/** Of the spectrum of a window: bins whose power is a statistic, and the lowest ones, whose phase is told too. */
const BINS = 12
const PHASED_BINS = 3
const STATISTICS_PER_CHANNEL = 2 + BINS + 2 * PHASED_BINS

/** Width of `motionStatistics`. */
export const statisticsWidth = (channels: number): number => channels * STATISTICS_PER_CHANNEL

/**
 * `motion` [B, 6, N], m/s² and rad/s → [B, 12, N]: acceleration in g and rotation, as measured; then, by the mean acceleration of
 * the window: acceleration along gravity and across it, rotation about gravity and across it, and two products of what lies across,
 * rotation · acceleration and (gravity × rotation) · acceleration, which tell tilting back from tilting forth.
 */
export function gravityFrame(g: Scope, motion: Value): Value {
  const sensor = (first: number, name: string) =>
    g.op('Slice', [motion, g.int64([first]), g.int64([first + 3]), g.int64([1])], {}, name) // [B, 3, N]
  const acceleration = g.op('Div', [sensor(0, 'measured'), g.float32(GRAVITY_M_S2)], {}, 'acceleration')
  const rotation = sensor(3, 'rotation')
  const mean = g.op('ReduceMean', [acceleration, g.int64([2])], { keepdims: 1 }, 'mean') // [B, 3, 1]
  const down = g.op('Div', [mean, lengthOf(g, mean)], {}, 'down')
  const vertical = dot(g, acceleration, down)
  const turn = dot(g, rotation, down)
  const across = (x: Value, part: Value) => g.op('Sub', [x, g.op('Mul', [part, down])])
  const level = across(acceleration, vertical)
  const tilt = across(rotation, turn)
  const invariant = [
    vertical,
    lengthOf(g, level),
    turn,
    lengthOf(g, tilt),
    dot(g, tilt, level),
    dot(g, cross(g, down, tilt), level),
  ]
  return g.op('Concat', [acceleration, rotation, ...invariant], { axis: 1 }, 'channels')
}

/** Over the axes. [B, 3, N] → [B, 1, N] */
const dot = (g: Scope, a: Value, b: Value): Value =>
  g.op('ReduceSum', [g.op('Mul', [a, b]), g.int64([1])], { keepdims: 1 })

const lengthOf = (g: Scope, x: Value): Value => g.op('Sqrt', [g.op('Max', [dot(g, x, x), g.float32(FLOOR)])])

/** a × b, [B, 3, N] */
function cross(g: Scope, a: Value, b: Value): Value {
  const turned = (x: Value, order: readonly number[]) => g.op('Gather', [x, g.int64(order)], { axis: 1 })
  const [next, last] = [
    [1, 2, 0],
    [2, 0, 1],
  ] as const
  return g.op('Sub', [g.op('Mul', [turned(a, next), turned(b, last)]), g.op('Mul', [turned(a, last), turned(b, next)])])
}

/**
 * [B, K, N] → [B, 20·K]: of each channel the mean, the logarithm of the variance, the logarithmic power of the bins 1 to 12 of the
 * spectrum of the window, and sine and cosine of the lowest three.
 */
export function motionStatistics(g: Scope, channels: Value): Value {
  const [, count, samples] = channels.dims as [unknown, number, number]
  const over = g.int64([2])
  const mean = g.op('ReduceMean', [channels, over], { keepdims: 1 }, 'means') // [B, K, 1]
  const centred = g.op('Sub', [channels, mean], {}, 'centred')
  const variance = g.op('ReduceMean', [g.op('Mul', [centred, centred]), over], { keepdims: 1 }, 'variances')
  const wave = (kind: (angle: number) => number, name: string) =>
    g.op('MatMul', [centred, g.float32(waves(samples, kind), [samples, BINS])], {}, name) // [B, K, BINS]
  const [sine, cosine] = [wave(Math.sin, 'sines'), wave(Math.cos, 'cosines')]
  const power = g.op('Add', [g.op('Mul', [sine, sine]), g.op('Mul', [cosine, cosine])], {}, 'powers')
  const logarithm = (x: Value) => g.op('Log', [g.op('Max', [x, g.float32(FLOOR)])])
  const lowest = (x: Value) => g.op('Slice', [x, g.int64([0]), g.int64([PHASED_BINS]), g.int64([2])])
  const all = [mean, logarithm(variance), logarithm(power), lowest(sine), lowest(cosine)]
  const rows = g.op('Concat', all, { axis: 2 }, 'perChannel') // [B, K, 20]
  return g.op('Reshape', [rows, g.int64([-1, statisticsWidth(count)])], {}, 'statistics')
}

/** Bins 1 to 12 of the Fourier series of a window, each of amplitude 1 at amplitude 1. [N, BINS] */
const waves = (samples: number, kind: (angle: number) => number): Float32Array =>
  Float32Array.from({ length: samples * BINS }, (_, i) => {
    const [n, bin] = [Math.floor(i / BINS), (i % BINS) + 1]
    return (2 / samples) * kind((2 * Math.PI * bin * n) / samples)
  })
