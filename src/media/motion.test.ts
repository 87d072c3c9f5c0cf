import { describe, expect, test } from 'vitest'
import { isM4Error } from '../core/errors.js'
import { type MotionPlan, type MotionRecording, motionWindows } from './index.js'

const plan: MotionPlan = { sampleRateHz: 100, channels: 2, windowSamples: 50 }
const ramp = (count: number, slope = 1) => Float32Array.from({ length: count }, (_, i) => i * slope)
const record = (count: number, sampleRateHz: number): MotionRecording => ({
  channels: [ramp(count), ramp(count, -2)],
  sampleRateHz,
})

const refusal = (recording: MotionRecording, given = plan) => {
  try {
    motionWindows(recording, given)
    return 'accepted'
  } catch (error) {
    if (!isM4Error(error)) throw error
    return `${error.code}: ${error.message}`
  }
}

describe('motion', () => {
  test('equal rates are copied as they are', () => {
    const { windows, startsS, unusedS, durationS } = motionWindows(record(130, 100), plan)
    expect(windows).toHaveLength(2)
    expect(windows[1]).toEqual(Float32Array.from([...ramp(130).slice(50, 100), ...ramp(130, -2).slice(50, 100)]))
    expect(startsS).toEqual([0, 0.5])
    expect(unusedS).toBeCloseTo(0.3)
    expect(durationS).toBeCloseTo(1.29)
  })

  test.each([50, 64, 200])('a ramp at %i Hz stays a ramp', (rate) => {
    const { windows } = motionWindows(record(rate * 2, rate), plan)
    windows[0]!.subarray(0, 50).forEach((value, i) => {
      expect(value).toBeCloseTo((i / 100) * rate, 4)
    })
  })

  test('windows overlap when the hop says so', () => {
    expect(motionWindows(record(100, 100), { ...plan, hopSamples: 25 }).startsS).toEqual([0, 0.25, 0.5])
  })

  test('uneven times; pauses up to the longest allowed are bridged', () => {
    const times = [0, 0.1, 0.15, 0.3, 0.5, 0.55]
    const recording = { channels: [times, times.map((t) => 3 * t)], timesS: times.map((t) => t + 1e5) }
    const { windows } = motionWindows(recording, plan)
    windows[0]!.subarray(50).forEach((value, i) => {
      expect(value).toBeCloseTo((3 * i) / 100, 5)
    })
  })

  test('gaps', () => {
    const times = [0, 0.1, 0.5, 0.6]
    expect(refusal({ channels: [times, times], timesS: times })).toMatch(/^MOTION_INVALID: .*0\.400 s before sample 2/)
    expect(refusal({ channels: [times, times], timesS: times }, { ...plan, maxGapS: 0.5 })).toBe('accepted')
  })

  test('values that are no numbers', () => {
    const channels = [ramp(100), ramp(100).fill(Number.NaN, 17)]
    expect(refusal({ channels, sampleRateHz: 100 })).toMatch(/^MOTION_INVALID: .*sample 17 of channel 1 is NaN/)
    const endless = [ramp(100), ramp(100).fill(Number.POSITIVE_INFINITY, 3)]
    expect(refusal({ channels: endless, sampleRateHz: 100 })).toMatch(/^MOTION_INVALID/)
  })

  test('channels', () => {
    expect(refusal({ channels: [ramp(100)], sampleRateHz: 100 })).toMatch(/^MOTION_INVALID: .*1 channels, expected 2/)
    expect(refusal({ channels: [ramp(100), ramp(99)], sampleRateHz: 100 })).toMatch(/^MOTION_INVALID/)
    expect(refusal({ channels: [[], []], sampleRateHz: 100 })).toMatch(/^EMPTY_INPUT/)
  })

  test('times and rates', () => {
    const one = ramp(3)
    const timed = (timesS: number[]) => refusal({ channels: [one, one], timesS })
    expect(timed([0, 0.1, 0.1])).toMatch(/^MOTION_INVALID: .*rise/)
    expect(timed([0, Number.NaN, 0.1])).toMatch(/^MOTION_INVALID/)
    expect(timed([0, 0.1])).toMatch(/^MOTION_INVALID/)
    expect(refusal({ channels: [one, one], sampleRateHz: 0 })).toMatch(/^MOTION_INVALID/)
    expect(refusal({ channels: [one, one], sampleRateHz: 1 })).toMatch(/^MOTION_INVALID/)
    expect(refusal({ channels: [one, one] })).toMatch(/^USAGE/)
  })

  test('shorter than a window', () => {
    expect(refusal(record(49, 100))).toMatch(/^MOTION_INVALID: .*49 samples at 100 Hz, expected 50/)
    expect(refusal(record(50, 100))).toBe('accepted')
  })
})
