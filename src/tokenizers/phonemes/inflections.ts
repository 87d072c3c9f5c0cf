/** Words that the dictionary lacks, from words that it has: endings with their allomorphs, prefixes, and compounds of two. */

import { isVowel } from './arpabet.js'

/** A word → ARPAbet, or nothing. */
export type Lookup = (word: string) => string | undefined

const SIBILANTS = new Set(['S', 'Z', 'SH', 'ZH', 'CH', 'JH'])
const VOICELESS = new Set(['P', 'T', 'K', 'F', 'TH', 'S', 'SH', 'CH'])

const lastOf = (arpabet: string): string => arpabet.slice(arpabet.lastIndexOf(' ') + 1)

/** Plural, third person and possessive: cats, dogs, boxes. */
export const withS = (stem: string): string =>
  `${stem} ${SIBILANTS.has(lastOf(stem)) ? 'IH0 Z' : VOICELESS.has(lastOf(stem)) ? 'S' : 'Z'}`

/** Past: worked, begged, wanted. */
export const withEd = (stem: string): string =>
  `${stem} ${/^[TD]$/.test(lastOf(stem)) ? 'IH0 D' : VOICELESS.has(lastOf(stem)) ? 'T' : 'D'}`

interface Ending {
  readonly spelling: RegExp
  /** Instead of the match: what the stem may end in, likeliest first. `$1` is the doubled consonant, once. */
  readonly stems: readonly string[]
  readonly sound: (stem: string) => string
}

const add =
  (phones: string) =>
  (stem: string): string =>
    `${stem} ${phones}`

