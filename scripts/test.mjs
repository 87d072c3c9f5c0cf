/**
 * `npm test`: installs and compiles what is missing, then two runs of vitest: everything that needs no download, and
 * test/lite/** on the pretrained weights of `lite` (pulled once into the cache; M4FM_OFFLINE=1 leaves them out).
 * The last line is `N passed, N failed`; how many were skipped stands above it.
 */

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureBuilt, ensureInstalled, ROOT } from './ensure.mjs'

ensureInstalled()
ensureBuilt()

const folder = mkdtempSync(join(tmpdir(), 'm4fm-test-'))
const counts = { passed: 0, failed: 0, skipped: 0 }
try {
  vitest('offline', 'Unit and parity tests, offline', ['--exclude', 'test/lite/**'])
  if (process.env.M4FM_OFFLINE === '1')
    console.log('\nM4FM_OFFLINE=1: the tests on the weights of lite (test/lite) are left out.')
  else vitest('lite', 'Integration tests on lite', ['test/lite'])
} finally {
  rmSync(folder, { recursive: true, force: true })
}
const { passed, failed, skipped } = counts
process.exitCode = failed ? 1 : 0
if (skipped) console.log(`\n${skipped} skipped: they need files that are not part of the checkout`)
console.log(`\n${passed} passed, ${failed} failed`)

function vitest(name, title, words) {
  console.log(`\n${title}`)
  const report = join(folder, `${name}.json`)
  const { status } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules', 'vitest', 'vitest.mjs'),
      'run',
      ...words,
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
    ],
    { cwd: ROOT, stdio: 'inherit' },
  )
  const { passed, failed, skipped } = countsOf(report)
  counts.passed += passed
  counts.skipped += skipped
  // A run that ends badly without a failed test (a crash, an error outside of tests) is a failure all the same.
  counts.failed += failed || (status === 0 ? 0 : 1)
}

function countsOf(report) {
  let result
  try {
    result = JSON.parse(readFileSync(report, 'utf8'))
  } catch {
    return { passed: 0, failed: 1, skipped: 0 } // vitest did not live to write it
  }
  // A file that does not load has no tests to fail.
  const unloaded = result.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.length,
  )
  return {
    passed: result.numPassedTests,
    failed: result.numFailedTests + unloaded.length,
    skipped: result.numPendingTests + result.numTodoTests,
  }
}
