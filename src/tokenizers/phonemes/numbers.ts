/** Numbers as English words, lower case, blanks between: what `normalise` puts in the place of digits. All take strings of digits. */

const ONES =
  'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
    ' ',
  )
const TENS = ['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety']
const SCALES = ['', 'thousand', 'million', 'billion', 'trillion', 'quadrillion', 'quintillion']
/** More digits are read one by one. */
const MOST_DIGITS = SCALES.length * 3

const ORDINALS: Readonly<Record<string, string>> = {
  one: 'first',
  two: 'second',
  three: 'third',
  five: 'fifth',
  eight: 'eighth',
  nine: 'ninth',
  twelve: 'twelfth',
}

const plain = (digits: string): string => digits.replace(/^0+(?=\d)/, '')

function belowThousand(value: number): string[] {
  const words: string[] = []
  if (value >= 100) words.push(ONES[Math.floor(value / 100)]!, 'hundred')
  const rest = value % 100
  if (rest >= 20) {
    words.push(TENS[Math.floor(rest / 10)]!)
    if (rest % 10) words.push(ONES[rest % 10]!)
  } else if (rest > 0) words.push(ONES[rest]!)
  return words
}

/** `1234` → one thousand two hundred thirty four. */
export function cardinal(given: string): string {
  const digits = plain(given)
  if (digits === '0') return 'zero'
  if (digits.length > MOST_DIGITS) return digitByDigit(digits)
  const words: string[] = []
  for (let at = 0; at < digits.length; ) {
    const left = digits.length - at
    const size = left % 3 || 3
    const group = Number(digits.slice(at, at + size))
    if (group > 0) words.push(...belowThousand(group), ...(left > 3 ? [SCALES[Math.ceil(left / 3) - 1]!] : []))
    at += size
  }
  return words.join(' ')
}

/** `21` → twenty first. */
export const ordinal = (digits: string): string => cardinal(digits).replace(/\w+$/, ordinalOf)

/** The last word of a number as an ordinal. */
function ordinalOf(word: string): string {
  return ORDINALS[word] ?? (word.endsWith('y') ? `${word.slice(0, -1)}ieth` : `${word}th`)
}

/** `007` → zero zero seven. */
export const digitByDigit = (digits: string): string => [...digits].map((digit) => ONES[Number(digit)]!).join(' ')

/** Two digits after a colon or a century: `05` → oh five. */
export const pair = (two: string): string => (two[0] === '0' ? `oh ${ONES[Number(two[1])]}` : cardinal(two))

/** Four digits: `1984` → nineteen eighty four, `2007` → two thousand seven, `1900` → nineteen hundred. */
export function year(digits: string): string {
  const [century, rest] = [digits.slice(0, 2), digits.slice(2)]
  if (digits.length !== 4 || century[0] === '0') return cardinal(digits)
  if (century[1] === '0' && rest[0] === '0') return cardinal(digits)
  return rest === '00' ? `${cardinal(century)} hundred` : `${cardinal(century)} ${pair(rest)}`
}

/** `1990` → nineteen nineties, `80` → eighties. */
export function decade(digits: string): string {
  const words = digits.length === 4 ? year(digits) : cardinal(digits)
  return words.replace(/\w+$/, (last) => (last.endsWith('y') ? `${last.slice(0, -1)}ies` : `${last}s`))
}

/** Hours and minutes, 24-hour or 12-hour: `3:00` → three o'clock, `7:05` → seven oh five. @param named an am or pm follows */
export function clock(hours: string, minutes: string, seconds: string | undefined, named: boolean): string {
  const h = Number(hours)
  const tail = seconds === undefined ? '' : ` and ${cardinal(seconds)} ${Number(seconds) === 1 ? 'second' : 'seconds'}`
  if (minutes !== '00') return `${cardinal(hours)} ${pair(minutes)}${tail}`
  return `${cardinal(hours)}${named ? '' : h > 12 || h === 0 ? ' hundred' : " o'clock"}${tail}`
}

const DENOMINATORS: Readonly<Record<string, string>> = { '2': 'half', '4': 'quarter' }

/** `3/4` → three quarters, `5/12` → five twelfths, `7/30` → seven over thirty. */
export function fraction(above: string, below: string): string {
  const one = plain(above) === '1'
  const size = Number(below)
  const isNamed = size >= 2 && (size <= 20 || size === 100 || size === 1000) && Number(above) < 100
  if (!isNamed) return `${cardinal(above)} over ${cardinal(below)}`
  const name = DENOMINATORS[plain(below)] ?? ordinal(below).replace(/^one /, '')
  return `${cardinal(above)} ${one ? name : name === 'half' ? 'halves' : `${name}s`}`
}

/** `-1,234.50` → minus one thousand two hundred thirty four point five zero. */
export function decimal(text: string): string {
  const sign = /^[-−]/.test(text) ? 'minus ' : ''
  const [whole = '', part] = text.replace(/[-−,]/g, '').split('.')
  const before = whole === '' ? 'zero' : cardinal(whole)
  return `${sign}${before}${part ? ` point ${digitByDigit(part)}` : ''}`
}

/** Phone and card numbers: a comma, thus a short stop, between groups. */
export const groups = (digits: readonly string[]): string => digits.map(digitByDigit).join(', ')
