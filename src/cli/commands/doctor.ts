/** `m4fm doctor`: what this machine has, what it lacks, and what to do about it. Looks only; changes nothing. */

import { readdir } from 'node:fs/promises'
import { availableParallelism, freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { isM4Error } from '../../core/errors.js'
import { freeBytes } from '../../core/files.js'
import type { CliContext, CommandAction } from '../context.js'
import { table } from '../print.js'
import { formatBytes } from '../progress.js'

interface Finding {
  readonly check: string
  readonly status: 'ok' | 'warn' | 'fail'
  readonly value: string
  /** What to do, unless all is well. */
  readonly hint?: string
  readonly details?: object
}

/** Weights, image and prepacked slot of `lite`: 3.4 GB measured, with room for the files that are being written. */
const LITE_DISK_BYTES = 4_000_000_000
/** The demo, with all modules of `lite` awake, had 1.7 GB resident at its peak, mapped weights included. */
const LITE_MEMORY_BYTES = 2_000_000_000

const CHECKS: readonly ((context: CliContext) => Finding[] | Promise<Finding[]>)[] = [
  checkNode,
  checkEngine,
  checkMemory,
  checkHome,
  checkImages,
  checkSlots,
]

export const run: CommandAction = async (context) => {
  const findings = (await Promise.all(CHECKS.map((check) => check(context)))).flat()
  const rows = findings.flatMap(({ check, status, value, hint }) => [
    [status, check, value],
    ...(hint === undefined ? [] : [['', '', `→ ${hint}`]]),
  ])
  const failed = findings.some(({ status }) => status === 'fail')
  context.result({ ok: !failed, home: context.home, findings }, table(rows))
  return failed ? 1 : 0
}

function checkNode(): Finding[] {
  const { version, platform, arch } = process
  const value = `${version}, ${platform}-${arch}`
  return Number(version.slice(1).split('.')[0]) >= 20
    ? [{ check: 'node', status: 'ok', value }]
    : [{ check: 'node', status: 'fail', value, hint: 'm4fm needs Node 20 or later.' }]
}

async function checkEngine(): Promise<Finding[]> {
  const { engineInfo } = await import('../../engine/index.js')
  let info: Awaited<ReturnType<typeof engineInfo>>
  try {
    info = await engineInfo({ onWarning: () => undefined })
  } catch (error) {
    if (!isM4Error(error)) throw error
    const hint = error.hint ?? 'Install again with `npm ci`.'
    return [{ check: 'engine', status: 'fail', value: error.message, hint }]
  }
  const { backend, version, threads, cpu, sharedThreadPool, fallbackReason } = info
  const engine: Finding = {
    check: 'engine',
    status: fallbackReason === undefined ? 'ok' : 'warn',
    value: `ONNX Runtime ${version}, backend ${backend}, ${threads} of ${availableParallelism()} threads`,
    details: { ...info, cpu: { model: cpu.model, notable: cpu.notable } },
    ...(fallbackReason === undefined ? {} : { hint: `The C API is not used: ${fallbackReason}` }),
  }
  const flags = cpu.notable.join(' ')
  const slow = process.arch === 'x64' && process.platform === 'linux' && !cpu.notable.includes('avx2')
  return [
    engine,
    ...(sharedThreadPool === undefined
      ? []
      : [
          {
            check: 'thread pool',
            status: sharedThreadPool ? 'ok' : 'warn',
            value: sharedThreadPool ? 'one, shared by all sessions' : 'one for each session',
            ...(sharedThreadPool ? {} : { hint: 'Another user of ONNX Runtime in this process came first.' }),
          } as const,
        ]),
    {
      check: 'cpu',
      status: slow ? 'warn' : 'ok',
      value: `${cpu.model}${flags ? ` (${flags})` : ''}`,
      ...(slow ? { hint: 'Without AVX2 answers take several times longer.' } : {}),
    },
  ]
}

function checkMemory(): Finding[] {
  const value = `${formatBytes(totalmem())}, ${formatBytes(freemem())} free`
  return totalmem() >= LITE_MEMORY_BYTES
    ? [{ check: 'memory', status: 'ok', value }]
    : [{ check: 'memory', status: 'warn', value, hint: `lite wants ${formatBytes(LITE_MEMORY_BYTES)}.` }]
}

async function checkHome({ home, offline }: CliContext): Promise<Finding[]> {
  const free = await freeBytes(home)
  const value = `${home}, ${formatBytes(free)} free${offline ? ', offline' : ''}`
  return free >= LITE_DISK_BYTES
    ? [{ check: 'home', status: 'ok', value }]
    : [
        {
          check: 'home',
          status: 'warn',
          value,
          hint: `lite wants ${formatBytes(LITE_DISK_BYTES)}; set M4FM_HOME to a larger disk.`,
        },
      ]
}

async function checkImages({ home }: CliContext): Promise<Finding[]> {
  const { inspectImage } = await import('../../firmware/index.js')
  const folder = join(home, 'images')
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const names = entries.filter((entry) => entry.isDirectory() && !entry.name.startsWith('.')).map(({ name }) => name)
  if (names.length === 0)
    return [{ check: 'images', status: 'warn', value: 'none built', hint: 'Run `m4fm build lite`.' }]
  return Promise.all(
    names.sort().map(async (name): Promise<Finding> => {
      const check = `image ${name}`
      try {
        const { version, totalBytes, weights } = await inspectImage(join(folder, name))
        const value = `${version}, ${formatBytes(totalBytes)}${weights === 'random' ? ', random weights' : ''}`
        return { check, status: 'ok', value }
      } catch (error) {
        if (!isM4Error(error)) throw error
        return { check, status: 'fail', value: error.message, hint: `Build it again: \`m4fm build ${name}\`.` }
      }
    }),
  )
}

async function checkSlots({ home }: CliContext): Promise<Finding[]> {
  const { readDevice, SLOTS } = await import('../../firmware/index.js')
  try {
    const { active, slots } = await readDevice(home)
    if (!active)
      return [{ check: 'slots', status: 'warn', value: 'nothing is flashed', hint: 'Run `m4fm flash lite`.' }]
    return SLOTS.map((slot): Finding => {
      const record = slots[slot]
      const check = `slot ${slot}`
      if (record.state === 'empty') return { check, status: 'ok', value: 'empty' }
      const value = `${record.name} ${record.version}, ${record.state}${slot === active ? ', active' : ''}`
      return record.state === 'good'
        ? { check, status: 'ok', value }
        : { check, status: 'warn', value, hint: 'Its self-test did not pass; flash again.' }
    })
  } catch (error) {
    if (!isM4Error(error)) throw error
    return [{ check: 'slots', status: 'fail', value: error.message, hint: error.hint ?? 'Flash again.' }]
  }
}
