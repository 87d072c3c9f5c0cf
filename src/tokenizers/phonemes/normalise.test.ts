import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { normalise } from './normalise.js'
import { cardinal, decade, decimal, fraction, ordinal, year } from './numbers.js'

const CASES: readonly (readonly [written: string, spoken: string])[] = [
  // numbers
  ['5', 'five'],
  ['-7 or −7', 'minus seven or minus seven'],
  ['115', 'one hundred fifteen'],
  ['1,000,000', 'one million'],
  ['12345678', 'twelve million three hundred forty five thousand six hundred seventy eight'],
  ['3.14', 'three point one four'],
  ['.5 and 0.05', 'zero point five and zero point zero five'],
  ['1,234.5', 'one thousand two hundred thirty four point five'],
  ['007', 'zero zero seven'],
  ['version 1.2.3', 'version one point two point three'],
  ['the 1st, 2nd, 3rd and 112th', 'the first, second, third and one hundred twelfth'],
  ['20th', 'twentieth'],
  ['10%', 'ten percent'],
  ['2.5 %', 'two point five percent'],
  ['1/2', 'one half'],
  ['3/4', 'three quarters'],
  ['5/12', 'five twelfths'],
  ['7/30', 'seven over thirty'],
  ['3 1/2', 'three and a half'],
  ['1½ cups', 'one and a half cups'],
  ['24/7', 'twenty four seven'],
  ['10-20', 'ten to twenty'],
  ['10–20 %', 'ten to twenty percent'],
  ['3x4', 'three times four'],
  ['2x faster', 'two times faster'],
  ['50 + 2 = 52', 'fifty plus two equals fifty two'],
  ['#5 and № 6', 'number five and number six'],
  ['1 000 000 people', 'one million people'],
  ['in 2020 100 came', 'in twenty twenty one hundred came'],
  ['a 1:2 ratio, 50/50', 'a one to two ratio, fifty fifty'],
  ['10^3 and x^2', 'ten to the power of three and X squared'],
  ['+5', 'plus five'],
  ['192.168.0.1', 'one hundred ninety two dot one hundred sixty eight dot zero dot one'],
  ['~30', 'about thirty'],
  // years
  ['In 1984', 'in nineteen eighty four'],
  ['1900', 'nineteen hundred'],
  ['1905', 'nineteen oh five'],
  ['2007', 'two thousand seven'],
  ['2024', 'twenty twenty four'],
  ['1990s', 'nineteen nineties'],
  ["the '80s", 'the eighties'],
  ['1990-1995', 'nineteen ninety to nineteen ninety five'],
  ['1999–04', 'nineteen ninety nine to oh four'],
  // money
  ['$1', 'one dollar'],
  ['$1,234.56', 'one thousand two hundred thirty four dollars and fifty six cents'],
  ['$0.99', 'ninety nine cents'],
  ['$5 million', 'five million dollars'],
  ['US$3bn', 'three billion dollars'],
  ['€2.50', 'two euros and fifty cents'],
  ['£1.01', 'one pound and one penny'],
  ['-$5', 'minus five dollars'],
  ['20 €', 'twenty euros'],
  ['¥500', 'five hundred yen'],
  ['€1,50 and ¢50', 'one euro and fifty cents and fifty cents'],
  // dates
  ['2024-03-15', 'march fifteenth, twenty twenty four'],
  ['3/15/2024', 'march fifteenth, twenty twenty four'],
  ['15.03.2024', 'march fifteenth, twenty twenty four'],
  ['March 3', 'march third'],
  ['Mar. 3, 2021', 'march third, twenty twenty one'],
  ['the 5th of May', 'the fifth of may'],
  ['5 May 1999', 'the fifth of may nineteen ninety nine'],
  ['Dec 2020', 'december twenty twenty'],
  ['Sat., May 5', 'saturday, may fifth'],
  ['I sat the bag down', 'i sat the bag down'],
  // times
  ['12:30 pm', 'twelve thirty PM'],
  ['4:00-5:00pm', 'four to five PM'],
  ['10:30–11:15', 'ten thirty to eleven fifteen'],
  ['24:00', 'twenty four hundred'],
  ['2024-01-02T10:30:00Z', 'january second, twenty twenty four, ten thirty'],
  ['Fri 5 Jan', 'friday the fifth of january'],
  ['7:05', 'seven oh five'],
  ['3:00', "three o'clock"],
  ['15:00', 'fifteen hundred'],
  ['5pm', 'five PM'],
  ['at 5 p.m. He left.', 'at five PM. he left.'],
  ['9 a.m. Monday', 'nine AM monday'],
  ['7:05:30', 'seven oh five and thirty seconds'],
  // phones and codes
  ['555-123-4567', 'five five five, one two three, four five six seven'],
  ['(555) 123-4567', 'five five five, one two three, four five six seven'],
  ['1-800-555-1234', 'one, eight zero zero, five five five, one two three four'],
  ['555-1234', 'five five five, one two three four'],
  ['+1 555 123 4567', 'plus one, five five five, one two three, four five six seven'],
  ['1234567890', 'one two three, four five six, seven eight nine, zero'],
  // units
  ['1 km and 5 km', 'one kilometer and five kilometers'],
  ['60 km/h', 'sixty kilometers per hour'],
  ['37.5°C', 'thirty seven point five degrees celsius'],
  ['16GB', 'sixteen gigabytes'],
  ['5\' 10" tall', 'five feet ten inches tall'],
  ['5 m²', 'five square meters'],
  // shortenings
  ['Dr. Smith and Mr. Jones', 'doctor smith and mister jones'],
  ['on Elm St. near St. Paul', 'on elm street near saint paul'],
  ['12 Park Dr.', 'twelve park drive'],
  ['pears, etc. Then we left.', 'pears, et cetera. then we left.'],
  ['cats, e.g. Tom, i.e. him', 'cats, for example tom, that is him'],
  ['No. 5, Fig. 3 and p. 12', 'number five, figure three and page twelve'],
  ['No. Five more.', 'no. five more.'],
  ['J. R. Smith', 'J R smith'],
  ['Apple Inc. Today', 'apple incorporated. today'],
  // capitals
  ['NASA and the FBI', 'nasa and the FBI'],
  ['the U.S. army of the U.S.A.', 'the US army of the USA.'],
  ["CDs and a PC's fan", "CD's and a PC's fan"],
  ['STOP SHOUTING AT ME', 'stop shouting at me'],
  ['AC/DC, TCP/IP', 'AC DC, TCP IP'],
  ['C# w/o milk, w/ sugar', 'C sharp without milk, with sugar'],
  ['AT&T and R&D', 'AT and T and R and D'],
  ['MP3, H2O, B2B', 'MP three, H two O, B two B'],
  ['YouTube plays eBay by McDonald, PhD', 'you tube plays E bay by mcdonald, PHD'],
  ['Type A4, Plan B. Then', 'type A four, plan B. then'],
  ['A plan: vitamin A.', 'a plan: vitamin A.'],
  // Roman numbers
  ['Henry VIII', 'henry the eighth'],
  ['World War II', 'world war two'],
  ['Chapter IV', 'chapter four'],
  ['Elizabeth I was', 'elizabeth the first was'],
  ['Charles I think', 'charles i think'],
  ["Louis XIV's", "louis the fourteenth's"],
  // addresses
  ['foo.bar@example.com', 'foo dot bar at example dot com'],
  ['https://www.example.org/a-b.', 'WWW dot example dot org slash A dash B.'],
  // signs and marks
  ['Tom & Jerry @ home', 'tom and jerry at home'],
  ['#fun and/or client/server', 'hashtag fun and or client slash server'],
  ['well-known -- or not', 'well known — or not'],
  ['He said "hi" ... (twice)', 'he said “hi”… (twice)'],
  ['Really?! Wow!!', 'really? wow!'],
  ['**bold** `code`', 'bold code'],
  ['’tis the dogs’ ‘best’ o’clock', "'tis the dogs best o'clock"],
  ['café Straße Ærø', 'cafe strasse aero'],
  ['你好 😀', ''],
  ['', ''],
]

