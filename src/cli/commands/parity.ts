/** `m4fm parity`: our numbers beside those of the reference implementation. */

import { ERROR_CODES, M4Error, unknownName } from '../../core/errors.js'
import type { BackendName } from '../../engine/types.js'
import type { ParityReport } from '../../parity/index.js'
import { type CommandAction, textOption } from '../context.js'
import { plural, table } from '../print.js'

const BACKENDS: readonly BackendName[] = ['ffi', 'node', 'web']

export const run: CommandAction = async (context, [folder], options) => {
  const backend = textOption(options, 'backend')
  if (backend !== undefined && !BACKENDS.includes(backend as BackendName))
    throw unknownName('backend', backend, BACKENDS)
  const [{ caseFolders, runParity }, { openEngine }] = await Promise.all([
    import('../../parity/index.js'),
    import('../../engine/index.js'),
  ])
  const cases = caseFolders(folder!)
  if (cases.length === 0)
    throw new M4Error('FILE_NOT_FOUND', `${folder} holds no case: neither it nor a folder in it has a case.json.`, {
      hint: 'Give a case folder, or the folder that holds them.',
      details: { path: folder },
    })
  const engine = await openEngine(backend === undefined ? {} : { backend: backend as BackendName })
  const reports: ParityReport[] = []
  for (const path of cases) {
    const report = await runParity(path, { engine, signal: context.signal })
    reports.push(report)
    context.stream(formatReport(report))
  }
  const failed = reports.filter(({ pass }) => !pass).length
  const isOne = cases.length === 1 && cases[0] === folder
  context.result(isOne ? reports[0] : reports, `${plural(reports.length, 'case')}, ${failed} failed`)
  return failed ? ERROR_CODES.PARITY_FAILED : 0
}

function formatReport({ name, pass, outputs, skipped, error }: ParityReport): string {
  const why = skipped ?? error
  const head = `${pass ? 'pass' : skipped === undefined ? 'FAIL' : 'skip'}  ${name}${why === undefined ? '' : `: ${why}`}\n`
  // Numbers of outputs that agree are for --json; a failed case is looked at.
  const shown = pass ? [] : outputs
  const rows = shown.map((output) => [
    output.pass ? '  pass' : '  FAIL',
    output.name,
    `max abs ${output.maxAbs.toExponential(2)}`,
    `max rel ${output.maxRel.toExponential(2)}`,
    output.note ?? '',
  ])
  return rows.length ? `${head}${table(rows)}\n` : head
}
