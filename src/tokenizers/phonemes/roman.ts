/** Roman numbers behind a name: Henry VIII, World War II, Rocky IV. */

import { cardinal, ordinal } from './numbers.js'
import { NUMBERED, REGNAL } from './words.js'

const VALUES: Readonly<Record<string, number>> = { I: 1, V: 5, X: 10, L: 50 }
/** Below 90; strict, so that `MIX` and `XL` (the size) fall through where they are none. */
const ROMAN = /^(?=[IVXL])(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3})$/

function numberOf(roman: string): number {
  const values = [...roman].map((letter) => VALUES[letter]!)
  return values.reduce((sum, value, at) => sum + (value < (values[at + 1] ?? 0) ? -value : value), 0)
}

/** `text` with the Roman numbers behind names as words; what may be a word (I, XL) only where the name leaves no doubt. */
export function romanNumbers(text: string): string {
  return text.replace(/(\p{L}+) ([IVXL]+)(?!\w|'(?!s\b))/gu, (match, name: string, roman: string, index: number) => {
    if (!ROMAN.test(roman)) return match
    const small = name.toLowerCase()
    const digits = String(numberOf(roman))
    if (NUMBERED.has(small)) return `${name} ${cardinal(digits)}`
    const after = text.slice(index + match.length)
    if (REGNAL.has(small) && /^\p{Lu}/u.test(name))
      // `Charles I think`: the pronoun, unless the clause ends or goes on as behind a name.
      return roman !== 'I' || /^(?:$|[,.;:!?)]|'s| (?:of|was|is|had|and|died|reigned|ruled)\b)/.test(after)
        ? `${name} the ${ordinal(digits)}`
        : match
    const isNumber = roman.length > 1 && roman !== 'XL' && /^\p{Lu}\p{Ll}/u.test(name)
    return isNumber ? `${name} ${cardinal(digits)}` : match
  })
}
