/** Whether a firmware can do an entry, told from its manifest before anything wakes. */

import { M4Error } from '../../core/errors.js'
import type { Manifest } from '../../firmware/manifest.js'
import { PATHS } from '../../runtime/paths.js'
import type { Task } from '../../runtime/requests.js'
import { readsTextsInto } from '../../runtime/space.js'
import type { BenchTask } from './types.js'

export interface Helpers {
  /** An app's adapter is at hand, of a kind that fits. */
  readonly adapter?: boolean
  /** Labels are given. */
  readonly labels?: boolean
}

/** What an image lacks where `PATHS` says that it cannot do a task, though its modules are there. */
const NEEDS: Readonly<Partial<Record<Task, string>>> = {
  describe: 'a projection from the joint space into the backbone',
  upscale: 'a generator that enlarges pictures',
  detect: 'an encoder that gives a vector a patch',
  keypoints: 'an encoder that gives a vector a patch',
  segment: 'an encoder that gives a vector a patch',
  count: 'an encoder that gives a vector a patch',
}

/** What is missing, in words; nothing where the entry can be answered. */
export function missingFor(task: BenchTask, manifest: Manifest, { adapter, labels }: Helpers = {}): string[] {
  const { modules } = manifest
  const missing = task.needs.filter((role) => !modules[role]).map((role) => `the module ${role}`)
  if (missing.length) return missing
  if (task.head && !adapter) missing.push(`an adapter with a head for ${task.head}`)
  if (task.ownLabels && !labels && !adapter) missing.push('labels: the names of its classes')
  if (task.takes.of === 'video' && !Object.hasOwn(modules.IMG!.graphs, 'video'))
    missing.push('an encoder of pictures that takes videos')
  // Labels and captions are compared with what another encoder gives; a head of one's own compares with nothing.
  const encoder = task.needs.find((role) => role !== 'TXT')
  const compares = task.needs.includes('TXT') && encoder !== undefined && !task.head && !adapter
  if (compares && encoder !== 'IMG-gen' && !readsTextsInto(manifest, encoder))
    missing.push(`a joint space of texts and ${encoder}`)
  const path = PATHS[task.ask.task]
  if (path.needs && !path.needs(manifest)) missing.push(NEEDS[task.ask.task] ?? `what ${task.ask.task} needs`)
  return missing
}

/** @throws M4Error `NOT_AVAILABLE` */
export function requireTask(task: BenchTask, manifest: Manifest, helpers: Helpers = {}): void {
  const missing = missingFor(task, manifest, helpers)
  if (!missing.length) return
  throw new M4Error(
    'NOT_AVAILABLE',
    `${task.id} (${task.title}) is not available in this firmware: it needs ${missing.join(', and ')}.`,
    {
      hint: task.head
        ? 'Train an adapter for it with `m4fm adapter train`, then give it with --adapter.'
        : `The image ${manifest.name} has ${Object.keys(manifest.modules).join(', ')}. Build one that has the rest.`,
      details: { task: task.id, needs: missing },
    },
  )
}
