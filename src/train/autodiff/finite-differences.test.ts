/**
 * Every gradient rule against central differences of its operator, for every case of the operator table: with known sizes, with all
 * sizes symbolic, and with the same graph at other sizes. What is not compared is listed in rules/testing/gradient-cases.ts.
 * M4FM_SHOW_ERRORS=1 prints the largest errors.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { liveHandles } from '../../core/index.js'
import { openEngine } from '../../engine/index.js'
import type { Engine } from '../../engine/types.js'
import { OPS, type OpName } from '../../graph/index.js'
import type { OpCase } from '../../graph/testing/op-cases.js'
import {
  type DimsOf,
  differences,
  gradientGraph,
  opened,
  relativeError,
  ruleGradients,
} from './rules/testing/finite-differences.js'
import {
  askedOf,
  CASES,
  exclusion,
  heardOf,
  isListed,
  KNOWN_SIZES,
  NOT_COMPARED,
  PAST_OF_KNOWN_SIZE,
  THESE_SIZES,
  WITHOUT_GRADIENT,
} from './rules/testing/gradient-cases.js'
import { symbolised } from './rules/testing/symbols.js'
import { GRADIENT_RULES } from './rules.js'

/** Largest error as a share of the largest gradient of an input. */
const LIMIT = 1e-3
const LIMITS: { readonly [K in OpName]?: number } = { Div: 2e-3, Log: 2e-3 }
const STEP = 2 ** -6
/** Long sums round more, and curve less. */
const STEPS: { readonly [K in OpName]?: number } = { MultiHeadAttention: 2 ** -4, GroupQueryAttention: 2 ** -4 }
/** Made of straight pieces: any step is exact that stays within one. */
const PIECEWISE: readonly OpName[] = ['Max', 'Min', 'Abs', 'Relu', 'Clip', 'ReduceMax']
const PIECE_STEP = 2 ** -10

const compared = CASES.filter((each) => exclusion(each) === undefined)

let engine: Engine
const worst = new Map<string, number>()
beforeAll(async () => {
  engine = await openEngine({ threads: 2 })
})
afterAll(() => {
  if (process.env.M4FM_SHOW_ERRORS)
    console.log(
      [...worst]
        .sort((a, b) => b[1] - a[1])
        .slice(0, 25)
        .map(([name, error]) => `${error.toExponential(1)} ${name}`)
        .join('\n'),
    )
  expect(liveHandles()).toEqual({})
})

describe.each(compared.map((each) => [each.name, each] as const))('%s', (name, each) => {
  const { op } = each
  const [asked, heard] = [askedOf(each), heardOf(each)]
  const piecewise = PIECEWISE.includes(op)
  const options = { asked, heard, step: piecewise ? PIECE_STEP : (STEPS[op] ?? STEP), richardson: !piecewise }
  const check = async (opCase: OpCase, dimsOf: DimsOf | undefined, which: string, only = heard) => {
    const expected = await differences(engine, op, opCase, { ...options, heard: only })
    const { graph, missing } = gradientGraph(op, opCase, asked, only, dimsOf)
    const found = graph ? await ruleGradients(engine, graph, opCase, expected.outputs) : new Map<number, Float32Array>()
    for (const i of asked) {
      const slopes = expected.gradients.get(i)!
      const count = opCase.inputs[i]!.values.length
      const error = relativeError(missing.includes(i) ? new Float32Array(count) : found.get(i)!, slopes)
      worst.set(name, Math.max(worst.get(name) ?? 0, error))
      expect(error, `${which}, input ${i}`).toBeLessThan(LIMITS[op] ?? LIMIT)
    }
  }

  test('known sizes', async () => {
    const all = isListed(PAST_OF_KNOWN_SIZE, each) ? [0] : heard
    await check(opened(each.case), undefined, 'all outputs', all)
    if (all.length > 1) await check(opened(each.case), undefined, 'first output', heard.slice(0, 1))
  })

  const symbolic = symbolised(op, each.case)
  if (symbolic.any && !isListed(KNOWN_SIZES, each))
    test('symbolic sizes', async () => check(symbolic.case, symbolic.dimsOf, 'symbolic'))

  if (symbolic.any && !isListed(KNOWN_SIZES, each) && !isListed(THESE_SIZES, each))
    test('the same graph at other sizes', async () => {
      const grown = symbolised(op, each.case, true)
      await check(grown.case, grown.dimsOf, 'grown')
    })
})

test('what is not compared is listed, with the reason', () => {
  const left = CASES.map((each) => `${exclusion(each)}; ${each.name}`)
  const known = Object.entries(NOT_COMPARED).flatMap(([why, ops]) =>
    Object.entries(ops).flatMap(([op, names]) => names.map((name) => `${why}; ${op}: ${name}`)),
  )
  expect(left.filter((line) => !/^(undefined|no gradient);/.test(line)).sort()).toEqual(known.sort())
  const without = (Object.keys(OPS) as OpName[]).filter((op) => typeof GRADIENT_RULES[op] !== 'function')
  expect(without.sort()).toEqual([...WITHOUT_GRADIENT].sort())
})

test.each(Object.keys(OPS) as OpName[])('%s: a rule that is compared, or a reason', (op) => {
  const rule = GRADIENT_RULES[op]
  if (typeof rule === 'function') expect(compared.filter((each) => each.op === op)).not.toEqual([])
  else expect(rule.reason).toMatch(/^[a-z].{10,}[^.]$/)
})
