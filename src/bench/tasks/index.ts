/** mAIBench's entries, T1 to T50 (paper, Tables 3 and 5): data, and what a firmware lacks for one of them. */

import { unknownName } from '../../core/errors.js'
import { HEARING } from './hearing.js'
import { LANGUAGE } from './language.js'
import { MULTIMODAL } from './multimodal.js'
import type { BenchTask } from './types.js'
import { VISION } from './vision.js'

export { missingFor, requireTask } from './available.js'
export type { Ask, BenchTask, NeededHead, TaskId, TaskInputs } from './types.js'

/** In order. */
export const BENCH_TASKS: readonly BenchTask[] = [...LANGUAGE, ...VISION, ...HEARING, ...MULTIMODAL]

const BY_ID = new Map<string, BenchTask>(BENCH_TASKS.map((task) => [task.id, task]))

/** Whether a name is meant as an entry: `T21`, `t21`. */
export const isTaskId = (name: string): boolean => /^t\d+$/i.test(name)

/** @throws M4Error `UNKNOWN_NAME` */
export function benchTask(id: string): BenchTask {
  const found = BY_ID.get(id.toUpperCase())
  if (found) return found
  throw unknownName('task of mAIBench', id, BY_ID.keys())
}
