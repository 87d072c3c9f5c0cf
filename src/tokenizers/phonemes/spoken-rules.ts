/** What has digits, signs or shortenings, and how it is said: rows that run one after the other over a whole text. */

import { cardinal, clock, decade, decimal, digitByDigit, fraction, groups, ordinal, pair, year } from './numbers.js'
import {
  ABBREVIATIONS,
  ADDRESS_SIGNS,
  BEFORE_NUMBER,
  CURRENCIES,
  DAYS,
  DOTTED,
  ENDING,
  LETTERS,
  MONTHS,
  monthOf,
  SCALE_LETTERS,
  SHORT_WORDS,
  SIGNS,
  TITLES,
  UNITS,
} from './words.js'

/** Put before letters that are spelt whatever else they could mean; private use, and dropped from the text that comes in. */
export const SPELT = '\ue000'

/** A sentence ends, or may end, before this. */
const ends = (after: string): boolean =>
  /^["”')\]]*(?:\s+(?!(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b)["“']*\p{Lu}|\s*$)/u.test(after)

/** The text behind a match, from the last two arguments of a replacer: where it stands, and the whole text. */
const behind = (match: string, rest: readonly (string | undefined)[]): string =>
  rest.at(-1)!.slice(Number(rest.at(-2)) + match.length)

type Rule = readonly [pattern: RegExp, replace: string | ((match: string, ...groups: string[]) => string)]

/** Any of these texts, longest first. */
const anyOf = (texts: Iterable<string>): string =>
  [...texts]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'))
    .join('|')

const NUMBER = '\\d{1,3}(?:,\\d{3})+(?:\\.\\d+)?|\\d+(?:\\.\\d+)?|\\.\\d+'
const SCALE_WORD = '(?: ?(hundred|thousand|million|billion|trillion)\\b| ?(k|K|bn|mn|tn|[mMbBtT])\\b)'
/** Capital: `may 5` is none. */
const MONTH = `(?:${MONTHS.map((month) => `${month.toUpperCase()}|${month[0]!.toUpperCase()}${month.slice(1, 3)}(?:${month.slice(3)}|t?\\.|\\b)`).join('|')})`
const DAY = anyOf(Object.keys(DAYS).map((day) => day[0]!.toUpperCase() + day.slice(1)))
const SIGN = anyOf(Object.keys(CURRENCIES))
const DASH = '[-‐‑–—−]'

const isOne = (number: string): boolean => number === '1'

/** Signs that have several forms, in one. */
const CHARACTERS: readonly Rule[] = [
  [/[\u2018\u2019\u201b\u02bc\u0060\u00b4]/g, "'"],
  [/[„‟«»″]/g, '"'],
  [/\.{3,}/g, '…'],
  [/[\u00a0\u2000-\u200a\u202f]/g, ' '],
  [/[\u200b-\u200f\u2060\ufeff\u00ad]/g, ''],
  [
    /(\d?)([½⅓⅔¼¾⅕⅖⅗⅘⅛⅜⅝⅞])/g,
    (_, digit, sign) => `${digit}${digit ? ' ' : ''}${sign.normalize('NFKC').replace('\u2044', '/')}`,
  ],
  [/[℃]/g, '°C'],
  [/[℉]/g, '°F'],
  [/º/g, '°'],
  [/(?![©®™])\p{Extended_Pictographic}|[\ufe0f\u{1f1e6}-\u{1f1ff}\u{1f3fb}-\u{1f3ff}]/gu, ' '],
]

/** e-mail and web addresses: every sign has its name. */
function address(text: string): string {
  return (text.replace(/^https?:\/\//i, '').match(/[A-Za-z]+|\d+|[^A-Za-z\d]/g) ?? [])
    .map((part) => {
      if (/^\d/.test(part)) return part.length > 4 ? digitByDigit(part) : cardinal(part)
      if (/^[A-Za-z]/.test(part))
        return /[aeiouy]/i.test(part) && part.length > 1 ? part.toLowerCase() : SPELT + part.toUpperCase()
      return ADDRESS_SIGNS[part] ?? ''
    })
    .join(' ')
}

const dayOfMonth = (day: string): string => ordinal(day)

function money(sign: string, number: string, scale: string | undefined, letter: string | undefined): string {
  const [one, many, cent, cents] = CURRENCIES[sign]!
  const size = scale ?? (letter ? SCALE_LETTERS[letter] : undefined)
  if (size) return `${decimal(number)} ${size} ${many}`
  const [whole = '', part] = number.replaceAll(',', '').split('.')
  if (part === undefined || Number(part) === 0) return `${cardinal(whole || '0')} ${isOne(whole) ? one : many}`
  if (part.length !== 2) return `${decimal(number)} ${many}`
  const small = `${cardinal(part)} ${part === '01' ? cent : cents}`
  return Number(whole) === 0 ? small : `${cardinal(whole)} ${isOne(whole) ? one : many} and ${small}`
}

const isYear = (digits: string): boolean => /^(?:1[1-9]|20)\d\d$/.test(digits)
const yearOrNumber = (digits: string): string => (isYear(digits) ? year(digits) : decimal(digits))

/** Lengths as DNS and SMTP bound them (RFC 1035, RFC 5321), which also bounds the search. */
const ADDRESSES: readonly Rule[] = [
  [/\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}/g, (text) => ` ${address(text)} `],
  [
    /\b(?:https?:\/\/[\w.-]{1,253}|(?:www\.)?[A-Za-z\d][\w-]{0,62}(?:\.[\w-]{1,63}){0,4}\.(?:com|org|net|edu|gov|io|ai|dev|app|info|co\.uk|eu|de)\b)(?::\d+)?(?:\/[\w./?=&%#~+-]*[\w/])?/g,
    (text) => ` ${address(text)} `,
  ],
]

const DATES: readonly Rule[] = [
  [
    /\b(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::00|(:\d\d))?(?:\.\d+)?Z?\b/g,
    (_, date, time, seconds) => `${date}, ${time}${seconds ?? ''}`,
  ],
  [
    /\b(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\b/g,
    (_, y, m, d) => `${MONTHS[Number(m) - 1]} ${dayOfMonth(d)}, ${year(y)}`,
  ],
  [
    /\b(\d{1,2})([/.])(\d{1,2})\2((?:1[89]|20)\d\d)\b/g,
    (match, a, sign, b, y) => {
      // American order with slashes, European with stops; what cannot be a month is the day.
      const isDayFirst = Number(a) > 12 || (sign === '.' && Number(b) <= 12)
      const [month, day] = isDayFirst ? [b, a] : [a, b]
      if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > 31) return match
      return `${MONTHS[Number(month) - 1]} ${dayOfMonth(day)}, ${year(y)}`
    },
  ],
  [
    new RegExp(`\\b(${MONTH}) (\\d{1,2})(?:st|nd|rd|th)?\\b(?![:.,]?\\d)(?:,? (\\d{4})\\b)?`, 'g'),
    (_, month, day, y) => `${monthOf(month)} ${dayOfMonth(day)}${y ? `, ${year(y)}` : ''}`,
  ],
  [
    new RegExp(`\\b(?:the )?(\\d{1,2})(?:st|nd|rd|th)? (?:of )?(${MONTH})(?:,? (\\d{4})\\b)?`, 'g'),
    (match, day, month, y) =>
      Number(day) < 1 || Number(day) > 31
        ? match
        : `the ${dayOfMonth(day)} of ${monthOf(month)}${y ? ` ${year(y)}` : ''}`,
  ],
  [new RegExp(`\\b(${MONTH}) (\\d{4})\\b`, 'g'), (_, month, y) => `${monthOf(month)} ${year(y)}`],
  [/\b(mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\.(?=,? )/gi, (_, day) => DAYS[day.toLowerCase()]!],
  [/\b(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)(?=,? the \w+ of )/g, (_, day) => DAYS[day.toLowerCase()]!],
  [new RegExp(`\\b(${DAY}),? (?=${MONTHS.join('|')})`, 'g'), (_, day) => `${DAYS[day.toLowerCase()]}, `],
]

const HALF_DAY = '( ?[ap]\\.?m\\b\\.?)'
const halfDay = (text: string, after: string): string =>
  `${SPELT}${/a/i.test(text) ? 'AM' : 'PM'}${text.endsWith('.') && ends(after) ? '.' : ''}`

const TIMES: readonly Rule[] = [
  // From four to five: the hour alone where no minutes are said.
  [/\b(\d{1,2}(?::[0-5]\d)?) ?[-–] ?(?=\d{1,2}:[0-5]\d)/g, (_, from) => `${from.replace(':00', '')} to `],
  [
    new RegExp(`\\b([01]?\\d|2[0-4]):([0-5]\\d)(?::([0-5]\\d))?${HALF_DAY}?(?![:\\d])`, 'gi'),
    (match, h, m, s, half, ...rest) =>
      `${clock(h!, m!, s, Boolean(half))}${half ? ` ${halfDay(half, behind(match, rest))}` : ''}`,
  ],
  [
    new RegExp(`\\b(1[0-2]|[1-9])${HALF_DAY}`, 'gi'),
    (match, h, half, ...rest) => `${cardinal(h!)} ${halfDay(half!, behind(match, rest))}`,
  ],
]

const MONEY: readonly Rule[] = [
  // The comma of the continent.
  [new RegExp(`((?:${SIGN}) ?\\d+),(?=\\d\\d(?![\\d,]))`, 'g'), '$1.'],
  [/¢ ?(\d+)/g, '$1¢'],
  [
    new RegExp(`(${DASH})?(?:US|CA|AU)?(${SIGN}) ?(${NUMBER})${SCALE_WORD}?(?![\\w])`, 'g'),
    (_, sign, unit, number, scale, letter) => ` ${sign ? 'minus ' : ''}${money(unit, number, scale, letter)}`,
  ],
  [
    new RegExp(`(?<![\\w.])(${NUMBER})${SCALE_WORD}? ?(${SIGN})(?!\\d)`, 'g'),
    (_, number, scale, letter, unit) => money(unit, number, scale, letter),
  ],
  [/(?<![\w.])(\d+) ?¢/g, (_, number) => `${cardinal(number)} ${isOne(number) ? 'cent' : 'cents'}`],
]

const PHONES: readonly Rule[] = [
  [
    /(?<![\w.])\+(\d{1,3})[ -](\(?\d{2,5}\)?(?:[ -]\d{2,5}){1,4})(?![\w])/g,
    (_, land, rest) => `plus ${groups([land, ...(rest.match(/\d+/g) ?? [])])}`,
  ],
  [
    /(?<![\w.])(1-)?\(?(\d{3})\)?[ -.](\d{3})[-.](\d{4})(?!\w)/g,
    (_, one, a, b, c) => groups([...(one ? ['1'] : []), a, b, c]),
  ],
  [/(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]\d)/g, (text) => text.split('.').map(cardinal).join(' dot ')],
  [/(?<![\w.-])(\d{3})-(\d{4})(?![\w-])/g, (_, a, b) => groups([a, b])],
  [/(?<![\w.])(?:\d{4}[ -]){3}\d{4}(?!\w)/g, (text) => groups(text.match(/\d+/g) ?? [])],
  // No thousands marked: a code or an account, read in threes.
  [/(?<![\w.,])\d{9,}(?![\w]|[.,]\d)/g, (text) => groups(text.match(/\d{1,3}/g) ?? [])],
]

const unitOf = (number: string, unit: string): string => UNITS[unit]![isOne(number) ? 0 : 1]

const NUMBERS: readonly Rule[] = [
  [
    new RegExp(`\\b(${anyOf(Object.keys(BEFORE_NUMBER))})\\. ?(?=\\d)`, 'gi'),
    (_, word) => `${BEFORE_NUMBER[word.toLowerCase()]} `,
  ],
  // The letter, not thousands.
  [/\b([48])K\b/g, `$1 ${SPELT}K`],
  [/#(?=\d)|№ ?/g, 'number '],
  [/\b([CF])#/g, `${SPELT}$1 sharp`],
  [/(?<![\w.,])\d{1,3}(?: \d{3}){2,}(?! ?\d)/g, (text) => text.replaceAll(' ', '')],
  [/(\d+)' ?(\d{1,2})"/g, (_, feet, inches) => `${feet} ft ${cardinal(inches)} ${isOne(inches) ? 'inch' : 'inches'}`],
  [/([\w)])\^2\b/g, '$1²'],
  [/(?<=[\w)])\^(?=[\w-])/g, ' to the power of '],
  [/\b(\d+):(?=\d)/g, '$1 to '],
  [/\b50\/50\b/g, 'fifty fifty'],
  [/(?<![\w)] ?)\+(?=\.?\d)/g, 'plus '],
  [/~(?=\d)/g, 'about '],
  [/\b24\/7\b/g, 'twenty four seven'],
  [/\b(\d{4})s\b/g, (_, digits) => decade(digits)],
  [/(?:'|\b)([2-9]0)'?s\b/g, (_, digits) => decade(digits)],
  [/\b(\d{1,3}(?:,\d{3})+|\d+)(?:st|nd|rd|th)\b/gi, (_, digits) => ordinal(digits.replaceAll(',', ''))],
  [
    /\b(\d+) (\d{1,2})\/(\d{1,3})(?![\d/])/g,
    (_, whole, a, b) =>
      `${cardinal(whole)} and ${isOne(a) ? `${b === '8' ? 'an' : 'a'} ${fraction(a, b).replace(/^one /, '')}` : fraction(a, b)}`,
  ],
  [/(?<![\w/.])(\d+)\/(\d+)(?![\w/])/g, (_, a, b) => fraction(a, b)],
  [
    /(?<![\w.,])(\d{4})[-–](\d{2,4})(?![\w-]|[.,]\d)/g,
    (match, a, b) => (isYear(a) ? `${year(a)} to ${isYear(b) ? year(b) : pair(b)}` : match),
  ],
  [new RegExp(`(?<=\\d[%°]?) ?[-–] ?(?=[$€£]?(?:${NUMBER})(?![\\w]*-))`, 'g'), ' to '],
  [/(?<=\d) ?[x×] ?(?=\d)/g, ' times '],
  [/(?<=\d) ?\* ?(?=\d)|(?<=\d)x\b/g, ' times '],
  [/(?<![\w)])[-−](?=\.?\d)/g, 'minus '],
  [new RegExp(`(?<![\\w.])(${NUMBER}) ?%`, 'g'), (_, number) => `${decimal(number)} percent`],
  [
    new RegExp(`(?<![\\w.])(${NUMBER})( ?| to )(${anyOf(Object.keys(UNITS))})(?![\\w'/°])`, 'g'),
    (match, number, gap, unit) => {
      // `5 A` and `7 B` are more often rooms and answers than currents and bytes.
      if (gap === ' to ' || (gap === ' ' && /^[ABNJWV]$/.test(unit))) return match
      return `${decimal(number)} ${unitOf(number, unit)}`
    },
  ],
  [
    new RegExp(`(?<![\\w.])(${NUMBER})(k|K|bn|M|B)\\b`, 'g'),
    (_, number, letter) => `${decimal(number)} ${SCALE_LETTERS[letter]}`,
  ],
  // Type A4: the letter, not the article.
  [/\b([A-Z])(?=\d)/g, `${SPELT}$1 `],
  [/(?<![\w.])\d+(?:\.\d+){2,}/g, (text) => text.split('.').map(cardinal).join(' point ')],
  [/(?<![\d.,])0\d+(?![\d]|[.,]\d)/g, (text) => digitByDigit(text)],
  [/\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d*\.\d+/g, (text) => ` ${decimal(text)} `],
  [/(?<!\d)\d{4}(?!\d)/g, (text) => ` ${yearOrNumber(text)} `],
  [/\d+/g, (text) => ` ${cardinal(text)} `],
]

/** The stop behind a shortening stays where a sentence ends; `vs.` and `e.g.` end none. */
const shortened =
  (table: Readonly<Record<string, string>>) =>
  (match: string, word: string, ...rest: string[]): string => {
    const small = word.toLowerCase()
    return `${table[small]}${ENDING.has(small) && ends(behind(match, rest)) ? '.' : ''}`
  }

const ABBREVIATED: readonly Rule[] = [
  [
    /\b(Dr|St)\.?(?= \p{Lu})/gu,
    (match, word) => (word === 'Dr' ? 'doctor' : match.endsWith('.') || word === 'St' ? 'saint' : match),
  ],
  [/(?<=[\p{L}\d] )(Dr|St)\.?(?!\w)/gu, (_, word) => (word === 'Dr' ? 'drive' : 'street')],
  [/\bDr\./g, 'doctor'],
  [/\bSt\./g, 'saint'],
  [new RegExp(`\\b(${anyOf(Object.keys(TITLES))})\\.(?= ?[\\p{L}])`, 'giu'), (_, word) => TITLES[word.toLowerCase()]!],
  [/\b([A-Z]{1,3})&([A-Z]{1,3})\b/g, `${SPELT}$1 and ${SPELT}$2`],
  [/\b([A-Z]{1,3})\/([A-Z]{1,3})\b/g, `${SPELT}$1 ${SPELT}$2`],
  [/(?<!\w)w\/(o\b)?(?=[ \p{L}])/giu, (_, out) => (out ? 'without' : 'with ')],
  [/\b(Mr|Mrs|Ms)\b/g, (_, word) => TITLES[word.toLowerCase()]!],
  [new RegExp(`\\b(${anyOf(Object.keys(DOTTED))})\\.(?!\\w)`, 'gi'), shortened(DOTTED)],
  [new RegExp(`\\b(${anyOf(Object.keys(ABBREVIATIONS))})\\.(?!\\w)`, 'gi'), shortened(ABBREVIATIONS)],
  [
    /\b((?:\p{L}\.){2,})(?!\w)/gu,
    (match, _, ...rest) =>
      `${SPELT}${match.replaceAll('.', '').toUpperCase()}${/^["”')]*\s*$/.test(behind(match, rest)) ? '.' : ''}`,
  ],
  // An initial, J. Smith; not the end of a sentence: Plan B. Then…
  [
    /(?<![°\d]|\b(?:vitamin|plan|option|group|grade|class|type|part|section|team|hepatitis) )\b(\p{Lu})\.(?= \p{Lu})/giu,
    '$1',
  ],
  [new RegExp(`(?<![\\w.])(${anyOf(Object.keys(SHORT_WORDS))})(?![\\w])`, 'g'), (_, word) => SHORT_WORDS[word]!],
]

const PUNCTUATION: readonly Rule[] = [
  // Markdown, and marks of quotation that a voice does not hear.
  [/(^|\n)[ \t]*(?:#{1,6}|[-*•+>])[ \t]+/g, '$1'],
  [/[*_|\\^`]+/g, ' '],
  // YouTube, JavaScript; not McDonald.
  [/(?<=[a-z])(?<!\b(?:Mc|Mac|De|La|Le|Di|Du))(?=[A-Z][a-z])/g, ' '],
  [/#(?=\p{L})/gu, 'hashtag '],
  [
    /\b(and|he|she|him|her|his|hers|yes|no|either|input|read)\/(or|she|he|her|him|hers|his|no|output|write)\b/gi,
    '$1 $2',
  ],
  [/(?<=\p{L})\/(?=\p{L})/gu, ' slash '],
  [/\s(?:-{1,3}|[–−])\s|-{2,}|\s*[–―]\s*/g, ' — '],
  [/[[{]/g, '('],
  [/[\]}]/g, ')'],
  [/[¡¿]/g, ''],
  [/[。．]/g, '. '],
  [/[，、]/g, ', '],
  [/！/g, '! '],
  [/？/g, '? '],
]

/** In the order in which they run. */
export const RULES: readonly Rule[] = [
  ...ADDRESSES,
  ...CHARACTERS,
  ...DATES,
  ...TIMES,
  ...MONEY,
  ...PHONES,
  ...ABBREVIATED,
  ...NUMBERS,
  ...PUNCTUATION,
  [/\p{Mn}/gu, ''],
  [new RegExp(`[${Object.keys(LETTERS).join('')}]`, 'g'), (letter) => LETTERS[letter]!],
  [new RegExp(`[${anyOf(Object.keys(SIGNS)).replaceAll('|', '')}]`, 'g'), (sign) => ` ${SIGNS[sign]} `],
]
