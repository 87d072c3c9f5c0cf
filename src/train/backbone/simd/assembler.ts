/**
 * Loops in WebAssembly, written as nested calls: each instruction takes its operands as code and gives code. Only what kernels.ts
 * needs; names are those of the text format.
 *
 * @see https://webassembly.github.io/spec/core/binary/
 */

/** Bytes of instructions that leave at most one value. */
export type Code = readonly number[]

const bytes = (...parts: readonly (number | Code)[]): number[] => parts.flat()

/** Numbers of variable length, seven bits a byte (LEB128). */
function unsigned(value: number): number[] {
  const found: number[] = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...found, rest]
    found.push((rest & 0x7f) | 0x80)
  }
}

function signed(value: number): number[] {
  const found: number[] = []
  for (let rest = value; ; rest >>= 7) {
    const low = rest & 0x7f
    if (rest >> 6 === 0 || rest >> 6 === -1) return [...found, low]
    found.push(low | 0x80)
  }
}

const list = (items: readonly Code[]): number[] => bytes(unsigned(items.length), ...items)
const sized = (content: Code): number[] => bytes(unsigned(content.length), content)

const scalar =
  (opcode: number) =>
  (...operands: Code[]): Code =>
    bytes(...operands, opcode)
const vector =
  (opcode: number) =>
  (...operands: Code[]): Code =>
    bytes(...operands, 0xfd, unsigned(opcode))
/** No promise of alignment. */
const access =
  (opcode: number) =>
  (address: Code, value: Code = [], offset = 0): Code =>
    bytes(address, value, 0xfd, unsigned(opcode), 0, unsigned(offset))

export const i32 = { const: (value: number): Code => [0x41, ...signed(value)], add: scalar(0x6a), lt_u: scalar(0x49) }

const load = (opcode: number) => (address: Code, offset?: number) => access(opcode)(address, [], offset)

export const v128 = {
  load: load(0x00),
  load32_splat: load(0x09),
  load64_splat: load(0x0a),
  store: access(0x0b),
  store32_lane: (address: Code, value: Code, lane: number): Code => [...access(0x5a)(address, value), lane],
  and: vector(0x4e),
  or: vector(0x50),
  xor: vector(0x51),
}
export const i8x16 = {
  const: (values: readonly number[]): Code => [0xfd, 0x0c, ...values],
  shuffle: (a: Code, b: Code, lanes: readonly number[]): Code => [...vector(0x0d)(a, b), ...lanes],
  narrow_i16x8_u: vector(0x66),
  shr_u: vector(0x6d),
  sub: vector(0x71),
}
export const i16x8 = {
  narrow_i32x4_s: vector(0x85),
  extend_low_i8x16_s: vector(0x87),
  extend_high_i8x16_s: vector(0x88),
}
export const i32x4 = {
  extend_low_i16x8_s: vector(0xa7),
  extend_high_i16x8_s: vector(0xa8),
  shl: vector(0xab),
  trunc_sat_f64x2_s_zero: vector(0xfc),
}
export const f32x4 = { abs: vector(0xe0), mul: vector(0xe6), pmax: vector(0xeb), convert_i32x4_s: vector(0xfa) }
export const f64x2 = { promote_low_f32x4: vector(0x5f), add: vector(0xf0), mul: vector(0xf2) }

const TYPES = { i32: 0x7f, v128: 0x7b } as const

export interface Local {
  readonly get: Code
  set(value: Code): Code
}

/** Runs `body` until `more` is zero: at least once. */
export const repeat = (body: readonly Code[], more: Code): Code => bytes(0x03, 0x40, ...body, more, 0x0d, 0, 0x0b)

/** A function of numbers (i32) without a result. */
export interface Kernel<Params extends readonly string[] = readonly string[]> {
  readonly params: Params
  readonly locals: Readonly<Record<string, keyof typeof TYPES>>
  readonly body: readonly Code[]
}

/** `body` gets the parameters and the other locals by name. */
export function kernel<const P extends readonly string[], L extends string>(
  params: P,
  locals: Readonly<Record<L, keyof typeof TYPES>>,
  body: (local: Readonly<Record<P[number] | L, Local>>) => readonly Code[],
): Kernel<P> {
  const names = [...params, ...Object.keys(locals)]
  const local = (i: number): Local => ({
    get: [0x20, ...unsigned(i)],
    set: (value) => bytes(value, 0x21, unsigned(i)),
  })
  const byName = Object.fromEntries(names.map((name, i) => [name, local(i)]))
  return { params, locals, body: body(byName as Record<P[number] | L, Local>) }
}

/** A module with one memory, imported as `host.memory`, that exports its kernels. */
export function assemble(kernels: Readonly<Record<string, Kernel>>): Uint8Array<ArrayBuffer> {
  const entries = Object.entries(kernels)
  const name = (text: string) => sized([...new TextEncoder().encode(text)])
  const sections: [id: number, content: Code][] = [
    [1, list(entries.map(([, { params }]) => bytes(0x60, list(params.map(() => [TYPES.i32])), 0)))],
    [2, list([bytes(name('host'), name('memory'), 0x02, 0x00, unsigned(1))])],
    [3, list(entries.map((_, i) => unsigned(i)))],
    [7, list(entries.map(([key], i) => bytes(name(key), 0x00, unsigned(i))))],
    [10, list(entries.map(([, kernel]) => sized(functionBody(kernel))))],
  ]
  return new Uint8Array(
    bytes(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.map(([id, content]) => bytes(id, sized(content)))),
  )
}

function functionBody({ locals, body }: Kernel): Code {
  return bytes(list(Object.values(locals).map((type) => [1, TYPES[type]])), ...body, 0x0b)
}
