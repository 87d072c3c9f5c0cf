/** Source addresses (`npm:`, `hf:`, `https:`, `file:`, `bundled:`) as plain data, before anything is asked of the network. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { M4Error, unknownName } from '../../core/errors.js'
import { tarballUrl } from './npm-registry.js'
import type { PinnedFile, Source } from './types.js'

/** What a scheme comes down to: bytes behind a URL, a member of a tarball behind one, or a file of this machine. */
export type Location =
  | { readonly kind: 'url'; readonly url: string; readonly headers: Readonly<Record<string, string>>; hint?: string }
  | { readonly kind: 'member'; readonly url: string; readonly tarball: string; readonly member: string; sha512: string }
  | { readonly kind: 'file'; readonly path: string }

export interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  readonly workingFolder: string
}

type SchemeReader = (rest: string, uri: string, around: Surroundings) => Location

const SCHEMES: Readonly<Record<string, SchemeReader>> = Object.freeze({
  npm: readNpm,
  hf: readHub,
  https: readWeb,
  http: readWeb,
  file: readFile,
  bundled: readBundled,
})

/** @throws M4Error `UNKNOWN_NAME` for another scheme, `INVALID_REQUEST` for a malformed address */
export function locate(uri: string, around: Surroundings): Location {
  const colon = uri.indexOf(':')
  const scheme = colon < 0 ? '' : uri.slice(0, colon)
  const read = Object.hasOwn(SCHEMES, scheme) ? SCHEMES[scheme] : undefined
  if (!read) throw unknownName('source scheme', scheme || uri, Object.keys(SCHEMES))
  return read(uri.slice(colon + 1), uri, around)
}

/** What messages call a file: its name, else the file name of its first address. */
export function displayName(file: Pick<PinnedFile, 'name' | 'uris' | 'sha256'>): string {
  if (file.name) return file.name
  const path = file.uris[0]?.split('#')[0]?.split('?')[0] ?? ''
  return path.split(/[/\\:]/).pop() || `sha256-${file.sha256.slice(0, 12)}`
}

function malformed(uri: string, expected: string): M4Error {
  return new M4Error('INVALID_REQUEST', `Malformed source address "${uri}": expected ${expected}.`, {
    hint: 'Correct the address in the recipe.',
    details: { uri, expected },
  })
}

const NPM =
  /^((?:@[a-z0-9._~-]+\/)?[a-z0-9._~-]+)@(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)\/([^#]+)#sha512-([A-Za-z0-9+/]{86}==)$/i

function readNpm(rest: string, uri: string, around: Surroundings): Location {
  const match = NPM.exec(rest)
  if (!match) throw malformed(uri, 'npm:<name>@<exact version>/<path below the package>#sha512-<integrity, base64>')
  const [, name, version, member, integrity] = match as unknown as [string, string, string, string, string]
  return {
    kind: 'member',
    url: tarballUrl(name, version, around),
    tarball: `${name}@${version}`,
    member: safePath(member, uri),
    sha512: Buffer.from(integrity, 'base64').toString('hex'),
  }
}

const HUB = /^([\w.-]+(?:\/[\w.-]+)?)@([^/@#?]+)\/([^#?]+)$/

function readHub(rest: string, uri: string, { env }: Surroundings): Location {
  const match = HUB.exec(rest)
  if (!match) throw malformed(uri, 'hf:<owner>/<repo>@<revision>/<path> ("/" inside a revision written as %2F)')
  const [, repo, revision, path] = match as unknown as [string, string, string, string]
  const endpoint = (env.HF_ENDPOINT || 'https://huggingface.co').replace(/\/+$/, '')
  const file = safePath(path, uri).split('/').map(encodeURIComponent).join('/')
  return {
    kind: 'url',
    url: `${endpoint}/${repo}/resolve/${encodeURIComponent(revision.replace(/%2F/gi, '/'))}/${file}`,
    headers: env.HF_TOKEN ? { authorization: `Bearer ${env.HF_TOKEN}` } : {},
    hint: `If ${endpoint}/${repo} asks for it, accept its licence there and set HF_TOKEN.`,
  }
}

function readWeb(_rest: string, uri: string): Location {
  let url: URL
  try {
    url = new URL(uri)
  } catch {
    throw malformed(uri, 'an absolute https address')
  }
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) throw malformed(uri, 'https (http only on this machine)')
  if (url.username || url.password) throw malformed(uri, 'an address without user name and password')
  return { kind: 'url', url: url.href, headers: {} }
}

function readFile(rest: string, uri: string, { workingFolder }: Surroundings): Location {
  if (!rest) throw malformed(uri, 'file:<path>')
  return { kind: 'file', path: rest.startsWith('//') ? fileURLToPath(uri) : resolve(workingFolder, rest) }
}

/** From `src` and from `dist` the package begins as many folders up. */
const PACKAGE = fileURLToPath(new URL('../../../', import.meta.url))

function readBundled(rest: string, uri: string): Location {
  return { kind: 'file', path: resolve(PACKAGE, safePath(rest, uri)) }
}

/** Needs no network. */
export const isLocal = (uri: string): boolean => /^(?:file|bundled):/.test(uri)

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(?:\.\d+){3}$/.test(host)
}

function safePath(path: string, uri: string): string {
  if (path.split('/').some((part) => part === '' || part === '.' || part === '..'))
    throw malformed(uri, 'a plain path without empty, "." or ".." parts')
  return path
}

/** Checks a source's pins before anything is pulled. @throws M4Error `INVALID_REQUEST`, `UNKNOWN_NAME` */
export function checkSource(source: Source, around: Surroundings): void {
  const name = displayName(source)
  checkPins(source, name)
  const parts = source.parts ?? []
  if (!source.uris.length && !parts.length) throw invalid(name, 'at least one address or part', 'none')
  for (const part of parts) {
    checkPins(part, `${name}, part ${displayName(part)}`)
    if (!part.uris.length) throw invalid(`${name}, part ${displayName(part)}`, 'at least one address', 'none')
  }
  const sum = parts.reduce((total, part) => total + part.bytes, 0)
  if (parts.length && sum !== source.bytes) throw invalid(name, `parts of ${source.bytes} bytes together`, `${sum}`)
  for (const file of [source, ...parts]) for (const uri of file.uris) locate(uri, around)
}

function checkPins(file: PinnedFile, name: string): void {
  if (!/^[0-9a-f]{64}$/.test(file.sha256)) throw invalid(name, 'a sha-256 of 64 lower-case hex digits', file.sha256)
  if (!Number.isSafeInteger(file.bytes) || file.bytes < 0) throw invalid(name, 'a size in bytes', `${file.bytes}`)
}

function invalid(name: string, expected: string, got: string): M4Error {
  return new M4Error('INVALID_REQUEST', `Source ${name}: expected ${expected}, got ${got}.`, {
    hint: 'Correct the recipe.',
    details: { expected, got },
  })
}
