import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runParity } from '../run-case.js'

const FOLDER = fileURLToPath(new URL('../../../../shared/goldens/train-imu-classifier', import.meta.url))

describe.skipIf(!existsSync(FOLDER))('a tower in full', () => {
  test('loss and the gradient of every weight are the reference', async () => {
    const report = await runParity(FOLDER)
    expect(report.error).toBeUndefined()
    expect(report.outputs.filter(({ pass }) => !pass)).toEqual([])
    expect(report).toMatchObject({ pass: true })
    expect(report.outputs).toHaveLength(39)
  })
})
