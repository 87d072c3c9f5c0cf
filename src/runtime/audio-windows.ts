/** Long recordings in windows that a speech encoder can hold, cut where it is quietest. */

export interface AudioWindow {
  readonly from: number
  readonly to: number
}

/** Loudness is compared over this long. */
const FRAME_S = 0.2
/** The cut lies in this last part of a window. */
const SEARCH_S = 6

/**
 * One window where all fits; else windows of at most `maxSamples - sampleRateHz * marginS`, each ending in the middle of the
 * quietest 0.2 s of its last 6 s. Together they cover the recording without gaps.
 */
export function audioWindows(
  samples: Float32Array,
  { sampleRateHz, maxSamples, marginS }: { sampleRateHz: number; maxSamples: number; marginS: number },
): AudioWindow[] {
  const windows: AudioWindow[] = []
  const most = Math.max(Math.floor(maxSamples / 2), maxSamples - Math.round(marginS * sampleRateHz))
  let from = 0
  while (samples.length - from > maxSamples) {
    const earliest = from + Math.max(Math.floor(most / 2), most - SEARCH_S * sampleRateHz)
    const to = quietest(samples, earliest, from + most, Math.round(FRAME_S * sampleRateHz))
    windows.push({ from, to })
    from = to
  }
  windows.push({ from, to: samples.length })
  return windows
}

/** Middle of the frame of least energy in [from, to), the later of equals. */
function quietest(samples: Float32Array, from: number, to: number, frame: number): number {
  const step = Math.max(1, Math.floor(frame / 4))
  let least = Number.POSITIVE_INFINITY
  let best = to
  for (let start = from; start + frame <= to; start += step) {
    let energy = 0
    for (let i = start; i < start + frame; i++) energy += samples[i]! * samples[i]!
    if (energy <= least) {
      least = energy
      best = start + Math.floor(frame / 2)
    }
  }
  return best
}

/** -80 dBFS: digital silence and the noise of a muted microphone. */
export const SILENT_PEAK = 1e-4

/** Largest absolute sample. */
export function peakOf(samples: Float32Array): number {
  let peak = 0
  for (const sample of samples) peak = Math.max(peak, Math.abs(sample))
  return peak
}
