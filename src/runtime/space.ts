/** Joint spaces: vectors of two modules are compared only where both lie in one. */

import type { Manifest, ModuleEntry, Role } from '../firmware/manifest.js'
import { optionalText } from './module-config.js'

const IMAGEBIND = 'imagebind'

/** Name of the space of a module's vectors; undefined where they lie in one of their own. */
export const spaceOf = (entry: ModuleEntry): string | undefined =>
  optionalText(entry, 'space') ?? (entry.architecture.startsWith(`${IMAGEBIND}-`) ? IMAGEBIND : undefined)

/** Whether texts can be compared with what the module of `role` embeds. */
export function readsTextsInto({ modules }: Pick<Manifest, 'modules'>, role: Role): boolean {
  const { TXT } = modules
  const other = modules[role]
  const space = TXT && spaceOf(TXT)
  return space !== undefined && other !== undefined && spaceOf(other) === space
}
