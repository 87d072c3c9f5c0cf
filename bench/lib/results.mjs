/** Result files: one a part and day, `<date>-<part>.json`, written after every round so that a stopped run can go on. */

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { cpus, platform, release, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'

const FOLDER = fileURLToPath(new URL('../results/', import.meta.url))
const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** What a reader needs to judge numbers; nothing that names the person or the place. */
export function machineFacts() {
  const ort = JSON.parse(readFileSync(`${ROOT}node_modules/onnxruntime-node/package.json`, 'utf8')).version
  return {
    cpu: cpus()[0].model,
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${platform()} ${release()}`,
    node: process.version,
    onnxRuntime: ort,
  }
}

/** The commit, for readers; and the state of `src`, which decides whether measurements may go on: a commit elsewhere does not matter. */
function sourceState() {
  const git = (...args) => execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim()
  try {
    const changed = git('status', '--porcelain', '--', 'src') ? ' + uncommitted' : ''
    return {
      commit: git('rev-parse', '--short=12', 'HEAD') + changed,
      sources: git('rev-parse', '--short=12', 'HEAD:src') + changed,
    }
  } catch {
    return { commit: 'unknown', sources: 'unknown' }
  }
}

const today = () => new Date().toISOString().slice(0, 10)
const pathOf = (part, date = today()) => `${FOLDER}${date}-${part}.json`

/**
 * The result of `part` to write into: today's with the same protocol and sources goes on, anything else starts anew.
 * @returns `data` to fill and `save()`, which writes the whole file or nothing
 */
export function openResult(part, protocol, { fresh = false } = {}) {
  mkdirSync(FOLDER, { recursive: true })
  const path = pathOf(part)
  const old = !fresh && existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined
  const state = sourceState()
  const continues = old && JSON.stringify(old.protocol) === JSON.stringify(protocol) && old.sources === state.sources
  const result = continues
    ? old
    : { part, date: today(), ...state, machine: machineFacts(), protocol, complete: false, data: {} }
  return {
    data: result.data,
    continues: Boolean(continues),
    save(complete = false) {
      result.complete = complete
      writeFileSync(`${path}.tmp`, `${JSON.stringify(result, null, 1)}\n`)
      renameSync(`${path}.tmp`, path)
    },
  }
}

/** One finished result without protocol, for measurements that are a single step. */
export function writeResult(part, data) {
  const result = openResult(part, {}, { fresh: true })
  Object.assign(result.data, data)
  result.save(true)
}

/** The newest result of each part. */
export function latestResults() {
  const newest = new Map()
  if (!existsSync(FOLDER)) return newest
  for (const name of readdirSync(FOLDER).sort()) {
    const part = /^\d{4}-\d\d-\d\d-([\w-]+)\.json$/.exec(name)?.[1]
    if (part) newest.set(part, { name, ...JSON.parse(readFileSync(`${FOLDER}${name}`, 'utf8')) })
  }
  return newest
}

export function writeReadme(text) {
  writeFileSync(`${FOLDER}README.md.tmp`, text)
  renameSync(`${FOLDER}README.md.tmp`, `${FOLDER}README.md`)
}

/** Replaces what stands between the marks in the project's README. */
export function writeReadmeBlock(text) {
  const path = `${ROOT}README.md`
  const [begin, end] = ['<!-- results:begin -->', '<!-- results:end -->']
  const readme = readFileSync(path, 'utf8')
  const [before, rest] = readme.split(begin)
  if (rest === undefined || !rest.includes(end)) throw new Error(`README.md lacks the marks ${begin} and ${end}.`)
  writeFileSync(`${path}.tmp`, `${before}${begin}\n${text}${end}${rest.split(end)[1]}`)
  renameSync(`${path}.tmp`, path)
}
