/** Two trees of plain values — numbers within a tolerance, everything else equal — as one report for each key at the top. */

import type { OutputReport } from './types.js'

export interface TreeTolerance {
  readonly atol: number
  readonly rtol: number
}

/** Keys that only `got` has do not count; keys that it lacks do. */
export function compareTree(expected: unknown, got: unknown, tolerance: TreeTolerance): OutputReport[] {
  if (!isTree(expected) || Array.isArray(expected)) return [report('all', compareAt('', expected, got, tolerance))]
  return Object.entries(expected).map(([key, value]) =>
    report(key, compareAt(key, value, isTree(got) ? got[key] : undefined, tolerance)),
  )
}

interface Leaf {
  readonly path: string
  readonly difference: number
  readonly relative: number
  readonly wrong: string | undefined
}

function compareAt(path: string, expected: unknown, got: unknown, tolerance: TreeTolerance): Leaf[] {
  if (isTree(expected)) {
    const lengths = [expected, got].map((each) => (Array.isArray(each) ? each.length : -1))
    if (!isTree(got) || lengths[0] !== lengths[1]) return [different(path, expected, got)]
    return Object.entries(expected).flatMap(([key, value]) => compareAt(`${path}.${key}`, value, got[key], tolerance))
  }
  if (typeof expected !== 'number' || typeof got !== 'number')
    return expected === got
      ? [{ path, difference: 0, relative: 0, wrong: undefined }]
      : [different(path, expected, got)]
  const difference = Math.abs(expected - got)
  const within = expected === got || difference <= tolerance.atol + tolerance.rtol * Math.abs(expected)
  if (Number.isNaN(difference)) return [different(path, expected, got)]
  const relative = expected === 0 ? 0 : difference / Math.abs(expected)
  return [{ path, difference, relative, wrong: within ? undefined : `expected ${expected}, got ${got}` }]
}

const different = (path: string, expected: unknown, got: unknown): Leaf => ({
  path,
  difference: Number.MAX_VALUE,
  relative: Number.MAX_VALUE,
  wrong: `expected ${short(expected)}, got ${short(got)}`,
})

const short = (value: unknown) => (JSON.stringify(value) ?? 'nothing').slice(0, 80)

function report(name: string, leaves: readonly Leaf[]): OutputReport {
  const wrong = leaves.filter((leaf) => leaf.wrong !== undefined)
  const largest = (of: (leaf: Leaf) => number) => leaves.reduce((most, leaf) => Math.max(most, of(leaf)), 0)
  return {
    name,
    maxAbs: largest(({ difference }) => difference),
    maxRel: largest(({ relative }) => relative),
    pass: wrong.length === 0,
    ...(wrong.length
      ? { note: `${wrong.length} of ${leaves.length} differ; ${wrong[0]!.path}: ${wrong[0]!.wrong}` }
      : {}),
  }
}

const isTree = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
