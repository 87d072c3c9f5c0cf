/** The data of a request: read, checked, split so that nothing is on both sides, and drawn from where only a share is asked for. */

import type { Say, Sides, TrainRequest } from './course.js'
import {
  assertUsable,
  checkSplits,
  type DataSet,
  type Finding,
  fewShot,
  openDataSet,
  splitDataSet,
} from './data/index.js'

/** Held-out samples of a split: more do not make a metric much surer, and all are carried in the package. */
const [FEWEST, MOST] = [2, 500]

/** @throws M4Error `FORMAT_INVALID` for data that cannot be trained on, `FILE_NOT_FOUND`, `USAGE`, `INVALID_REQUEST` */
export async function openSides(request: TrainRequest, say: Say): Promise<Sides> {
  const { options = {}, evalData, onProgress, signal } = request
  const { seed = 0, fraction = 1, evalFraction = 0.1 } = options
  const long = { ...(onProgress ? { onProgress } : {}), ...(signal ? { signal } : {}) }
  const tell = (found: readonly Finding[]) => {
    for (const finding of found) say(finding)
  }
  const data = await openDataSet(request.data, { ...options.read, ...long })
  tell(data.findings)
  assertUsable(data)
  const drawn = (all: DataSet) => (fraction >= 1 ? all : fewShot(all, { fraction, seed }))
  if (evalData !== undefined) {
    const evaluation = await openDataSet(evalData, { ...options.read, use: 'eval', ...long })
    const findings = [...evaluation.findings, ...checkSplits(data, evaluation)]
    tell(findings)
    assertUsable({ path: evaluation.path, findings })
    return { data, train: drawn(data), evaluation }
  }
  const count = Math.min(MOST, Math.max(FEWEST, Math.round(evalFraction * data.samples.length)))
  const split = splitDataSet(data, { evalCount: Math.min(count, data.samples.length - 1), seed })
  tell(split.findings)
  return { data, train: drawn(split.train), evaluation: split.eval }
}
