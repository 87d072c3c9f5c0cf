import { expect, test } from 'vitest'
import { requireGravity } from './gravity.js'
import type { MotionRecording } from './motion.js'

const lying = (x: number, y: number, z: number): MotionRecording => ({
  channels: [x, y, z, 0, 0, 0].map((value) => new Float32Array(20).fill(value)),
  sampleRateHz: 50,
})

test.each([
  ['lying still', lying(0, 0, 9.81)],
  ['held askew', lying(5, -6, 5.8)],
  ['running', lying(10, 10, 5)],
])('%s feels gravity', (_, recording) => {
  expect(() => requireGravity(recording)).not.toThrow()
})

test.each([
  ['in g', lying(0, 0, 1), '1.00'],
  ['in thousandths of g', lying(0, 0, 1000), '1.00e+3'],
  ['without gravity', lying(0.3, 0, 0.4), '0.500'],
  ['nothing', lying(0, 0, 0), '0.00'],
])('%s does not', (_, recording, median) => {
  expect(() => requireGravity(recording)).toThrow(
    expect.objectContaining({ code: 'MOTION_INVALID', message: expect.stringContaining(`a median of ${median}.`) }),
  )
})

test('a knock does not hide it', () => {
  const { channels, ...rest } = lying(0, 0, 9.81)
  const knocked = channels.map((channel) => Float32Array.from(channel, (value, n) => (n < 5 ? 400 : value)))
  expect(() => requireGravity({ channels: knocked, ...rest })).not.toThrow()
})
