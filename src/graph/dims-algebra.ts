/**
 * Arithmetic on sizes that are not known yet. A dim is a sum of products over symbols (`T`, `P+T`, `2*T`, `B*T-1`), kept in
 * one canonical spelling, so that equal sizes are equal strings and one symbol keeps one size.
 * What has no such form (a division that leaves a rest) becomes one opaque symbol: `floor((T+1)/2)`.
 */

import type { Dim } from '../core/dims.js'

/** The size that a file does not name: nothing is known of it, not even that two of them are equal. */
export const UNKNOWN_DIM = '?'

/** Product of symbols (sorted, joined by `*`; '' for the constant) → coefficient. */
type Polynomial = ReadonlyMap<string, number>

const isSimple = (dim: Dim): dim is number => typeof dim === 'number'

/** True when nothing is known of `dim`. */
export const isUnknown = (dim: Dim): boolean => dim === UNKNOWN_DIM

/** A symbol that a shape rule made for a size that only the run can tell, or an expression over one. */
export const freshSymbol = (number: number): Dim => `_${number}`

/** True when a size may turn out to be anything: it gives way to whatever it meets, and the runtime checks it. */
export const isOpen = (dim: Dim): boolean => isUnknown(dim) || (!isSimple(dim) && /(?<![\w.])_\d+(?![\w.])/.test(dim))

/** True when the two sizes are the same in every run. Two unknown sizes are not. */
export function sameDim(a: Dim, b: Dim): boolean {
  if (isSimple(a) || isSimple(b)) return a === b || (isSimple(a) !== isSimple(b) && canonical(a) === canonical(b))
  return !isUnknown(a) && (a === b || canonical(a) === canonical(b))
}

/** The one spelling of a size: `T+P` → `P+T`, `T*2` → `2*T`, `3+4` → 7. */
export function canonical(dim: Dim): Dim {
  return isSimple(dim) ? dim : print(parse(dim))
}

export function addDims(a: Dim, b: Dim): Dim {
  if (isSimple(a) && isSimple(b)) return a + b
  if (isUnknown(a) || isUnknown(b)) return UNKNOWN_DIM
  return print(sum(parse(a), parse(b), 1))
}

export function subDims(a: Dim, b: Dim): Dim {
  if (isSimple(a) && isSimple(b)) return a - b
  if (isUnknown(a) || isUnknown(b)) return UNKNOWN_DIM
  return print(sum(parse(a), parse(b), -1))
}

export function mulDims(a: Dim, b: Dim): Dim {
  if (isSimple(a) && isSimple(b)) return a * b
  if (a === 0 || b === 0) return 0
  if (a === 1) return b
  if (b === 1) return a
  if (isUnknown(a) || isUnknown(b)) return UNKNOWN_DIM
  return print(product(parse(a), parse(b)))
}

/** The exact quotient, or undefined when it is not known to be exact. */
export function divideExactly(a: Dim, b: Dim): Dim | undefined {
  if (b === 1) return a
  if (b === 0 || isUnknown(a) || isUnknown(b)) return undefined
  if (isSimple(a) && isSimple(b)) return a % b === 0 ? a / b : undefined
  const numerator = parse(a)
  const divisor = [...parse(b)]
  if (divisor.length === 1) {
    const [monomial, coefficient] = divisor[0]!
    const out = new Map<string, number>()
    for (const [term, factor] of numerator) {
      const rest = removeFactors(term, monomial)
      if (rest === undefined || factor % coefficient !== 0) return undefined
      out.set(rest, factor / coefficient)
    }
    return print(out)
  }
  return divideBySum(numerator, divisor)
}

/** floor(a / b) for a positive number b. */
export function floorDivDims(a: Dim, b: number): Dim {
  if (isSimple(a)) return Math.floor(a / b)
  if (isUnknown(a)) return UNKNOWN_DIM
  return divideExactly(a, b) ?? `floor((${canonical(a)})/${b})`
}

/** The number that a size is when its symbols are these, or undefined when one is not among them. */
export function bindDim(dim: Dim, sizes: Readonly<Record<string, number>>): number | undefined {
  if (isSimple(dim)) return dim
  let total = 0
  for (const [term, factor] of parse(dim)) {
    let value = factor
    for (const symbol of factorsOf(term)) {
      const size = bindSymbol(symbol, sizes)
      if (size === undefined) return undefined
      value *= size
    }
    total += value
  }
  return total
}

function bindSymbol(symbol: string, sizes: Readonly<Record<string, number>>): number | undefined {
  if (Object.hasOwn(sizes, symbol)) return sizes[symbol]
  const [, dividend, divisor] = /^floor\(\((.*)\)\/(\d+)\)$/.exec(symbol) ?? []
  const size = dividend === undefined ? undefined : bindDim(dividend, sizes)
  return size === undefined ? undefined : Math.floor(size / Number(divisor))
}

/** Product of all sizes; 1 for none. */
export const productOfDims = (dims: readonly Dim[]): Dim => dims.reduce(mulDims, 1)

/**
 * The size of a result where `a` meets `b` under broadcasting, or undefined when they cannot meet: 1 gives way, an open size
 * gives way to a known one, and two different symbols do not meet.
 * @see https://github.com/onnx/onnx/blob/main/docs/Broadcasting.md
 */
export function broadcastDim(a: Dim, b: Dim): Dim | undefined {
  if (a === 1) return b
  if (b === 1 || sameDim(a, b)) return a
  if (isOpen(a)) return b
  return isOpen(b) ? a : undefined
}

