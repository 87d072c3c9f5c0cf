/** Files of the Hugging Face hub, as recipes name them. Their digests are not known here: each is recorded at its first use. */

import type { UnpinnedSource } from '../../checkpoint/sources/types.js'

/** What all files of one repository share. */
export interface HubRepository {
  /** `owner/name`. */
  readonly repo: string
  readonly licence: string
  readonly publisher: string
  readonly note?: string
}

export const hubFile = ({ repo, licence, publisher, note }: HubRepository, path: string): UnpinnedSource => ({
  name: `${repo}/${path}`,
  sha256: 'unpinned',
  licence,
  publisher,
  ...(note ? { note } : {}),
  uris: [`hf:${repo}@main/${path}`],
})

/** `config.json`, the index and the shards of a sharded checkpoint, or its one file. */
export const hubFolder = (repository: HubRepository, weights: readonly string[]) => ({
  files: Object.fromEntries(['config.json', ...weights].map((path) => [path, hubFile(repository, path)])),
})

/** `model-00001-of-00002.safetensors`, …, and their index. */
export const shards = (count: number, kind: 'safetensors' = 'safetensors'): string[] => [
  `model.${kind}.index.json`,
  ...Array.from({ length: count }, (_, i) => `model-${pad(i + 1)}-of-${pad(count)}.${kind}`),
]

const pad = (n: number) => String(n).padStart(5, '0')
