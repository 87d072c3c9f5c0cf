/**
 * What the other scripts need before anything else: dependencies as package-lock.json says, and `dist` as new as `src`.
 * Node's own modules only, since it runs before anything is installed. Also a program: `node scripts/ensure.mjs`.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

export const ROOT = fileURLToPath(new URL('../', import.meta.url))
const STAMP = join(ROOT, 'dist', '.built')

/** Installs when a package of the lock file is missing or of another version. stdout stays untouched: all goes to stderr. */
export function ensureInstalled() {
  if (isInstalled()) return
  process.stderr.write('Installing dependencies: npm ci\n')
  npm(['ci', '--no-audit', '--no-fund'])
}

/** Compiles when a source is newer than the last build. */
export function ensureBuilt() {
  const newest = newestMs(join(ROOT, 'src'))
  if (builtUpTo() >= newest) return
  process.stderr.write('Compiling: npm run build\n')
  npm(['run', '--silent', 'build'])
  // The time read before the compiler ran: what changed meanwhile is seen next time.
  writeFileSync(STAMP, String(newest))
}

/** Newest change of a source that `dist` has, ms. */
function builtUpTo() {
  try {
    return Number(readFileSync(STAMP, 'utf8'))
  } catch (error) {
    if (error.code === 'ENOENT') return 0
    throw error
  }
}

/** npm keeps a copy of the lock file in node_modules; contents are compared, since times change with every checkout. */
function isInstalled() {
  const [wanted, installed] = [packagesOf('package-lock.json'), packagesOf('node_modules/.package-lock.json')]
  if (!installed) return false
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    const found = installed[path]
    // Optional ones are for other platforms.
    return path === '' || (found ? found.version === version : optional === true)
  })
}

function packagesOf(lockFile) {
  try {
    return JSON.parse(readFileSync(join(ROOT, lockFile), 'utf8')).packages
  } catch (error) {
    if (error.code === 'ENOENT') return undefined
    throw error
  }
}

function newestMs(folder) {
  // Folders count too: removing a file changes only its folder.
  let newest = mtimeMs(folder)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) newest = Math.max(newest, newestMs(path))
    else if (!entry.name.endsWith('.test.ts')) newest = Math.max(newest, mtimeMs(path))
  }
  return newest
}

function mtimeMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

function npm(words) {
  // npm is a .cmd on Windows, which only a shell can start.
  const { status, error } = spawnSync('npm', words, {
    cwd: ROOT,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (status === 0) return
  process.stderr.write(
    `\`npm ${words.join(' ')}\` failed${error ? `: ${error.message}` : ''}. Mend what it says, then try again.\n`,
  )
  process.exit(1)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  ensureInstalled()
  ensureBuilt()
}
