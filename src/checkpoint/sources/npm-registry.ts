/** Tarball addresses of the npm registry that the user has configured. Packages are never installed: no script of theirs runs. */

import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { M4Error } from '../../core/errors.js'

const DEFAULT_REGISTRY = 'https://registry.npmjs.org'

interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  readonly workingFolder: string
}

/** `<registry>/<name>/-/<basename>-<version>.tgz`. @throws M4Error `INVALID_REQUEST` for an unusable registry setting */
export function tarballUrl(name: string, version: string, around: Surroundings): string {
  const base = name.split('/').pop()
  return `${registryFor(name, around)}/${name}/-/${base}-${version}.tgz`
}

/**
 * As npm decides: a scope's own registry before the general one; the environment before the project's .npmrc before the
 * user's. No trailing slash.
 */
export function registryFor(name: string, { env, workingFolder }: Surroundings): string {
  const user = env.npm_config_userconfig || env.NPM_CONFIG_USERCONFIG
  const files = [join(workingFolder, '.npmrc'), user || join(env.HOME || env.USERPROFILE || homedir(), '.npmrc')]
  const settings = files.map((file) => readSettings(file, env))
  const scope = name.startsWith('@') ? name.split('/')[0] : undefined
  const scoped = scope && settings.map((lines) => lines.get(`${scope}:registry`)).find(Boolean)
  const general =
    env.npm_config_registry || env.NPM_CONFIG_REGISTRY || settings.map((lines) => lines.get('registry')).find(Boolean)
  const registry = scoped || general || DEFAULT_REGISTRY
  if (!/^https?:\/\/[^/]/.test(registry))
    throw new M4Error('INVALID_REQUEST', `npm registry "${registry}": expected an http or https address.`, {
      hint: 'Correct npm_config_registry or the registry line of .npmrc.',
      details: { registry },
    })
  return registry.replace(/\/+$/, '')
}

/** The `key=value` lines of an .npmrc; a missing file has none. `${NAME}` is replaced from the environment, as npm does. */
function readSettings(path: string, env: NodeJS.ProcessEnv): Map<string, string> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return new Map() // npm, too, goes on without a file that it cannot read
  }
  const found = new Map<string, string>()
  for (const line of text.split(/\r?\n/)) {
    const match = /^\s*([^#;=\s][^=]*?)\s*=\s*(.*?)\s*$/.exec(line)
    if (!match) continue
    const value = match[2]!.replace(/^(["'])(.*)\1$/, '$2')
    found.set(
      match[1]!,
      value.replace(/\$\{([^}]+)\}/g, (whole, variable: string) => env[variable] ?? whole),
    )
  }
  return found
}
