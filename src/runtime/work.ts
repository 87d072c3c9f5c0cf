/** One request on its way through the modules: what it holds, and what its report will say. */

import type { Image } from '../firmware/image.js'
import type { Lease, Modules, ModuleTypes, ServedRole } from './modules.js'
import type { ModuleReport, PathNumber, Report, Task, TokenCounts } from './requests.js'

export interface Work {
  readonly image: Image
  readonly signal: AbortSignal
  /** Counted up by the handlers. */
  readonly tokens: TokenCounts
  /** Wakes a module and keeps it until `done`, or until the request ends. */
  use<R extends ServedRole>(role: R): Promise<ModuleTypes[R]>
  /** Lets others have the module before this request ends. */
  done(role: ServedRole): void
  /** Adds to the time of a stage. */
  spent(stage: string, ms: number): void
  /** Runs and times a stage. */
  stage<T>(name: string, run: () => Promise<T>): Promise<T>
  report(): Report
  /** Gives every module back. */
  end(): void
}

export function startWork(parts: {
  readonly image: Image
  readonly modules: Modules
  readonly signal: AbortSignal
  readonly task: Task
  readonly path: PathNumber
  readonly adapter: string | undefined
}): Work {
  const { image, modules, signal, task, path, adapter } = parts
  const { name, version, weights } = image.manifest
  const started = performance.now()
  const leases = new Map<ServedRole, Lease<ServedRole>>()
  const woken: ModuleReport[] = []
  const stages = new Map<string, number>()
  const tokens: TokenCounts = { prompt: 0, reused: 0, generated: 0, scored: 0, encoded: 0, transcribed: 0, spoken: 0 }
  const spent = (stage: string, ms: number) => void stages.set(stage, (stages.get(stage) ?? 0) + ms)
  return {
    image,
    signal,
    tokens,
    spent,
    async use(role) {
      const held = leases.get(role)
      const lease = (held as Lease<typeof role> | undefined) ?? (await modules.use(role, signal))
      if (held) return lease.module
      leases.set(role, lease)
      woken.push(lease.report)
      if (lease.waitMs >= 1) spent('wait', lease.waitMs)
      if (lease.report.loaded === 'now') spent('load', lease.report.loadMs)
      return lease.module
    },
    done(role) {
      leases.get(role)?.leave()
      leases.delete(role)
    },
    async stage(stageName, run) {
      const from = performance.now()
      try {
        return await run()
      } finally {
        spent(stageName, performance.now() - from)
      }
    },
    report: () => ({
      path,
      task,
      modules: woken,
      weightBytes: woken.reduce((sum, { weightBytes }) => sum + weightBytes, 0),
      stages: [...stages].map(([stageName, ms]) => ({ name: stageName, ms })),
      totalMs: performance.now() - started,
      tokens,
      ...(adapter === undefined ? {} : { adapter }),
      ...(weights === 'random' ? { random: true as const } : {}),
      image: { name, version, digest: image.digest },
    }),
    end() {
      for (const lease of leases.values()) lease.leave()
      leases.clear()
    },
  }
}