/** Shape of the result when all `shapes` are broadcast together, or undefined when they do not fit. */
export function broadcastShapes(...shapes: readonly (readonly Dim[])[]): readonly Dim[] | undefined {
  let out: readonly Dim[] = shapes[0] ?? []
  for (const shape of shapes.slice(1)) {
    const rank = Math.max(out.length, shape.length)
    const next: Dim[] = []
    for (let i = 0; i < rank; i++) {
      const dim = broadcastDim(out[i - rank + out.length] ?? 1, shape[i - rank + shape.length] ?? 1)
      if (dim === undefined) return undefined
      next.push(dim)
    }
    out = next
  }
  return out
}

/** The better known of two sizes that must be the same, or undefined when they are known to differ. */
export function unifyDims(a: Dim, b: Dim): Dim | undefined {
  if (isOpen(a)) return b
  return isOpen(b) || sameDim(a, b) ? a : undefined
}

function sum(a: Polynomial, b: Polynomial, sign: 1 | -1): Polynomial {
  const out = new Map(a)
  for (const [term, factor] of b) out.set(term, (out.get(term) ?? 0) + sign * factor)
  return out
}

function product(a: Polynomial, b: Polynomial): Polynomial {
  const out = new Map<string, number>()
  for (const [x, fx] of a)
    for (const [y, fy] of b) {
      const term = [...factorsOf(x), ...factorsOf(y)].sort().join('*')
      out.set(term, (out.get(term) ?? 0) + fx * fy)
    }
  return out
}

/** (P+T)*64 / (P+T): the quotient by a sum, when it is one term. */
function divideBySum(numerator: Polynomial, divisor: readonly (readonly [string, number])[]): Dim | undefined {
  const [leadTerm, leadFactor] = divisor[0]!
  for (const [term, factor] of numerator) {
    const rest = removeFactors(term, leadTerm)
    if (rest === undefined || factor % leadFactor !== 0) continue
    const quotient: Polynomial = new Map([[rest, factor / leadFactor]])
    if (print(product(quotient, new Map(divisor))) === print(numerator)) return print(quotient)
  }
  return undefined
}

/** Factors of a product; `*` inside brackets belongs to an opaque symbol. */
function factorsOf(term: string): string[] {
  return term === '' ? [] : splitOutside(term, '*')
}

function removeFactors(term: string, monomial: string): string | undefined {
  const rest = factorsOf(term)
  for (const factor of factorsOf(monomial)) {
    const at = rest.indexOf(factor)
    if (at < 0) return undefined
    rest.splice(at, 1)
  }
  return rest.join('*')
}

const parsed = new Map<string, Polynomial>()

function parse(dim: Dim): Polynomial {
  if (isSimple(dim)) return new Map([['', dim]])
  const known = parsed.get(dim)
  if (known) return known
  const out = parseSum(dim)
  if (parsed.size > 4096) parsed.clear()
  parsed.set(dim, out)
  return out
}

/** Text that is no sum of products (names from foreign files may hold anything) is one symbol as a whole. */
function parseSum(text: string): Polynomial {
  const opaque: Polynomial = new Map([[text, 1]])
  const out = new Map<string, number>()
  for (const part of splitOutside(signsAsTerms(text.replace(/\s+/g, '')), '+')) {
    let factor = part.startsWith('-') ? -1 : 1
    const symbols: string[] = []
    for (const piece of splitOutside(part.replace(/^-/, ''), '*')) {
      if (/^\d+$/.test(piece)) factor *= Number(piece)
      else if (/^[A-Za-z_][\w.]*(\(.*\))?$/.test(piece)) symbols.push(piece)
      else return opaque
    }
    const term = symbols.sort().join('*')
    out.set(term, (out.get(term) ?? 0) + factor)
  }
  return out
}

function print(polynomial: Polynomial): Dim {
  let text = ''
  const terms = [...polynomial].filter(([, factor]) => factor !== 0)
  if (terms.length === 0) return 0
  // Symbols in order of spelling, the constant last; a positive term first if there is one.
  terms.sort(([x], [y]) => (x === '' ? 1 : y === '' ? -1 : x < y ? -1 : 1))
  const first = terms.findIndex(([, factor]) => factor > 0)
  if (first > 0) terms.unshift(...terms.splice(first, 1))
  if (terms.length === 1 && terms[0]![0] === '') return terms[0]![1]
  for (const [term, factor] of terms) {
    const size = Math.abs(factor)
    text += `${factor < 0 ? '-' : text ? '+' : ''}${term === '' ? size : size === 1 ? term : `${size}*${term}`}`
  }
  return text
}

/** `T-1` → `T+-1`, outside brackets. */
function signsAsTerms(text: string): string {
  let out = ''
  let depth = 0
  for (const char of text) {
    if (char === '(') depth++
    else if (char === ')') depth--
    out += char === '-' && depth === 0 && out !== '' && !/[+*-]$/.test(out) ? '+-' : char
  }
  return out
}

/** `text` split at `separator`, brackets respected. */
function splitOutside(text: string, separator: string): string[] {
  const parts: string[] = []
  let depth = 0
  let from = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++
    else if (text[i] === ')') depth--
    else if (text[i] === separator && depth === 0) {
      parts.push(text.slice(from, i))
      from = i + 1
    }
  }
  parts.push(text.slice(from))
  return parts
}
