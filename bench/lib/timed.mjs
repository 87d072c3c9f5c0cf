/** Time of a piece of work: on the clock, and of all threads of the process (the steadier number where others work too). */

import { performance } from 'node:perf_hooks'

export async function timed(work) {
  const cpu = process.cpuUsage()
  const start = performance.now()
  const result = await work()
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  return { result, ms, cpuMs: (user + system) / 1000 }
}
