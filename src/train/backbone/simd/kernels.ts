/**
 * The inner loops of requantisation: four to sixteen weights at once, where JavaScript does one.
 * Addresses are bytes of the memory. Rows end at `end`, rounded up to LANES weights: what lies behind a row is written too.
 */

import {
  assemble,
  type Code,
  f32x4,
  f64x2,
  i8x16,
  i16x8,
  i32,
  i32x4,
  kernel,
  type Local,
  repeat,
  v128,
} from './assembler.js'

/** Every loop takes so many weights at a time, or a part of that. */
export const LANES = 16

const advance = (local: Local, by: number): Code => local.set(i32.add(local.get, i32.const(by)))
const step = (local: Local, by: Local): Code => local.set(i32.add(local.get, by.get))
const below = (local: Local, end: Local): Code => i32.lt_u(local.get, end.get)
const sixteen = (value: number): Code => i8x16.const(Array.from({ length: 16 }, () => value))
const range = <T>(length: number, of: (i: number) => T): T[] => Array.from({ length }, (_, i) => of(i))

/** Sixteen signed codes · scale, as floats from `target` + `offset` on. */
function scaled(codes: Code, scale: Local, target: Local, offset: number): Code[] {
  const wide = [i16x8.extend_low_i8x16_s(codes), i16x8.extend_high_i8x16_s(codes)]
  const wider = wide.flatMap((part) => [i32x4.extend_low_i16x8_s(part), i32x4.extend_high_i16x8_s(part)])
  return wider.map((part, i) =>
    v128.store(target.get, f32x4.mul(f32x4.convert_i32x4_s(part), scale.get), offset + 16 * i),
  )
}

/** A row of blocks, each of `blockBytes` (a multiple of 16) with a scale: `chunk` turns 16 bytes into `count` floats. */
const unpack = (
  count: number,
  chunk: (local: Readonly<Record<'codes' | 'high' | 'scale' | 'values', Local>>) => Code[],
) =>
  kernel(
    ['bytes', 'end', 'blockBytes', 'scales', 'values'],
    { blockEnd: 'i32', scale: 'v128', codes: 'v128', high: 'v128' },
    ({ bytes, end, blockBytes, scales, blockEnd, ...local }) => {
      const sixteenBytes = [
        local.codes.set(v128.load(bytes.get)),
        ...chunk(local),
        advance(bytes, 16),
        advance(local.values, 4 * count),
      ]
      const block = [
        local.scale.set(v128.load32_splat(scales.get)),
        advance(scales, 4),
        blockEnd.set(i32.add(bytes.get, blockBytes.get)),
        repeat(sixteenBytes, below(bytes, blockEnd)),
      ]
      return [repeat(block, below(bytes, end))]
    },
  )

/** Zero point 128: with the highest bit turned, codes are signed. */
const unpack8 = unpack(16, ({ codes, scale, values }) => scaled(v128.xor(codes.get, sixteen(128)), scale, values, 0))

/** Two codes a byte, the low half first; zero point 8. */
const unpack4 = unpack(32, ({ codes, high, scale, values }) => {
  const inTurn = (first: number) => range(16, (i) => first + (i >> 1) + 16 * (i & 1))
  return [
    high.set(i8x16.sub(i8x16.shr_u(codes.get, i32.const(4)), sixteen(8))),
    codes.set(i8x16.sub(v128.and(codes.get, sixteen(15)), sixteen(8))),
    ...[0, 8].flatMap((first) => scaled(i8x16.shuffle(codes.get, high.get, inTurn(first)), scale, values, 8 * first)),
  ]
})

/** The larger of a size and the largest so far; what is no number counts as nothing. */
const larger = (largest: Code, value: Code): Code => f32x4.pmax(largest, f32x4.abs(value))

/** largest[k] = max(largest[k], |values[k]|) */
const largestOfColumns = kernel(['values', 'end', 'largest'], {}, ({ values, end, largest }) => [
  repeat(
    [
      v128.store(largest.get, larger(v128.load(largest.get), v128.load(values.get))),
      advance(values, 16),
      advance(largest, 16),
    ],
    below(values, end),
  ),
])

/** The four at `largest`: each of every fourth weight. */
const largestOfRow = kernel(['values', 'end', 'largest'], { found: 'v128' }, ({ values, end, largest, found }) => [
  repeat([found.set(larger(found.get, v128.load(values.get))), advance(values, 16)], below(values, end)),
  v128.store(largest.get, found.get),
])

