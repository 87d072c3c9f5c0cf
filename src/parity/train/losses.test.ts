import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runParity } from '../run-case.js'

const FOLDER = fileURLToPath(new URL('../../../../shared/goldens/train-head-losses', import.meta.url))

describe.skipIf(!existsSync(FOLDER))('losses', () => {
  test('every value and every gradient is the reference', async () => {
    const report = await runParity(FOLDER)
    expect(report.outputs.filter(({ pass }) => !pass)).toEqual([])
    expect(report).toMatchObject({ pass: true })
    expect(report.outputs).toHaveLength(49)
  })
})
