/** Sources of weights: `npm:`, `hf:`, `https:`, `file:` into one content-addressed cache. */

export { blobPath } from './cache.js'
export { pullFolder, type SourceFolder } from './folder.js'
export { isUnpinned, knownPins, pinSource, pinSources } from './pins.js'
export { pullSource, pullSources } from './pull.js'
export type { DiskAccess, PinnedFile, PullOptions, RecipeSource, RetryPolicy, Source, UnpinnedSource } from './types.js'
export { checkSource, displayName, type Location, locate } from './uri.js'
