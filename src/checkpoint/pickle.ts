/**
 * A restricted unpickler: the opcodes of protocols 2 to 5 that torch and numpy write, in one frozen table, over plain data.
 * Globals become values only through the allow-list of `pickle-globals.ts`; nothing is imported, nothing is called.
 */

import type { M4Error } from '../core/errors.js'
import { unsupported } from './byte-source.js'
import type { Cursor } from './cursor.js'
import { buildState, callGlobal, nameGlobal } from './pickle-globals.js'
import { PickleGlobal, PickleLeaf, type PickleValue } from './pickle-values.js'

/** Turns a persistent id (`('storage', …)`) into what it stands for. */
export type PersistentLoad = (id: PickleValue, fail: (problem: string) => M4Error) => PickleValue

interface Machine {
  readonly cursor: Cursor
  readonly persistentLoad: PersistentLoad
  stack: PickleValue[]
  /** Stacks below the marks. */
  readonly marks: PickleValue[][]
  readonly memo: Map<number, PickleValue>
}

type Step = (machine: Machine) => void

const MAX_LINE_BYTES = 1000
/** Integers of torch checkpoints are counts and seeds; a larger one is an attack on bigint arithmetic. */
const MAX_LONG_BYTES = 256

const push =
  (value: (machine: Machine) => PickleValue): Step =>
  (machine) => {
    const result = value(machine) // first: it may put another stack in place
    machine.stack.push(result)
  }

const memoise =
  (index: (machine: Machine) => number): Step =>
  (machine) => {
    machine.memo.set(index(machine), top(machine))
  }

const recall = (index: (machine: Machine) => number): Step =>
  push((machine) => {
    const at = index(machine)
    const value = machine.memo.get(at)
    if (value === undefined) throw machine.cursor.fail(`the pickle recalls ${at}, which was never stored`)
    return value
  })

const tuple = (count: number): Step =>
  push((machine) => {
    const items = Array.from({ length: count }, () => pop(machine))
    return items.reverse()
  })

const text = (length: (machine: Machine) => number): Step => push((machine) => machine.cursor.text(length(machine)))
const bytes = (length: (machine: Machine) => number): Step => push((machine) => machine.cursor.bytes(length(machine)))
/** Python 2 `str`: bytes that every torch file of that time means as latin-1 text. */
const latin1 = (length: (machine: Machine) => number): Step =>
  push((machine) => latin1Text(machine.cursor.bytes(length(machine))))

const u8 = ({ cursor }: Machine) => cursor.u8()
const u16 = ({ cursor }: Machine) => cursor.u16()
const u32 = ({ cursor }: Machine) => cursor.u32()
const i32 = ({ cursor }: Machine) => cursor.i32()
const u64 = ({ cursor }: Machine) => cursor.size64('a length')

const call: Step = (machine) => {
  const args = pop(machine)
  const callee = pop(machine)
  if (!(callee instanceof PickleGlobal) || !Array.isArray(args))
    throw machine.cursor.fail('the pickle calls something that is not a global with a tuple')
  machine.stack.push(callGlobal(machine.cursor, callee.name, args))
}