describe('normalise', () => {
  test.each(CASES)('%s', (written, spoken) => expect(normalise(written)).toBe(spoken))

  const spoken = /^[A-Za-z' ;:,.!?—…“”()"]*$/

  test('any text gives words, marks and blanks', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 80 }), (text) => {
        expect(normalise(text)).toMatch(spoken)
      }),
      { numRuns: 150, seed: 1 },
    )
  })

  test('any run of what the rules look for gives words, marks and blanks', () => {
    const piece = fc.constantFrom(
      ...'1 23 007 1984 3.5 1,000 / - – : . , $ € % ° km kg A I St. Dr. e.g. May Mon. VIII NASA & @ # + = ( ) " \' am p.m. th s x .com http://'.split(
        ' ',
      ),
      ' ',
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const out = normalise(pieces.join(''))
        expect(out).toMatch(spoken)
        expect(out).toBe(out.trim())
        expect(out).not.toMatch(/ {2}| [;:,.!?]/)
      }),
      { numRuns: 400, seed: 2 },
    )
  })

  test('plain words pass', () => {
    const letters = fc.string({ unit: fc.constantFrom(...'abcdefgh'), minLength: 4, maxLength: 9 })
    fc.assert(
      fc.property(fc.array(letters, { minLength: 1, maxLength: 6 }), (words) => {
        expect(normalise(words.join(' '))).toBe(words.join(' '))
      }),
      { numRuns: 50, seed: 3 },
    )
  })

  test('a dictionary tells capitals that are words from those that are not', () => {
    const isWord = (word: string) => word === 'read'
    expect(normalise('READ the HTML', { isWord })).toBe('read the HTML')
  })
})

describe('numbers', () => {
  test.each([
    [cardinal('0'), 'zero'],
    [cardinal('1000000000000'), 'one trillion'],
    [cardinal('1'.repeat(22)), Array(22).fill('one').join(' ')],
    [ordinal('100'), 'one hundredth'],
    [ordinal('12'), 'twelfth'],
    [year('2000'), 'two thousand'],
    [year('1066'), 'ten sixty six'],
    [decade('2010'), 'twenty tens'],
    [decimal('-1,000.25'), 'minus one thousand point two five'],
    [fraction('1', '100'), 'one hundredth'],
    [fraction('3', '2'), 'three halves'],
  ])('%s', (got, expected) => expect(got).toBe(expected))
})
