/**
 * What the joint space of `lite` is about, in sentences of our own: what an encoder may have met, how it is said in the space of
 * texts, and what the backbone should answer when it is asked. Nothing here is a caption of anybody's picture.
 */

import { randomSource } from '../../core/random.js'

/** Something met, with a question about it and the answer. */
export interface Sentence {
  /** As the text encoder reads it: a point of the joint space. */
  readonly meant: string
  readonly question: string
  readonly answer: string
}

/** `things`: names of pictures' classes, with an article already. */
export interface Vocabulary {
  readonly things: readonly string[]
}

const COLOURS = ['black', 'red', 'blue', 'green', 'teal', 'gray', 'brown', 'yellow', 'white', 'orange', 'purple']
const SHAPES = ['circle', 'rectangle', 'triangle', 'square']
const DIGITS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine']
const ACTIVITIES = ['walking', 'sitting', 'standing up', 'sitting down', 'turning around', 'standing still', 'running']
const SOUNDS = [
  'a dog barking',
  'a car engine',
  'a bird singing',
  'music',
  'silence',
  'noise',
  'a person speaking',
  'rain',
]

type Form = readonly [meant: string, question: string, answer: string]

/** `{}` is the thing, with its article where it takes one. */
const PICTURE_FORMS: readonly Form[] = [
  ['a photo of {}', 'What is this?', '{}'],
  ['a photo of {}', 'What is in the picture?', '{}'],
  ['a picture of {}', 'Describe the picture.', 'a photo of {}'],
  ['{}', 'What do you see?', '{}'],
]
const SOUND_FORMS: readonly Form[] = [
  ['the sound of {}', 'What do you hear?', '{}'],
  ['the sound of {}', 'What is this?', 'the sound of {}'],
]
const ACTIVITY_FORMS: readonly Form[] = [
  ['a person is {}', 'What is the person doing?', '{}'],
  ['the person is {}', 'What is this?', 'a person {}'],
]
const WORD_FORMS: readonly Form[] = [
  ['a person says {}', 'Which word is spoken?', '{}'],
  ['the spoken word {}', 'What is said?', '{}'],
]

export const withArticle = (noun: string): string => `${/^[aeiou]/i.test(noun) ? 'an' : 'a'} ${noun}`

const filled = (forms: readonly Form[], thing: string): Sentence[] =>
  forms.map(([meant, question, answer]) => ({
    meant: meant.replace('{}', thing),
    question,
    answer: answer.replace('{}', thing),
  }))

/** A coloured shape can be asked about in more ways than one. */
function shapeSentences(colour: string, shape: string): Sentence[] {
  const thing = `${withArticle(colour)} ${shape}`
  const meant = `a picture of ${thing}`
  return [
    ...filled(PICTURE_FORMS, thing),
    { meant, question: 'What color is the shape?', answer: colour },
    { meant, question: 'What shape is in the image?', answer: shape },
    { meant, question: `Is there ${withArticle(shape)}?`, answer: 'yes' },
    { meant, question: `Is there ${withArticle(SHAPES[(SHAPES.indexOf(shape) + 1) % SHAPES.length]!)}?`, answer: 'no' },
  ]
}

/** All sentences, in an order that the seed draws. */
export function sentences({ things }: Vocabulary, seed: number): Sentence[] {
  const all = [
    ...things.flatMap((thing) => filled(PICTURE_FORMS, thing)),
    ...COLOURS.flatMap((colour) => SHAPES.flatMap((shape) => shapeSentences(colour, shape))),
    ...ACTIVITIES.flatMap((activity) => filled(ACTIVITY_FORMS, activity)),
    ...DIGITS.flatMap((digit) => filled(WORD_FORMS, digit)),
    ...SOUNDS.flatMap((sound) => filled(SOUND_FORMS, sound)),
  ]
  const random = randomSource(seed)
  const keyed = all.map((sentence) => [random(), sentence] as const)
  return keyed.sort(([a], [b]) => a - b).map(([, sentence]) => sentence)
}
