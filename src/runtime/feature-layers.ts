/** What the features of a module consist of: the layers that heads read, side by side. */

import type { ModuleEntry } from '../firmware/manifest.js'
import { pooledNames } from './tower.js'

export interface FeatureLayer {
  /** As the encoder's output is called: `pooled/s10`. */
  readonly name: string
  readonly start: number
  readonly end: number
}

/** In their order; empty where the encoder has but one vector. */
export function featureLayers({ graphs }: ModuleEntry): readonly FeatureLayer[] {
  // `pooled/s10 float32 [B, 1024]`
  const widths = new Map(
    (graphs.encode?.outputs ?? []).map((output) => {
      const [, name, width] = /^(\S+) .*?(\d*)\]$/.exec(output) ?? []
      return [name ?? output, Number(width)]
    }),
  )
  let end = 0
  return pooledNames([...widths.keys()]).map((name) => {
    const start = end
    end += widths.get(name)!
    return { name, start, end }
  })
}
