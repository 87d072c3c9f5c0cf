/** T41–T50: from one modality to another. */

import type { BenchTask } from './types.js'

type Entry = Pick<BenchTask, 'id' | 'title' | 'dataSet' | 'metric'>

const PHOTO = 'room.jpg'
/** As the paper asks for it (spec sheet G.1). */
const caption = (of: string) => `Give a very short caption of the ${of}, the caption have 16 words at most.`

const captioned = (entry: Entry, role: 'IMG' | 'AUD-B'): BenchTask => ({
  ...entry,
  path: 1,
  takes: { of: role === 'IMG' ? 'picture' : 'sound', question: true },
  ask: { task: 'describe', question: caption(role === 'IMG' ? 'image' : 'audio'), maxTokens: 32 },
  needs: [role, 'backbone'],
  sample: { file: role === 'IMG' ? PHOTO : 'reading.wav' },
})

const found = (entry: Entry): BenchTask => ({
  ...entry,
  path: 3,
  takes: { of: 'text', gallery: true },
  ask: { task: 'retrieve' },
  needs: ['TXT', 'IMG'],
  sample: { text: 'a photo of a sofa' },
})

const asked = (entry: Entry): BenchTask => ({
  ...entry,
  path: 1,
  takes: { of: 'picture', question: true },
  ask: { task: 'describe', question: 'What is this?', maxTokens: 16 },
  needs: ['IMG', 'backbone'],
  sample: { file: PHOTO, question: 'What is in the picture?' },
})

export const MULTIMODAL: readonly BenchTask[] = [
  {
    id: 'T41',
    title: 'Text-to-speech',
    dataSet: 'LJSpeech',
    metric: 'MCD',
    path: 4,
    takes: { of: 'text' },
    ask: { task: 'speak' },
    needs: ['TTS'],
    sample: { text: 'The birch canoe slid on the smooth planks.' },
  },
  captioned({ id: 'T42', title: 'Audio captioning', dataSet: 'Clotho', metric: 'BLEU' }, 'AUD-B'),
  captioned({ id: 'T43', title: 'Audio captioning', dataSet: 'AudioSet', metric: 'BLEU' }, 'AUD-B'),
  captioned({ id: 'T44', title: 'Image captioning', dataSet: 'MSCOCO 2014', metric: 'BLEU' }, 'IMG'),
  captioned({ id: 'T45', title: 'Image captioning', dataSet: 'Flickr8k', metric: 'BLEU' }, 'IMG'),
  found({ id: 'T46', title: 'Text-to-image retrieval', dataSet: 'Flickr8k', metric: 'recall' }),
  found({ id: 'T47', title: 'Text-to-image retrieval', dataSet: 'Flickr30k', metric: 'recall' }),
  {
    id: 'T48',
    title: 'Sound- or text-to-image generation',
    dataSet: 'VGGSound',
    metric: 'FID',
    path: 3,
    takes: { of: 'sound' },
    ask: { task: 'paint' },
    needs: ['AUD-B', 'IMG-gen'],
    sample: { file: 'reading.wav' },
  },
  asked({ id: 'T49', title: 'Visual question answering', dataSet: 'VQA 2.0', metric: 'accuracy' }),
  asked({ id: 'T50', title: 'Visual question answering', dataSet: 'VizWiz', metric: 'accuracy' }),
]
