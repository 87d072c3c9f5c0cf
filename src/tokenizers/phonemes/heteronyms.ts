/** Words of one spelling and two sounds, told apart by their neighbours where that is cheap; else the commoner. */

interface Choice {
  readonly arpabet: string
  /** One of these stands right before. */
  readonly after?: ReadonlySet<string>
  /** One of these stands right behind. */
  readonly before?: ReadonlySet<string>
}

/** The first whose neighbours fit; the last has none. */
type Choices = readonly Choice[]

const set = (words: string): ReadonlySet<string> => new Set(words.split(' '))

/** What stands before a verb's plain form. */
const VERB_CUES = set(
  "to will would can could should shall may might must do does did don't doesn't didn't won't wouldn't can't couldn't shouldn't not i you we they who please let's i'll you'll we'll they'll he'll she'll it'll i'd you'd we'd they'd never always also and-then",
)
const HAVE_CUES = set(
  "have has had having i've you've we've they've was were been is are be being he's she's it's never already just well widely",
)
const DETERMINERS = set(
  'the a an this that these those my your his her its our their no any some each every of for in much more little daily good great heavy single common',
)
const INTENSIFIERS = set(
  'very so too as how pretty quite really more is are was were get gets got getting come comes came coming stay stays stayed keep kept how a',
)

const choose = (verb: string, noun: string, fallback: 'verb' | 'noun'): Choices =>
  fallback === 'noun'
    ? [{ arpabet: verb, after: VERB_CUES }, { arpabet: noun }]
    : [{ arpabet: noun, after: DETERMINERS }, { arpabet: verb }]

/** Stress tells the verb from the noun: verb, noun, which is the commoner. */
const STRESS_PAIRS: Readonly<Record<string, readonly [verb: string, noun: string, fallback: 'verb' | 'noun']>> = {
  address: ['AH0 D R EH1 S', 'AE1 D R EH2 S', 'noun'],
  attribute: ['AH0 T R IH1 B Y UW0 T', 'AE1 T R IH0 B Y UW2 T', 'noun'],
  compound: ['K AH0 M P AW1 N D', 'K AA1 M P AW0 N D', 'noun'],
  conduct: ['K AH0 N D AH1 K T', 'K AA1 N D AH0 K T', 'verb'],
  conflict: ['K AH0 N F L IH1 K T', 'K AA1 N F L IH0 K T', 'noun'],
  console: ['K AH0 N S OW1 L', 'K AA1 N S OW0 L', 'noun'],
  construct: ['K AH0 N S T R AH1 K T', 'K AA1 N S T R AH0 K T', 'verb'],
  contest: ['K AH0 N T EH1 S T', 'K AA1 N T EH0 S T', 'noun'],
  contract: ['K AH0 N T R AE1 K T', 'K AA1 N T R AE2 K T', 'noun'],
  contrast: ['K AH0 N T R AE1 S T', 'K AA1 N T R AE0 S T', 'noun'],
  convert: ['K AH0 N V ER1 T', 'K AA1 N V ER0 T', 'verb'],
  decrease: ['D IH0 K R IY1 S', 'D IY1 K R IY2 S', 'verb'],
  desert: ['D IH0 Z ER1 T', 'D EH1 Z ER0 T', 'noun'],
  digest: ['D AY0 JH EH1 S T', 'D AY1 JH EH0 S T', 'verb'],
  export: ['IH0 K S P AO1 R T', 'EH1 K S P AO0 R T', 'noun'],
  extract: ['IH0 K S T R AE1 K T', 'EH1 K S T R AE2 K T', 'verb'],
  import: ['IH0 M P AO1 R T', 'IH1 M P AO2 R T', 'noun'],
  increase: ['IH0 N K R IY1 S', 'IH1 N K R IY2 S', 'verb'],
  insult: ['IH0 N S AH1 L T', 'IH1 N S AH2 L T', 'noun'],
  object: ['AH0 B JH EH1 K T', 'AA1 B JH EH0 K T', 'noun'],
  permit: ['P ER0 M IH1 T', 'P ER1 M IH2 T', 'verb'],
  present: ['P R IH0 Z EH1 N T', 'P R EH1 Z AH0 N T', 'noun'],
  produce: ['P R AH0 D UW1 S', 'P R OW1 D UW0 S', 'verb'],
  progress: ['P R AH0 G R EH1 S', 'P R AA1 G R EH2 S', 'noun'],
  project: ['P R AH0 JH EH1 K T', 'P R AA1 JH EH0 K T', 'noun'],
  protest: ['P R AH0 T EH1 S T', 'P R OW1 T EH2 S T', 'noun'],
  rebel: ['R IH0 B EH1 L', 'R EH1 B AH0 L', 'noun'],
  record: ['R IH0 K AO1 R D', 'R EH1 K ER0 D', 'noun'],
  refuse: ['R IH0 F Y UW1 Z', 'R EH1 F Y UW2 Z', 'verb'],
  reject: ['R IH0 JH EH1 K T', 'R IY1 JH EH0 K T', 'verb'],
  subject: ['S AH0 B JH EH1 K T', 'S AH1 B JH IH0 K T', 'noun'],
  suspect: ['S AH0 S P EH1 K T', 'S AH1 S P EH2 K T', 'verb'],
  transfer: ['T R AE0 N S F ER1', 'T R AE1 N S F ER0', 'noun'],
  transport: ['T R AE0 N S P AO1 R T', 'T R AE1 N S P AO0 R T', 'noun'],
  upset: ['AH0 P S EH1 T', 'AH1 P S EH2 T', 'verb'],
  // -ate: a full vowel in the verb only.
  advocate: ['AE1 D V AH0 K EY2 T', 'AE1 D V AH0 K AH0 T', 'noun'],
  alternate: ['AO1 L T ER0 N EY2 T', 'AO1 L T ER0 N AH0 T', 'noun'],
  approximate: ['AH0 P R AA1 K S AH0 M EY2 T', 'AH0 P R AA1 K S AH0 M AH0 T', 'noun'],
  associate: ['AH0 S OW1 SH IY0 EY2 T', 'AH0 S OW1 SH IY0 AH0 T', 'noun'],
  delegate: ['D EH1 L AH0 G EY2 T', 'D EH1 L AH0 G AH0 T', 'noun'],
  deliberate: ['D IH0 L IH1 B ER0 EY2 T', 'D IH0 L IH1 B ER0 AH0 T', 'noun'],
  duplicate: ['D UW1 P L AH0 K EY2 T', 'D UW1 P L AH0 K AH0 T', 'noun'],
  elaborate: ['IH0 L AE1 B ER0 EY2 T', 'IH0 L AE1 B ER0 AH0 T', 'noun'],
  estimate: ['EH1 S T AH0 M EY2 T', 'EH1 S T AH0 M AH0 T', 'noun'],
  graduate: ['G R AE1 JH AH0 W EY2 T', 'G R AE1 JH AH0 W AH0 T', 'noun'],
  moderate: ['M AA1 D ER0 EY2 T', 'M AA1 D ER0 AH0 T', 'noun'],
  separate: ['S EH1 P ER0 EY2 T', 'S EH1 P ER0 AH0 T', 'noun'],
}

