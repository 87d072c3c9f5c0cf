/** What is said of a sound: the texts that its vector is brought near to. Those of `heldOut` are never trained on. */

import { DIGITS, KINDS, type Kind, type TaughtSound } from './sound-sets.js'

const DIGIT_TEMPLATES = {
  train: ['{}', 'a person says {}', 'the spoken digit {}', 'someone saying the number {}', 'a voice says "{}"'],
  heldOut: ['the word {}', 'a recording of the number {}'],
}

const KIND_TEXTS: Readonly<Record<Kind, Readonly<Record<'train' | 'heldOut', readonly string[]>>>> = {
  speech: {
    train: ['speech', 'a person speaking', 'someone talking', 'a human voice', 'people talking'],
    heldOut: ['a person is talking', 'spoken words'],
  },
  tone: {
    train: ['a tone', 'a beep', 'a pure tone', 'a sine wave', 'beeping'],
    heldOut: ['a steady tone', 'an electronic beep'],
  },
  noise: {
    train: ['noise', 'white noise', 'static', 'hiss', 'background noise'],
    heldOut: ['a hissing noise', 'radio static'],
  },
  clicks: {
    train: ['clicks', 'clicking', 'ticking', 'a series of clicks', 'a ticking sound'],
    heldOut: ['repeated clicks', 'a clicking sound'],
  },
  silence: {
    train: ['silence', 'nothing', 'quiet', 'a silent recording', 'no sound'],
    heldOut: ['complete silence', 'total quiet'],
  },
}

export type PromptSide = keyof typeof DIGIT_TEMPLATES

/** Texts of one wording for each class: digits, then what is no speech; or the kinds. */
export function promptsOf(of: Subjects, side: PromptSide, wording: number): readonly string[] {
  const kinds = KINDS.map((kind) => KIND_TEXTS[kind][side][wording]!)
  if (of === 'kinds') return kinds
  return [...DIGITS.map((digit) => DIGIT_TEMPLATES[side][wording]!.replace('{}', digit)), ...kinds.slice(1)]
}

/** How many wordings there are. */
export const wordings = (side: PromptSide): number => DIGIT_TEMPLATES[side].length

/** What is asked: which digit was said, or what kind of sound it is. */
export type Subjects = 'digits' | 'kinds'

/** Place of a sound among the texts of `promptsOf`; undefined for speech that is no digit where digits are asked for. */
export function classOf(subjects: Subjects, { kind, digit }: TaughtSound): number | undefined {
  const place = KINDS.indexOf(kind)
  if (subjects === 'kinds') return place
  return digit ?? (kind === 'speech' ? undefined : DIGITS.length + place - 1)
}
