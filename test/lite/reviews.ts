/** Twenty short film reviews written for this test, in the manner of SST-2; none of them is in `samples/`. */

export const REVIEWS: readonly (readonly [text: string, label: 'positive' | 'negative'])[] = [
  ['a joyful, beautifully acted film from beginning to end', 'positive'],
  ['tedious, badly written and far too long', 'negative'],
  ['the best comedy i have seen in years', 'positive'],
  ['an embarrassing mess that insults its audience', 'negative'],
  ['smart, tender and full of surprises', 'positive'],
  ['the story goes nowhere and takes forever to get there', 'negative'],
  ['a gripping drama with an unforgettable lead performance', 'positive'],
  ['i wanted to walk out after ten minutes', 'negative'],
  ['the director finds real beauty in ordinary lives', 'positive'],
  ['the actors look bored and so was i', 'negative'],
  ['a charming little film with a big heart', 'positive'],
  ['a noisy, stupid and joyless affair', 'negative'],
  ['every minute of it is a delight', 'positive'],
  ['cheap jokes, wooden acting and no ideas', 'negative'],
  ['it made me laugh and cry, and i would see it again', 'positive'],
  ['a disappointing waste of a talented cast', 'negative'],
  ['wonderfully funny and surprisingly wise', 'positive'],
  ['painfully dull and utterly predictable', 'negative'],
  ['a triumph of imagination and craft', 'positive'],
  ['there is not one believable character in this awful movie', 'negative'],
]