/** Opcode → step. STOP is handled by the loop; opcodes that are not here are refused. */
const OPCODES: Readonly<Record<number, Step>> = Object.freeze({
  [code('(')]: (machine) => {
    machine.marks.push(machine.stack)
    machine.stack = []
  },
  [code('0')]: (machine) => void pop(machine),
  [code('1')]: (machine) => void popMark(machine),
  [code('2')]: push(top),
  [code('N')]: push(() => null),
  [code('J')]: push(i32),
  [code('K')]: push(u8),
  [code('M')]: push(u16),
  [code('G')]: push(({ cursor }) => cursor.f64(false)),
  [code('T')]: latin1(u32),
  [code('U')]: latin1(u8),
  [code('X')]: text(u32),
  [code('B')]: bytes(u32),
  [code('C')]: bytes(u8),
  [code('c')]: push(({ cursor }) => {
    const module = cursor.line(MAX_LINE_BYTES)
    return nameGlobal(cursor, `${module}.${cursor.line(MAX_LINE_BYTES)}`)
  }),
  [code(')')]: push(() => []),
  [code(']')]: push(() => []),
  [code('}')]: push(() => new Map()),
  [code('t')]: push(popMark),
  [code('a')]: (machine) => {
    const item = pop(machine)
    listOf(machine, top(machine)).push(item)
  },
  [code('e')]: (machine) => {
    const items = popMark(machine)
    const list = listOf(machine, top(machine))
    for (const item of items) list.push(item)
  },
  [code('s')]: (machine) => {
    const value = pop(machine)
    const key = pop(machine)
    mapOf(machine, top(machine)).set(key, value)
  },
  [code('u')]: (machine) => {
    const items = popMark(machine)
    const map = mapOf(machine, top(machine))
    if (items.length % 2) throw machine.cursor.fail('a key without a value')
    for (let i = 0; i < items.length; i += 2) map.set(items[i]!, items[i + 1]!)
  },
  [code('b')]: (machine) => {
    const state = pop(machine)
    buildState(machine.cursor, top(machine), state)
  },
  [code('R')]: call,
  [code('q')]: memoise(u8),
  [code('r')]: memoise(u32),
  [code('h')]: recall(u8),
  [code('j')]: recall(u32),
  [code('Q')]: push((machine) => machine.persistentLoad(pop(machine), (problem) => machine.cursor.fail(problem))),
  128: ({ cursor }) => {
    const protocol = cursor.u8()
    if (protocol < 2 || protocol > 5)
      throw unsupported(cursor.source.name, `pickle protocol ${protocol}, 2 to 5 are read`, 'Save it again with torch.')
  },
  129: call,
  133: tuple(1),
  134: tuple(2),
  135: tuple(3),
  136: push(() => true),
  137: push(() => false),
  138: push((machine) => long(machine, u8(machine))),
  139: push((machine) => long(machine, u32(machine))),
  140: text(u8),
  141: text(u64),
  142: bytes(u64),
  143: push(() => new PickleLeaf(new Set<PickleValue>())),
  144: (machine) => {
    const items = popMark(machine)
    const set = top(machine)
    if (!(set instanceof PickleLeaf) || !(set.value instanceof Set))
      throw machine.cursor.fail('items for what is no set')
    for (const item of items) set.value.add(item)
  },
  145: push((machine) => new PickleLeaf(new Set(popMark(machine)))),
  147: push((machine) => {
    const name = pop(machine)
    return nameGlobal(machine.cursor, `${String(pop(machine))}.${String(name)}`)
  }),
  148: memoise(({ memo }) => memo.size),
  149: ({ cursor }) => cursor.skip(8),
  150: bytes(u64),
})

const STOP = code('.')

/**
 * The value of the pickle at the cursor, which is left behind its STOP.
 * @throws M4Error `UNSAFE_PICKLE` for any global that is not in the allow-list, `FORMAT_INVALID`, `FORMAT_UNSUPPORTED`
 */
export function unpickle(cursor: Cursor, persistentLoad: PersistentLoad): PickleValue {
  const machine: Machine = { cursor, persistentLoad, stack: [], marks: [], memo: new Map() }
  for (;;) {
    const opcode = cursor.u8()
    if (opcode === STOP) return pop(machine)
    const step = OPCODES[opcode]
    if (!step)
      throw cursor.fail(
        `opcode 0x${opcode.toString(16)} is not one that torch writes`,
        'Convert the file to safetensors.',
      )
    step(machine)
  }
}

/** Bytes as latin-1 text. */
export function latin1Text(raw: Uint8Array): string {
  let result = ''
  for (const byte of raw) result += String.fromCharCode(byte)
  return result
}

function code(character: string): number {
  return character.charCodeAt(0)
}

function pop(machine: Machine): PickleValue {
  const value = machine.stack.pop()
  if (value === undefined) throw machine.cursor.fail('the pickle takes from an empty stack')
  return value
}

function top(machine: Machine): PickleValue {
  const value = machine.stack.at(-1)
  if (value === undefined) throw machine.cursor.fail('the pickle looks at an empty stack')
  return value
}

/** The items above the last mark. */
function popMark(machine: Machine): PickleValue[] {
  const below = machine.marks.pop()
  if (!below) throw machine.cursor.fail('the pickle goes back to a mark that it never set')
  const items = machine.stack
  machine.stack = below
  return items
}

function listOf(machine: Machine, value: PickleValue): PickleValue[] {
  if (!Array.isArray(value)) throw machine.cursor.fail('the pickle appends to what is no list')
  return value
}

function mapOf(machine: Machine, value: PickleValue): Map<PickleValue, PickleValue> {
  if (!(value instanceof Map)) throw machine.cursor.fail('the pickle sets an item of what is no dict')
  return value
}

/** Little-endian two's complement. */
function long(machine: Machine, length: number): number | bigint {
  if (length > MAX_LONG_BYTES) throw machine.cursor.fail(`an integer of ${length} bytes`)
  const raw = machine.cursor.bytes(length)
  let value = 0n
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(raw[i]!)
  if (length && raw[length - 1]! & 0x80) value -= 1n << BigInt(8 * length)
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
