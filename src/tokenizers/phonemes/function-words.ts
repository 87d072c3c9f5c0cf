/**
 * Words that a sentence leaves unstressed. They keep their full vowels, as in the texts that Kokoro learned from, and get their
 * stress back before a pause: `what is it for?`
 */

/** Unstressed unless a clause ends behind them. */
export const FUNCTION_WORDS = new Set(
  "and as at am are be been but by can could did do does for from had has have he he'd he'll he's her him his i'd i'll i'm i've if in into is it it'd it'll it's its me my nor of on or our per shall she she'd she'll she's should than that that's their them they they'd they'll they're they've this to us was we we'd we'll we're we've were will with would you you'd you'll you're you've your".split(
    ' ',
  ),
)

/** Unstressed before a pause, too. */
export const NEVER_STRESSED = new Set([
  'it',
  'them',
  'him',
  'us',
  'me',
  "it's",
  'her',
  'and',
  'or',
  'you',
  'your',
  'my',
  'their',
  'our',
  'its',
])

/** What CMUdict's first entry does not give, or gives as a word alone is said. ARPAbet. */
export const PREFERRED: Readonly<Record<string, string>> = {
  and: 'AE1 N D',
  in: 'IH1 N',
  was: 'W AH1 Z',
  into: 'IH1 N T UW0',
  because: 'B IH0 K AH1 Z',
  data: 'D EY1 T AH0',
  every: 'EH1 V R IY0',
  different: 'D IH1 F R AH0 N T',
  family: 'F AE1 M L IY0',
  general: 'JH EH1 N R AH0 L',
  our: 'AW1 ER0',
  often: 'AO1 F AH0 N',
  really: 'R IY1 L IY0',
  direction: 'D ER0 EH1 K SH AH0 N',
  cannot: 'K AE1 N AA0 T',
  address: 'AE1 D R EH2 S',
  hello: 'HH AH0 L OW1',
  okay: 'OW2 K EY1',
  monday: 'M AH1 N D EY2',
  tuesday: 'T UW1 Z D EY2',
  wednesday: 'W EH1 N Z D EY2',
  thursday: 'TH ER1 Z D EY2',
  friday: 'F R AY1 D EY2',
  saturday: 'S AE1 T ER0 D EY2',
  sunday: 'S AH1 N D EY2',
  thirty: 'TH ER1 T IY0',
  kilometers: 'K AH0 L AA1 M AH0 T ER0 Z',
  miz: 'M IH1 Z',
  wifi: 'W AY1 F AY2',
  w: 'D AH1 B AH0 L Y UW0',
  app: 'AE1 P',
  apps: 'AE1 P S',
  jpeg: 'JH EY1 P EH2 G',
  json: 'JH EY1 S AH0 N',
  nato: 'N EY1 T OW0',
  covid: 'K OW1 V IH0 D',
  "'em": 'AH0 M',
  "'tis": 'T IH1 Z',
  "'twas": 'T W AH1 Z',
  "'cause": 'K AH0 Z',
  "'til": 'T IH1 L',
  "'bout": 'B AW1 T',
  "'n": 'AH0 N',
  "'round": 'R AW1 N D',
}

/** Names of the letters, ARPAbet without stress marks. */
export const LETTER_NAMES: Readonly<Record<string, string>> = {
  A: 'EY1',
  B: 'B IY1',
  C: 'S IY1',
  D: 'D IY1',
  E: 'IY1',
  F: 'EH1 F',
  G: 'JH IY1',
  H: 'EY1 CH',
  I: 'AY1',
  J: 'JH EY1',
  K: 'K EY1',
  L: 'EH1 L',
  M: 'EH1 M',
  N: 'EH1 N',
  O: 'OW1',
  P: 'P IY1',
  Q: 'K Y UW1',
  R: 'AA1 R',
  S: 'EH1 S',
  T: 'T IY1',
  U: 'Y UW1',
  V: 'V IY1',
  W: 'D AH1 B AH0 L Y UW0',
  X: 'EH1 K S',
  Y: 'W AY1',
  Z: 'Z IY1',
}

/** Letters one after the other; the last has the main stress: `FBI`. */
export const spell = (letters: string): string =>
  [...letters]
    .map((letter, at) => (at === letters.length - 1 ? LETTER_NAMES[letter]! : LETTER_NAMES[letter]!.replace('1', '2')))
    .join(' ')
