/**
 * What the activities are called. Training draws its words anew for each step, so that no wording is learned by heart.
 */

import { toUnitLength } from '../../../runtime/tower.js'
import type { Chance } from './augment.js'
import type { Activity } from './recordings.js'

/** The first is what the activity is called in plain words. */
export const WORDINGS: Readonly<Record<Activity, readonly string[]>> = {
  SEATED: [
    'sitting',
    'sitting still',
    'seated',
    'sitting on a chair',
    'being seated',
    'resting on a chair',
    'remaining seated',
    'sitting quietly',
    'sitting on a bench',
    'not moving',
    'staying in a seat',
  ],
  STANDING_UP: [
    'standing up',
    'getting up',
    'rising from a chair',
    'getting up from a chair',
    'standing up from a seat',
    'going from sitting to standing',
    'rising to stand',
    'sit to stand',
    'leaving a chair',
    'stood up',
  ],
  WALKING: [
    'walking',
    'walking forward',
    'going on foot',
    'strolling',
    'taking steps',
    'walking straight ahead',
    'walking along a corridor',
    'a walk',
    'striding',
    'pacing',
    'moving by foot',
  ],
  TURNING: [
    'turning',
    'turning around',
    'making a turn',
    'rotating',
    'changing direction',
    'doing a half turn',
    'turning left',
    'turning right',
    'spinning around',
    'a turn of the body',
    'turning back',
  ],
  SITTING_DOWN: [
    'sitting down',
    'taking a seat',
    'lowering onto a chair',
    'sitting down on a chair',
    'going from standing to sitting',
    'stand to sit',
    'lowering the body to sit',
    'sat down',
    'sinking into a chair',
    'taking place on a chair',
  ],
}

/** Never trained on: whether other words of one meaning do as well. */
export const OTHER_WORDINGS: Readonly<Record<Activity, readonly string[]>> = {
  SEATED: ['sitting in a seat', 'sitting motionless', 'is seated in an armchair'],
  STANDING_UP: ['rising to their feet', 'standing up from the sofa', 'getting out of the chair'],
  WALKING: ['walking around', 'moving on foot', 'going for a walk'],
  TURNING: ['turning round', 'rotating on the spot', 'turning to the other side'],
  SITTING_DOWN: ['having a seat', 'sitting down on the sofa', 'lowering themselves into a seat'],
}

const TEMPLATES = [
  '{}',
  'a person is {}.',
  'a human is {}.',
  'The human is {}.',
  'someone {}',
  'This person is {} now.',
  'the activity is {}',
  'motion of a person {}',
] as const

/** Each wording in each template. */
export const promptsOf = (activity: Activity): string[] =>
  WORDINGS[activity].flatMap((words) => TEMPLATES.map((template) => template.replace('{}', words)))

/** Of a unit vector of 384 numbers this turns it by some 15°. */
const WORD_NOISE = 0.014

/** Somewhere between two wordings, and a little beside: what other words for the same may be. [E] */
export function anyWording(prompts: readonly Float32Array[], { uniform, normal }: Chance): Float32Array {
  const pick = () => prompts[Math.floor(uniform() * prompts.length)]!
  const [a, b, share] = [pick(), pick(), uniform()]
  return toUnitLength(a.map((value, i) => share * value + (1 - share) * b[i]! + WORD_NOISE * normal()))
}