/** Moved into the positive, so that cutting rounds: 1 to 255 stand for −127 to 127. */
const SHIFT = i8x16.const([...new Uint8Array(Float64Array.of(128.5, 128.5).buffer)])
/** Back: the highest bit turned is 128 less, in a byte. */
const SIGN = sixteen(128)

/** Four floats · inverse scales (as float64: two pairs), rounded and still shifted: four int32. */
function quantised(values: Local, [first, second]: readonly [Code, Code], shift: Local): Code {
  const two = (pair: Code, inverse: Code) =>
    i32x4.trunc_sat_f64x2_s_zero(f64x2.add(f64x2.mul(f64x2.promote_low_f32x4(pair), inverse), shift.get))
  const upper = i8x16.shuffle(
    values.get,
    values.get,
    range(16, (i) => (i + 8) % 16),
  )
  return i8x16.shuffle(
    two(values.get, first),
    two(upper, second),
    range(16, (i) => (i < 8 ? i : i + 8)),
  )
}

/** A row of codes in its order, an inverse scale for each weight. */
const keep = kernel(
  ['values', 'end', 'inverse', 'codes'],
  { shift: 'v128', x: 'v128', a: 'v128', b: 'v128', c: 'v128', d: 'v128' },
  ({ values, end, inverse, codes, shift, x, a, b, c, d }) => {
    const four = (target: Local, i: number) => [
      x.set(v128.load(values.get, 16 * i)),
      target.set(quantised(x, [v128.load(inverse.get, 32 * i), v128.load(inverse.get, 32 * i + 16)], shift)),
    ]
    const halves = [i16x8.narrow_i32x4_s(a.get, b.get), i16x8.narrow_i32x4_s(c.get, d.get)]
    return [
      shift.set(SHIFT),
      repeat(
        [
          ...[a, b, c, d].flatMap(four),
          v128.store(codes.get, v128.xor(i8x16.narrow_i16x8_u(...halves), SIGN)),
          advance(values, 64),
          advance(inverse, 128),
          advance(codes, 16),
        ],
        below(values, end),
      ),
    ]
  },
)

/** Rows that `turn` takes at a time. */
export const TURNED_ROWS = 4

/** Four rows of codes, turned: a line for each column, the four side by side in it. One inverse scale a row. */
const turn = kernel(
  ['values', 'end', 'rowBytes', 'inverse', 'codes', 'lineBytes'],
  { at: 'i32', shift: 'v128', x: 'v128', all: 'v128', i0: 'v128', i1: 'v128', i2: 'v128', i3: 'v128' },
  ({ values, end, rowBytes, inverse, codes, lineBytes, at, shift, x, all, ...by }) => {
    const inverses = [by.i0, by.i1, by.i2, by.i3]
    const row = (own: Local, r: number) => {
      const code = quantised(x, [own.get, own.get], shift)
      return [
        x.set(v128.load(at.get)),
        all.set(r === 0 ? code : v128.or(all.get, i32x4.shl(code, i32.const(8 * r)))),
        step(at, rowBytes),
      ]
    }
    return [
      shift.set(SHIFT),
      ...inverses.map((own, r) => own.set(v128.load64_splat(inverse.get, 8 * r))),
      repeat(
        [
          at.set(values.get),
          ...inverses.flatMap(row),
          all.set(v128.xor(all.get, SIGN)),
          ...range(4, (lane) => [v128.store32_lane(codes.get, all.get, lane), step(codes, lineBytes)]).flat(),
          advance(values, 16),
        ],
        below(values, end),
      ),
    ]
  },
)

const KERNELS = { unpack4, unpack8, largestOfColumns, largestOfRow, keep, turn }

type Numbers<Params extends readonly string[]> = { readonly [I in keyof Params]: number }

/** Each takes numbers in the order of its parameters. */
export type Kernels = {
  readonly [K in keyof typeof KERNELS]: (...addresses: Numbers<(typeof KERNELS)[K]['params']>) => void
}

let compiled: WebAssembly.Module | undefined

/** The loops over a memory. */
export function kernelsOver(memory: WebAssembly.Memory): Kernels {
  compiled ??= new WebAssembly.Module(assemble(KERNELS))
  return new WebAssembly.Instance(compiled, { host: { memory } }).exports as unknown as Kernels
}