/** Tried in this order; the first whose stem is known counts. */
const ENDINGS: readonly Ending[] = [
  { spelling: /'s$/, stems: [''], sound: withS },
  { spelling: /'$/, stems: [''], sound: (stem) => stem },
  { spelling: /'ll$/, stems: [''], sound: add('AH0 L') },
  { spelling: /'d$/, stems: [''], sound: (stem) => (/^[TD]$/.test(lastOf(stem)) ? `${stem} AH0 D` : `${stem} D`) },
  { spelling: /'ve$/, stems: [''], sound: add('AH0 V') },
  { spelling: /'re$/, stems: [''], sound: add('ER0') },
  { spelling: /ies$/, stems: ['y', 'ie'], sound: withS },
  { spelling: /(?<!s)s$/, stems: [''], sound: withS },
  { spelling: /es$/, stems: [''], sound: withS },
  { spelling: /ied$/, stems: ['y', 'ie'], sound: withEd },
  { spelling: /([bdfgklmnprstvz])\1ed$/, stems: ['$1', '$1$1'], sound: withEd },
  { spelling: /ed$/, stems: ['e', ''], sound: withEd },
  { spelling: /([bdfgklmnprstvz])\1ing$/, stems: ['$1', '$1$1'], sound: add('IH0 NG') },
  { spelling: /ing$/, stems: ['e', ''], sound: add('IH0 NG') },
  { spelling: /in'$/, stems: ['e', ''], sound: add('IH0 N') },
  { spelling: /([bdfgklmnprstvz])\1ers?$/, stems: ['$1', '$1$1'], sound: add('ER0') },
  { spelling: /([bdfgklmnprstvz])\1est$/, stems: ['$1', '$1$1'], sound: add('AH0 S T') },
  { spelling: /iest$/, stems: ['y'], sound: add('AH0 S T') },
  { spelling: /ier$/, stems: ['y'], sound: add('ER0') },
  { spelling: /est$/, stems: ['e', ''], sound: add('AH0 S T') },
  { spelling: /er$/, stems: ['e', ''], sound: add('ER0') },
  { spelling: /ily$/, stems: ['y'], sound: (stem) => stem.replace(/IY0$/, 'AH0 L IY0') },
  { spelling: /ally$/, stems: [''], sound: add('L IY0') },
  { spelling: /ically$/, stems: ['ical'], sound: (stem) => stem.replace(/AH0 L$/, 'L IY0') },
  { spelling: /bly$/, stems: ['ble'], sound: (stem) => stem.replace(/B AH0 L$/, 'B L IY0') },
  { spelling: /ly$/, stems: [''], sound: (stem) => (lastOf(stem) === 'L' ? `${stem} IY0` : `${stem} L IY0`) },
  { spelling: /iness$/, stems: ['y'], sound: add('N AH0 S') },
  { spelling: /ness$/, stems: [''], sound: add('N AH0 S') },
  { spelling: /less$/, stems: [''], sound: add('L AH0 S') },
  { spelling: /ful$/, stems: [''], sound: add('F AH0 L') },
  { spelling: /ments?$/, stems: [''], sound: add('M AH0 N T') },
  { spelling: /able$/, stems: ['e', ''], sound: add('AH0 B AH0 L') },
  { spelling: /ish$/, stems: ['e', ''], sound: add('IH0 SH') },
  { spelling: /y$/, stems: ['e'], sound: add('IY0') },
  // Names of places and people.
  { spelling: /berg$/, stems: [''], sound: add('B ER0 G') },
  { spelling: /burgh?$/, stems: [''], sound: add('B ER0 G') },
  { spelling: /ford$/, stems: [''], sound: add('F ER0 D') },
  { spelling: /ham$/, stems: [''], sound: add('AH0 M') },
  { spelling: /land$/, stems: [''], sound: add('L AH0 N D') },
  { spelling: /mann?$/, stems: [''], sound: add('M AH0 N') },
  { spelling: /son$/, stems: [''], sound: add('S AH0 N') },
  { spelling: /ton$/, stems: [''], sound: add('T AH0 N') },
  { spelling: /ville$/, stems: [''], sound: add('V IH0 L') },
  { spelling: /worth$/, stems: [''], sound: add('W ER0 TH') },
]

/** Prefixes that leave the stem as it is. */
const PREFIXES: Readonly<Record<string, string>> = {
  anti: 'AE2 N T IY0',
  auto: 'AO2 T OW0',
  bio: 'B AY2 OW0',
  co: 'K OW2',
  counter: 'K AW2 N T ER0',
  cyber: 'S AY2 B ER0',
  de: 'D IY0',
  dis: 'D IH0 S',
  inter: 'IH2 N T ER0',
  mega: 'M EH2 G AH0',
  micro: 'M AY2 K R OW0',
  mid: 'M IH2 D',
  mini: 'M IH2 N IY0',
  mis: 'M IH0 S',
  multi: 'M AH2 L T IY0',
  nano: 'N AE2 N OW0',
  non: 'N AA2 N',
  out: 'AW2 T',
  over: 'OW2 V ER0',
  photo: 'F OW2 T OW0',
  post: 'P OW2 S T',
  pre: 'P R IY0',
  pro: 'P R OW0',
  pseudo: 'S UW2 D OW0',
  re: 'R IY0',
  semi: 'S EH2 M IY0',
  sub: 'S AH2 B',
  super: 'S UW2 P ER0',
  tele: 'T EH2 L AH0',
  trans: 'T R AE0 N Z',
  ultra: 'AH2 L T R AH0',
  un: 'AH0 N',
  under: 'AH2 N D ER0',
}

const SHORTEST_STEM = 3
/** Shorter parts are too often the end of something else. */
const SHORTEST_PART = 4
/** Also parts: what names of things and products are made of. */
const SHORT_PARTS = new Set(
  'air app bed big box bus car cat day dog eye fit fly fox gas hot ice job key lab lap log low map mix net new off old one out pad pay pen pet pin pop pot pro red run sea set sky sub sun tab tag tap tax tea tip top toy up van web win'.split(
    ' ',
  ),
)

/** ARPAbet of a word that the dictionary lacks, if it is made of words that it has. */
export function derive(word: string, lookup: Lookup): string | undefined {
  return inflected(word, lookup) ?? prefixed(word, lookup) ?? compound(word, lookup)
}

/** Endings may be stacked (`reboots'`), once. */
export function inflected(word: string, lookup: Lookup, depth = 1): string | undefined {
  for (const { spelling, stems, sound } of ENDINGS) {
    const match = spelling.exec(word)
    if (!match) continue
    for (const stem of stems) {
      const base = word.slice(0, match.index) + stem.replaceAll('$1', match[1] ?? '')
      if (base.length < (match[0].startsWith("'") ? 1 : SHORTEST_STEM)) continue
      const found = lookup(base) ?? (depth > 0 ? inflected(base, lookup, depth - 1) : undefined)
      // `sher` is no comparative of `she`, `conley` no adjective.
      if (found === undefined || (/^(?:er|y)$/.test(match[0]) && stem === 'e' && isVowel(lastOf(found)))) continue
      const whole = sound(found)
      // `-ers` and `-ments` match their plural, too.
      return match[0].endsWith('s') && /(?:er|ment)s$/.test(match[0]) ? withS(whole) : whole
    }
  }
  return undefined
}

function prefixed(word: string, lookup: Lookup): string | undefined {
  for (let length = 2; length <= Math.min(7, word.length - SHORTEST_PART); length++) {
    const prefix = word.slice(0, length)
    if (!Object.hasOwn(PREFIXES, prefix)) continue
    const stem = lookup(word.slice(length)) ?? inflected(word.slice(length), lookup, 0)
    if (stem !== undefined) return `${PREFIXES[prefix]} ${stem}`
  }
  return undefined
}

/** Two words, as even as possible; the first has the main stress: `smartphone`. */
export function compound(word: string, lookup: Lookup): string | undefined {
  const isPart = (part: string) => part.length >= SHORTEST_PART || SHORT_PARTS.has(part)
  const middle = word.length / 2
  const cuts = Array.from({ length: Math.max(0, word.length - 3) }, (_, index) => index + 2).sort(
    (a, b) => Math.abs(a - middle) - Math.abs(b - middle),
  )
  for (const cut of cuts) {
    const [left, right] = [word.slice(0, cut), word.slice(cut)]
    // Not through sh, th, ch or ph: gun-shot.
    if (!isPart(left) || !isPart(right) || (/[cpst]$/.test(left) && right.startsWith('h'))) continue
    const first = lookup(left)
    const second = first === undefined ? undefined : (lookup(right) ?? inflected(right, lookup, 0))
    if (first !== undefined && second !== undefined) return `${first} ${second.replace(/1/g, '2')}`
  }
  return undefined
}
