/** T32–T40: speech, sounds, motion. What is said goes to the backbone (path 1); how it sounds or moves is told by encoders (path 3). */

import { ENVIRONMENTAL_SOUNDS } from './labels.js'
import type { BenchTask } from './types.js'

type Entry = Pick<BenchTask, 'id' | 'title' | 'dataSet' | 'metric'>

const SPEECH = { file: 'question.wav' }

const heard = {
  path: 1,
  takes: { of: 'sound' },
  needs: ['AUD-I', 'backbone'],
  sample: SPEECH,
} as const

const sensed = (entry: Entry, role: 'AUD-B' | 'IMU', labels: readonly string[], template: string): BenchTask => ({
  ...entry,
  path: 3,
  takes: { of: role === 'IMU' ? 'motion' : 'sound' },
  ask: { task: 'match', labels, template },
  needs: [role, 'TXT'],
  sample: role === 'IMU' ? { file: 'walking.csv' } : SPEECH,
})

export const HEARING: readonly BenchTask[] = [
  {
    id: 'T32',
    title: 'Automatic speech recognition',
    dataSet: 'LibriSpeech',
    metric: 'WER',
    path: 1,
    takes: { of: 'sound' },
    // The backbone sleeps: it would only say again what was heard.
    ask: { task: 'transcribe' },
    needs: ['AUD-I'],
    sample: { file: 'reading.wav' },
  },
  {
    id: 'T33',
    title: 'Spoken language understanding',
    dataSet: 'Fluent Speech Commands',
    metric: 'WER',
    ...heard,
    ask: {
      task: 'listen',
      instruction: 'Give the action, the object and the place of each command; none where there is none.',
      names: { input: 'Command', output: 'Meaning' },
      examples: [
        { input: 'Turn on the lights in the kitchen.', output: 'activate, lights, kitchen' },
        { input: 'Make it louder.', output: 'increase, volume, none' },
        { input: 'Bring me my shoes.', output: 'bring, shoes, none' },
        { input: 'Switch off the lamp in the bedroom.', output: 'deactivate, lamp, bedroom' },
      ],
      maxTokens: 24,
    },
  },
  {
    id: 'T34',
    title: 'Spoken language understanding',
    dataSet: 'SLURP',
    metric: 'accuracy',
    ...heard,
    ask: {
      task: 'listen',
      instruction: 'Name the field and the action of each request.',
      names: { input: 'Request', output: 'Field' },
      examples: [
        { input: 'Wake me up at seven tomorrow.', output: 'alarm: set' },
        { input: 'What is the weather in Rome?', output: 'weather: query' },
        { input: 'Play some jazz.', output: 'play: music' },
        { input: 'Put milk on my shopping list.', output: 'lists: create or add' },
        { input: 'How tall is Mount Everest?', output: 'qa: factoid' },
      ],
      maxTokens: 16,
    },
  },
  sensed(
    { id: 'T35', title: 'Emotion recognition', dataSet: 'IEMOCAP', metric: 'accuracy' },
    'AUD-B',
    ['angry', 'happy', 'neutral', 'sad'],
    'a person speaking in a {} voice',
  ),
  sensed(
    { id: 'T36', title: 'Audio classification', dataSet: 'ESC-50', metric: 'accuracy' },
    'AUD-B',
    ENVIRONMENTAL_SOUNDS,
    'the sound of {}',
  ),
  {
    id: 'T37',
    title: 'Keyword spotting',
    dataSet: 'Speech Commands',
    metric: 'accuracy',
    ...heard,
    ask: {
      task: 'listen',
      instruction: 'Name the command word: yes, no, up, down, left, right, on, off, stop, go, or unknown.',
      names: { input: 'Heard', output: 'Word' },
      examples: [
        { input: 'Right.', output: 'right' },
        { input: 'Bed.', output: 'unknown' },
        { input: 'Stop!', output: 'stop' },
        { input: 'Seven.', output: 'unknown' },
        { input: 'go', output: 'go' },
      ],
      maxTokens: 8,
    },
  },
  sensed(
    { id: 'T38', title: 'Human activity recognition', dataSet: 'UCI smartphones', metric: 'accuracy' },
    'IMU',
    ['walking', 'walking upstairs', 'walking downstairs', 'sitting', 'standing', 'laying'],
    'The human is {}.',
  ),
  sensed(
    { id: 'T39', title: 'Human activity recognition', dataSet: 'HHAR', metric: 'accuracy' },
    'IMU',
    ['biking', 'sitting', 'standing', 'walking', 'walking upstairs', 'walking downstairs'],
    'a human is {}.',
  ),
  sensed(
    { id: 'T40', title: 'Human activity recognition', dataSet: 'MotionSense', metric: 'accuracy' },
    'IMU',
    ['walking downstairs', 'walking upstairs', 'walking', 'jogging', 'sitting', 'standing'],
    'a human is {}.',
  ),
]
