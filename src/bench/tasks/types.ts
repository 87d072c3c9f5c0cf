/**
 * The 50 entries of mAIBench as data: what goes in, what is asked, and what a firmware must have for it. A request is the entry's
 * `ask` and an input (ask.ts), so the command line and the benchmark ask the same.
 *
 * @paper arXiv:2308.14363 Tables 3 and 5
 */

import type { Role } from '../../firmware/manifest.js'
import type { Request, RequestOf, Task } from '../../runtime/requests.js'

export type TaskId = `T${number}`

/** What an entry reads. `gallery`: what to find it in; `question`: may be given with it. */
export interface TaskInputs {
  readonly of: 'text' | 'picture' | 'sound' | 'motion' | 'video'
  readonly gallery?: true
  readonly question?: true
}

/** Fields of a request that an input fills. */
type Filled =
  | 'prompt'
  | 'messages'
  | 'input'
  | 'text'
  | 'texts'
  | 'items'
  | 'sound'
  | 'gallery'
  | 'from'
  | 'picture'
  | 'signal'
  | 'adapter'

/** A request without its input: the default prompt, labels and settings. */
export type Ask<T extends Task = Task> = T extends Task
  ? Pick<RequestOf<T>, 'task'> & Partial<Omit<RequestOf<T>, Filled>>
  : never

/** What an adapter must be able to do where no firmware brings it. */
export type NeededHead = 'boxes' | 'key points' | 'masks' | 'counting' | 'style'

export interface BenchTask {
  readonly id: TaskId
  readonly title: string
  /** The paper's. */
  readonly dataSet: string
  /** Of Table 5. */
  readonly path: 1 | 2 | 3 | 4
  readonly metric: string
  readonly takes: TaskInputs
  readonly ask: Ask
  /** Modules that must be there. */
  readonly needs: readonly Role[]
  /** Answered through an adapter of this kind only. */
  readonly head?: NeededHead
  /** Labels of its data set are too many, or not public: give them. */
  readonly ownLabels?: true
  /** An input to try it with: a text, or a file of `samples/`. */
  readonly sample: { readonly text: string } | { readonly file: string; readonly question?: string }
}

export type { Request }