const OTHERS: Readonly<Record<string, Choices>> = {
  bass: [{ arpabet: 'B AE1 S', before: set('fishing boat lake pro') }, { arpabet: 'B EY1 S' }],
  bow: [{ arpabet: 'B AW1', before: set('to down before') }, { arpabet: 'B OW1' }],
  close: [
    {
      arpabet: 'K L OW1 S',
      before: set('to by friend friends enough together range call look relationship proximity ties'),
    },
    { arpabet: 'K L OW1 S', after: INTENSIFIERS },
    { arpabet: 'K L OW1 Z' },
  ],
  does: [{ arpabet: 'D AH1 Z' }],
  dove: [{ arpabet: 'D AH1 V' }],
  excuse: [{ arpabet: 'IH0 K S K Y UW1 S', after: DETERMINERS }, { arpabet: 'IH0 K S K Y UW1 Z' }],
  house: [{ arpabet: 'HH AW1 S' }],
  lead: [
    { arpabet: 'L EH1 D', before: set('pipe pipes paint poisoning acid pencil free bullet bullets') },
    { arpabet: 'L IY1 D' },
  ],
  live: [
    {
      arpabet: 'L AY1 V',
      before: set(
        'music show shows stream streams streaming broadcast concert concerts coverage audience band performance performances tv demo wire data feed video updates chat event events sports from on-air',
      ),
    },
    { arpabet: 'L AY1 V', after: set('go goes going went broadcast streamed streaming is are was a the this our') },
    { arpabet: 'L IH1 V' },
  ],
  minute: [
    { arpabet: 'M AY0 N UW1 T', before: set('details amounts quantities differences traces') },
    { arpabet: 'M IH1 N AH0 T' },
  ],
  perfect: [{ arpabet: 'P ER0 F EH1 K T', after: set('to') }, { arpabet: 'P ER1 F IH2 K T' }],
  polish: [{ arpabet: 'P AA1 L IH0 SH' }],
  read: [{ arpabet: 'R EH1 D', after: HAVE_CUES }, { arpabet: 'R IY1 D' }],
  resume: [{ arpabet: 'R EH1 Z AH0 M EY2', after: set('my your his her their the a') }, { arpabet: 'R IH0 Z UW1 M' }],
  row: [{ arpabet: 'R OW1' }],
  tear: [{ arpabet: 'T IH1 R', before: set('gas drop drops duct ducts') }, { arpabet: 'T EH1 R' }],
  tears: [{ arpabet: 'T EH1 R Z', before: set('up down apart off it them the') }, { arpabet: 'T IH1 R Z' }],
  use: [{ arpabet: 'Y UW1 S', after: DETERMINERS }, { arpabet: 'Y UW1 Z' }],
  used: [{ arpabet: 'Y UW1 S T', before: set('to') }, { arpabet: 'Y UW1 Z D' }],
  wind: [
    { arpabet: 'W AY1 N D', before: set('up down back') },
    { arpabet: 'W AY1 N D', after: set('to') },
    { arpabet: 'W IH1 N D' },
  ],
  wound: [{ arpabet: 'W AW1 N D', before: set('up down around') }, { arpabet: 'W UW1 N D' }],
}

/**
 * ARPAbet of a word of several sounds, or nothing for all others.
 * @param before the words in front of and behind it, empty at a pause or an end
 */
export function heteronym(word: string, before: string, behind: string): string | undefined {
  if (Object.hasOwn(STRESS_PAIRS, word)) return pick(choose(...STRESS_PAIRS[word]!), before, behind)
  return Object.hasOwn(OTHERS, word) ? pick(OTHERS[word]!, before, behind) : undefined
}

const pick = (choices: Choices, before: string, behind: string): string | undefined =>
  choices.find((choice) => (choice.after?.has(before) ?? true) && (choice.before?.has(behind) ?? true))?.arpabet

/** For tests: every pronunciation that the tables hold. */
export const allHeteronyms = (): readonly string[] => [
  ...Object.values(STRESS_PAIRS).flatMap((pair) => pair.slice(0, 2)),
  ...Object.values(OTHERS).flatMap((choices) => choices.map(({ arpabet }) => arpabet)),
]
