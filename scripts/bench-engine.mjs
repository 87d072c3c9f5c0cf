/** `npm run bench:engine`: builds the package, then runs the benchmark in `bench/` (see bench/README.md). */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const args = process.argv.slice(2)

/** Runs a command in `folder` with its output shown; ends this process when it fails. */
function run(command, commandArgs, folder) {
  const { status, error } = spawnSync(command, commandArgs, {
    cwd: folder,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status === 0) return
  if (error) process.stderr.write(`bench: ${command}: ${error.message}\n`)
  process.exit(status ?? 1)
}

run('npm', ['run', '--silent', 'build'], root)
if (args.includes('--install')) run('npm', ['ci'], fileURLToPath(new URL('../bench', import.meta.url)))
run(process.execPath, [fileURLToPath(new URL('../bench/main.mjs', import.meta.url)), ...args], root)
