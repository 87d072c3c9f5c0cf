import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { motionWindows } from '../../media/motion.js'
import { motionRecording, readMotionSamples } from './motion.js'
import { findMotion, guessTimeUnit } from './motion-columns.js'
import { openDataSet } from './open.js'
import { codesOf, findingOf, type Scratch, scratchFolder } from './testing/scratch.js'

let scratch: Scratch
beforeEach(() => {
  scratch = scratchFolder()
})
afterEach(() => rmSync(scratch.path, { recursive: true }))

const HEADER = 'time,ax,ay,az,gx,gy,gz,label,subject'
/** Measurement i at i / 50 s; channel c is i + c / 10. */
const row = (i: number, label: string, subject = 'p1', timeS = i / 50) =>
  [timeS, ...Array.from({ length: 6 }, (_, c) => i + c / 10), label, subject].join(',')
const rows = (from: number, to: number, label: string, subject?: string) =>
  Array.from({ length: to - from }, (_, k) => row(from + k, label, subject))

describe('motion', () => {
  test('one file with labels: a sample a stretch, and its numbers', async () => {
    const path = scratch.write({
      'm.csv': [HEADER, ...rows(0, 5, 'walk'), ...rows(5, 8, 'sit'), ...rows(8, 12, 'sit', 'p2')].join('\n'),
    })
    const set = await openDataSet(path)
    expect(set).toMatchObject({ kind: 'motion-label', labels: ['sit', 'walk'], findings: [] })
    expect(set.samples).toEqual([
      { kind: 'motion-label', path, start: 0, end: 5, label: 'walk', subject: 'p1' },
      { kind: 'motion-label', path, start: 5, end: 8, label: 'sit', subject: 'p1' },
      { kind: 'motion-label', path, start: 8, end: 12, label: 'sit', subject: 'p2' },
    ])
    const [second, first] = await readMotionSamples(set, [1, 0])
    expect(second!.channels.map((channel) => [...(channel as Float64Array)])[2]).toEqual([5.2, 6.2, 7.2])
    expect([...(second!.timesS as Float64Array)]).toEqual([0.1, 0.12, 0.14])
    expect(motionWindows(first!, { sampleRateHz: 50, channels: 6, windowSamples: 5 }).windows).toHaveLength(1)
  })

  test('a folder by class, one recording a file; without times a rate is asked for', async () => {
    const file = (from: number) => ['ax,ay,az', `${from},2,3`, '4,5,6'].join('\n')
    scratch.write({ 'd/run/1.csv': file(1), 'd/sit/1.csv': file(2), 'd/sit/2.tsv': file(3).replaceAll(',', '\t') })
    const set = await openDataSet(join(scratch.path, 'd'))
    expect(set.samples.map((sample) => 'label' in sample && sample.label)).toEqual(['run', 'sit', 'sit'])
    expect(codesOf(set.findings)).toEqual(['no-sample-rate'])
    await expect(readMotionSamples(set)).rejects.toMatchObject({ code: 'INVALID_REQUEST' })
    const rated = await openDataSet(join(scratch.path, 'd'), { sampleRateHz: 100 })
    expect(rated.findings).toEqual([])
    expect(await readMotionSamples(rated, [0])).toEqual([
      {
        channels: [
          [1, 4],
          [2, 5],
          [3, 6],
        ].map((values) => Float64Array.from(values)),
        sampleRateHz: 100,
      },
    ])
  })

  test('subjects from the path, labels from the column, times of a clock in ms', async () => {
    const clock = (i: number) => `${1_657_544_336_429 + 10 * i}`
    const table = (label: string) =>
      [
        'x_acc,y_acc,z_acc,x_gyro,y_gyro,z_gyro,timestamp,label',
        ...[0, 1, 2].map((i) => `1,2,3,4,5,6,${clock(i)},${label}`),
      ].join('\n')
    scratch.write({ 'd/s01/a.csv': table('SIT'), 'd/s02/b.csv': table('WALK') })
    const set = await openDataSet(join(scratch.path, 'd'), { pathPattern: '^(?<subject>s\\d+)/' })
    expect(set.samples).toMatchObject([
      { label: 'SIT', subject: 's01' },
      { label: 'WALK', subject: 's02' },
    ])
    expect(findingOf(set.findings, 'time-unit')).toMatchObject({ severity: 'warning', file: 's01/a.csv' })
    const [recording] = await readMotionSamples(set, [0])
    expect([...(recording!.timesS as Float64Array)]).toEqual([0, 0.01, 0.02])
    expect((await openDataSet(join(scratch.path, 'd'), { timeUnit: 'ms' })).findings).toEqual([])
  })

  test('NaN and infinity are errors that name file and row', async () => {
    scratch.write({
      'd/a/1.csv': [HEADER, ...rows(0, 2, 'a'), '0.04,NaN,1,1,1,1,1,a,p1', ...rows(3, 5, 'a')].join('\n'),
      'd/b/2.csv': [HEADER, ...rows(0, 2, 'b'), '0.04,1,1,1,1,1,-Infinity,b,p1', '0.06,1,,1,1,1,1,b,p1'].join('\n'),
    })
    const set = await openDataSet(join(scratch.path, 'd'))
    expect(set.findings).toMatchObject([
      {
        code: 'not-finite',
        severity: 'error',
        row: 4,
        file: 'a/1.csv',
        message: 'a/1.csv, row 4: channel 0 is not a finite number.',
      },
      { code: 'not-finite', severity: 'error', row: 4, file: 'b/2.csv' },
      { code: 'not-finite', severity: 'error', row: 5, file: 'b/2.csv' },
    ])
    expect(set.samples).toMatchObject([
      { start: 0, end: 2, label: 'a' },
      { start: 3, end: 5, label: 'a' },
      { start: 0, end: 2, label: 'b' },
    ])
  })

  test('a clock that comes in bursts: evenly spaced, for training and as one recording', async () => {
    // 100 a second, delivered five at a time, of which two have one time.
    const burst = (i: number) => Math.floor(i / 5) * 0.05 + [0, 0, 0.001, 0.002, 0.003][i % 5]!
    const lines = Array.from({ length: 101 }, (_, i) => row(i, i < 60 ? 'walk' : 'sit', 'p1', burst(i)))
    const text = [HEADER, ...lines].join('\n')
    const set = await openDataSet(scratch.write({ 'm.csv': text }))
    expect(findingOf(set.findings, 'time-repeats')!.message).toMatch(/evenly spaced, 100\.0 a second/)
    const [walk] = await readMotionSamples(set, [0])
    expect(walk).not.toHaveProperty('timesS')
    expect(walk!.sampleRateHz).toBeCloseTo(100, 6)
    expect(walk!.channels[1]).toHaveLength(60)
    const whole = motionRecording('m.csv', text)!
    expect(whole.channels[0]).toHaveLength(101)
    expect(whole.sampleRateHz).toBeCloseTo(100, 6)
    expect(motionRecording('m.csv', text, { sampleRateHz: 50 })!.sampleRateHz).toBe(50)
    expect(motionRecording('m.csv', '0.1,1,2,3,4,5,6\n0.2,1,2,3,4,5,6\n')).toBeUndefined()
    expect(() => motionRecording('m.csv', 'ax,ay,az\n1,2,3\n')).toThrow(/no column of times/)
  })

  test('pauses and falling times cut; equal times are averaged', async () => {
    const times = [0, 0.02, 0.02, 0.04, 0.6, 0.62, 0.5, 0.52]
    const path = scratch.write({
      'm.csv': [HEADER, ...times.map((timeS, i) => row(i, 'walk', 'p1', timeS)), row(9, 'sit', 'p1', 0.54)].join('\n'),
    })
    const set = await openDataSet(path)
    expect(set.findings.map(({ code, row }) => [code, row])).toEqual([
      ['motion-gap', 6],
      ['time-falls', 8],
      ['time-repeats', undefined],
    ])
    expect(set.samples).toMatchObject([
      { start: 0, end: 4 },
      { start: 4, end: 6 },
      { start: 6, end: 8 },
      { start: 8, end: 9, label: 'sit' },
    ])
    const [recording] = await readMotionSamples(set, [0])
    expect([...(recording!.timesS as Float64Array)]).toEqual([0, 0.02, 0.04])
    expect([...(recording!.channels[0] as Float64Array)]).toEqual([0, 1.5, 3])
  })

  test('rows of other lengths and labels that are missing', async () => {
    const path = scratch.write({
      'm.csv': [HEADER, ...rows(0, 2, 'a'), '1,2', ...rows(2, 3, ''), ...rows(3, 5, 'b')].join('\n'),
    })
    const set = await openDataSet(path)
    expect(set.findings.map(({ code, row }) => [code, row])).toEqual([
      ['ragged-row', 4],
      ['missing-label', 5],
    ])
    // Measurements are counted without the row that is none.
    expect(set.samples).toMatchObject([
      { start: 0, end: 2, label: 'a' },
      { start: 3, end: 5, label: 'b' },
    ])
    expect((await readMotionSamples(set, [1]))[0]!.channels[0]).toEqual(Float64Array.from([3, 4]))
  })

  test('tables that lack an axis, a label, or motion at all', async () => {
    await expect(openDataSet(scratch.write({ 'a.csv': 'ax,ay,label\n1,2,x\n' }))).rejects.toThrow(
      'acceleration z, got none',
    )
    await expect(openDataSet(scratch.write({ 'b.csv': 'ax,ay,az\n1,2,3\n' }))).rejects.toThrow(
      'expected a column "label"',
    )
    scratch.write({ 'd/x/c.csv': 'a,b\n1,2\n' })
    await expect(openDataSet(join(scratch.path, 'd'))).rejects.toThrow('expected a header with ax,ay,az')
    await expect(
      openDataSet(scratch.write({ 'e.csv': 'time,ax,ay,az,label\n1,1,1,1,x\n1.6,1,1,1,x\n' })),
    ).rejects.toThrow('unit that cannot be told')
  })

  test('columns by the names that sensors give', () => {
    const motion = (names: string) => findMotion(names.split(','), {})?.channels
    expect(motion('gz,gy,gx,az,ay,ax')).toEqual([5, 4, 3, 2, 1, 0])
    expect(
      motion(
        'i,gravity.x,rotationRate.x,rotationRate.y,rotationRate.z,userAcceleration.x,userAcceleration.y,userAcceleration.z',
      ),
    ).toEqual([5, 6, 7, 2, 3, 4])
    expect(motion('Accelerometer X (m/s²),Accelerometer Y (m/s²),Accelerometer Z (m/s²)')).toEqual([0, 1, 2])
    expect(motion('text,label')).toBeUndefined()
    expect(() => motion('ax,ay,az,acc_x')).toThrow('got ax, acc_x')
    expect(findMotion(['b', 'a', 'label'], { channels: ['a', 'b'] })?.channels).toEqual([1, 0])
    expect(() => findMotion(['ax'], { channels: ['ay'] })).toThrow('Unknown column "ay"')
  })

  test('units of time by their steps', () => {
    expect(guessTimeUnit([0, 0.02, 0.04])).toBe('s')
    expect(guessTimeUnit([5, 15, 25])).toBe('ms')
    expect(guessTimeUnit([0, 20_000, 40_000])).toBe('us')
    expect(guessTimeUnit([0, 2e7, 4e7])).toBe('ns')
    expect(guessTimeUnit([0, 0.6, 1.2])).toBeUndefined()
  })
})
