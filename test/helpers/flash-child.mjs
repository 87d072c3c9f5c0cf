/**
 * A second process that flashes, for tests. Arguments: image, home, and what to do when flashing says `task`:
 * `hold|<task>|<folder>` writes `<folder>/holding` and stops until `<folder>/go` is there, `die|<task>` kills itself.
 * Prints one line of JSON: the report, or the error.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createServer } from 'vite'

const [image, home, script = ''] = process.argv.slice(2)
const [action, task, folder] = script.split('|')
const root = fileURLToPath(new URL('../..', import.meta.url))
const vite = await createServer({
  root,
  configFile: false,
  // Node 20 knows no `using`.
  esbuild: { target: 'es2022' },
  logLevel: 'error',
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
})
const { openEngine } = await vite.ssrLoadModule('/src/engine/index.ts')
const { flashImage } = await vite.ssrLoadModule('/src/firmware/flash.ts')

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
let acted = false
const onProgress = (progress) => {
  if (acted || !task || !progress.task.startsWith(task)) return
  acted = true
  if (action === 'die') process.kill(process.pid, 'SIGKILL')
  // Blocking on purpose: the flash must stand still here.
  writeFileSync(join(folder, 'holding'), String(process.pid))
  while (!existsSync(join(folder, 'go'))) sleep(20)
}
try {
  const report = await flashImage(image, {
    home,
    engine: await openEngine({ backend: 'ffi' }),
    prepackMinBytes: 1024,
    onProgress,
  })
  console.log(JSON.stringify({ pid: process.pid, report }))
} catch (error) {
  console.log(JSON.stringify({ pid: process.pid, error }))
}
process.exit(0)
