/**
 * Letters → phonemes of English, as rows: what stands before, the letters, what stands behind, their phonemes without stress. The first
 * row of a letter whose contexts fit is taken, and its letters are used up; the last row of every letter fits always.
 *
 * @reference the form of the rules: Elovitz, Johnson, McHugh, Shore, "Letter-to-sound rules for automatic translation of English
 *   text to phonetics", IEEE Trans. ASSP 24(6), 1976; the rows are written anew for ARPAbet and names
 */

/** Contexts are regular expressions; V a vowel letter, C a consonant letter, ^ and $ the ends of the word. */
export type LetterRule = readonly [before: string, letters: string, behind: string, phones: string]

const rules = (table: string): readonly LetterRule[] =>
  table
    .trim()
    .split('\n')
    .map((row) => {
      const [before = '', letters = '', behind = '', phones = ''] = row.split('/').map((cell) => cell.trim())
      return [before, letters, behind, phones] as const
    })

/** Silent letters have no phonemes. `E` behind a consonant and before `$` lengthens the vowel: `C(?:e|es|ed)$`. */
export const LETTER_RULES: readonly LetterRule[] = rules(`
^/aa//AA
/augh/t/AO
/aigh//EY
/air/(?!o)/EH R
/ai//EY
/au//AO
/aw/V/AO W
/aw//AO
/ayor/$/EY ER
/ay//EY
/ae//IY
^/are/$/AA R
/are/(?:s|d)?$/EH R
/ar/r/AE R
^w/ar//AO R
^qu/ar//AO R
C/ary/$/EH R IY
V[a-z]*C/ard/$/ER D
/ar/V/EH R
/ar//AA R
/age/s?$/IH JH
/ation//EY SH AH N
/able/s?$/AH B AH L
/ally/$/AH L IY
/alk//AO K
/all/(?!V)/AO L
/al/[dt](?![oa]$)/AO L
/alm//AA M
C/ale/$/EY L
V[a-z]*/al/$/AH L
V[a-z]*/al/s$/AH L
/ange//EY N JH
/ang/$/AE NG
V[a-z]*/an/$/AH N
V[a-z]*/as/$/AH S
[aeiou]C*/ate/$/EY T
C/ative/$/AH T IH V
^w/a/[st]/AA
^swa?/a/[nptl]/AA
/a/ste$/EY
/a/Ce$/EY
/a/Ce[sd]$/EY
/a/C(?:ing|ers?)$/EY
/a/[tsc]i[oaue]/EY
/a/h?$/AH
/a/C[aoi]$/AA
^/a/(?:bout|bove|cross|gain|go|head|live|lone|long|round|way|part)/AH
/a//AE
/bb//B
m/b/s?$/
m/bs/$/Z
/b/t$/
/b//B
/cci/V/CH
/cc/[eiy]/K S
/cc//K
s/c/[eiy]/
/chr//K R
/chl//K L
/ch/(?:em|or|ar[ai]|asm|aos)/K
[ao]/ch/$/K
ba/ch/[a-z]/K
/sch/$/SH
/cz//CH
t/ch//
/ch//CH
/ck//K
/ci/[aeo]/SH
/cy/$/S IY
/c/[eiy]/S
/cqu//K W
/cq//K
/c//K
/ddh//D
/dd//D
/dge//JH
/dg/[ieay]/JH
/dj//JH
/dt//T
/du/(?:al|cat|ate)/JH UW
/d//D
/eau//OW
/earn//ER N
/ear/[cdlt]/ER
/ear//IH R
/eaux//OW
/ead/$/EH D
/ea/(?:lth|th|sur|ven|pon|n[st])/EH
/ea//IY
/eer//IH R
/ee//IY
/eigh//EY
/ein/$/AY N
/ei/[glnsd]/AY
/ei//IY
/eo//IY OW
^/eu//Y UW
/eu/r/Y UH
/eu//OY
/ew//UW
/ey/$/IY
/ey//EY
/ere/$/IH R
/err//EH R
/er/y$/ER
/er//ER
[td]/ed/$/AH D
(?:[pkfxsc]|sh|ch)/ed/$/T
C/ed/$/D
/ez/$/EH Z
V[a-z]*/el/$/AH L
V[a-z]*/els/$/AH L Z
V[a-z]*/en/$/AH N
V[a-z]*/ens/$/AH N Z
V[a-z]*/ess/$/AH S
V[a-z]*/ent/$/AH N T
V[a-z]*/ence/$/AH N S
^C+/e/$/IY
l/e/$/
(?:x|ch|sh|[cgsz])/es/$/IH Z
[ptkf]/es/$/S
C/es/$/Z
C/e/ly$/
C/e/ment/
C/e/$/
[uv]/e/$/
V/e/$/
/e/Ce$/IY
^C*/e/[tmnv][aou]/EH
/e//EH
/ffe/$/F
/ff//F
/f//F
/gg/e/G
/gg//G
/ght//T
^/gh//G
/gh//
^/gn//N
/gn/(?:s|e|ed)?$/N
/gu/[eiay]/G
/gue/$/G
/ge/(?:s|d)$/JH
/ge/[ao]/JH
^/g/e[trs]/G
^/gi/[rvl]/G IH
/g/[ey]/JH
/gi/[ao]/JH
/g/i/JH
/g//G
V/h/C/
V/h/$/
^/h//HH
/h/V/HH
/h//
/ier/$/IY ER
/ieu//Y UW
/iew//Y UW
/ie/$/IY
f/ies/$/AY Z
/ies/$/IY Z
f/ied/$/AY D
/ied/$/IY D
/ied//IY D
/ie//IY
/igh//AY
/ign/$/AY N
/ild/$/AY L D
/ind/$/AY N D
/ing/$/IH NG
/ique/$/IY K
/ine/$/AY N
/ive/$/IH V
/ism/$/IH Z AH M
/ization//AH Z EY SH AH N
/ir/V/IH R
/ir//ER
V[a-z]*/ice/$/AH S
/ious/$/IY AH S
/io/$/IY OW
/ia/$/IY AH
/ian/$/IY AH N
^C?/i/[ao]/AY
C/i/[aou]/IY
/i/$/IY
/i/C[ao]$/IY
/i/C(?:e|es|ed|er|ers|ing)$/AY
/i//IH
/j//JH
^/kn//N
/kk//K
/kh//K
/k//K
V/le/$/L
C/le/$/AH L
C/les/$/AH L Z
/ll//L
/l//L
^/mc/[ck]/M AH
^/mc//M AH K
^/mac/[ck]/M AH
^/mn//N
m/n/$/
/mm//M
/mb/$/M
/m//M
/ng/[lraou]/NG G
/nger/s?$/NG ER
/ng/$/NG
/ngs/$/NG Z
/ng/[eiy]/N JH
/ng//NG
/nk//NG K
/nx//NG K S
/nn//N
/n//N
/oar//AO R
/oa//OW
/oeu//ER
/oe/$/OW
/oes/$/OW Z
/oe//OW
/ough/t/AO
/ough/$/OW
/oi//OY
/oor//AO R
/ook//UH K
/oo//UW
/our/$/AO R
/ould/$/UH D
/ous/$/AH S
/oul//OW L
/oup//UW P
/ou/[td]/AW
/ou/n[dt]/AW
/ou/s(?:e|$)/AW
/ou//UW
/owl//AW L
/own/$/AW N
/ow/[sn]$/OW
/ow/$/OW
/ow//AW
/oy//OY
^w/or/[dkmlst]/ER
C{1,2}V[a-z]*C/or/s?$/ER
/or//AO R
/oll/$/OW L
/old//OW L D
/ost/$/OW S T
/ong/$/AO NG
/off//AO F
V[a-z]*[^aeiou]/on/$/AH N
V[a-z]*/ons/$/AH N Z
/on/$/AA N
V[a-z]*/om/$/AH M
/o/$/OW
/os/$/OW S
/o/Ce$/OW
/o/C(?:es|ed|er|ers|ing)$/OW
/o/C[aiou]/OW
/o/[ck]{2}/AA
^C*/oth/er/AH DH
/o//AA
/ppe/$/P
/pph// F
/ph//F
/pp//P
^/ps//S
^/pn//N
/pf//F
/p//P
/que/$/K
/qu//K W
/q//K
/rrh//R
/rh//R
/rre/$/R
/rr//R
/r//R
^/sch/[mnlwrt]/SH
/sch/V/SH
/sh//SH
/ssion//SH AH N
V/sion//ZH AH N
/sion//SH AH N
/ssi/[ao]/SH
/ss//S
V/sure/$/ZH ER
V/s/(?:e|es|ed|ing)$/Z
V/sm/$/Z AH M
[bdgvmnlrwy]/s/$/Z
e/s/$/Z
^/st//S T
s/t/(?:le|en)/
/sz//SH
/s//S
/tch//CH
/tth//TH
^/th/(?:e|is|at|us|ere|ough)/DH
V/th/e/DH
V/th/er/DH
/th/m/
/th//TH
/tion//SH AH N
/ti/(?:al|ou|en)/SH
/ture//CH ER
/tu/al/CH UW
/tz//T S
/tt//T
/t//T
^/un//AH N
/ui//UW
/uy//AY
/ue/$/UW
/ue/s$/UW
^/u/C[aeiou]/Y UW
[bcfghkmpv]/u/C[aeiou]/Y UW
/u/C[aeiou]/UW
/ur/r/ER
/ure/$/Y UH R
/ur//ER
[gq]/u/V/W
/um/$/AH M
/us/$/AH S
/u/$/UW
/u/ll/UH
/u/sh/UH
/u//AH
/vv//V
/v//V
^/wr//R
/wh/o/HH
/wh//W
/w/$/
/w/[sk]i/F
/w//W
^/x//Z
/xc/[eiy]/K S
/x//K S
^/y/V/Y
^C/y/$/AY
if/y/$/AY
C/y/$/IY
C/y/C(?:e|er|es|ed)$/AY
^C*/y/C/IH
V/y/V/Y
/y/C/IH
/y//IY
/zz//Z
tt?/z//S
/zh//ZH
/z//Z
`)
