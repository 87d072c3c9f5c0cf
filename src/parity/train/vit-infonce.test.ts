import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { runParity } from '../run-case.js'

const FOLDER = fileURLToPath(new URL('../../../../shared/goldens/train-vit-infonce', import.meta.url))

describe.skipIf(!existsSync(`${FOLDER}-qv`))('LoRA, head and scale against texts', () => {
  test.each(['inproj', 'qv', 'iblora'])('%s', async (variant) => {
    const report = await runParity(`${FOLDER}-${variant}`)
    expect(report.error).toBeUndefined()
    expect(report.outputs.filter(({ pass }) => !pass)).toEqual([])
    expect(report).toMatchObject({ pass: true })
  })
})
