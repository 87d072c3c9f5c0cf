/** Tables of what English texts shorten, for `normalise`. */

/** Before a full stop; the stop goes. Titles before a name. */
export const TITLES: Readonly<Record<string, string>> = {
  mr: 'mister',
  mrs: 'missus',
  ms: 'miz',
  messrs: 'messers',
  prof: 'professor',
  gen: 'general',
  col: 'colonel',
  sgt: 'sergeant',
  lt: 'lieutenant',
  capt: 'captain',
  cmdr: 'commander',
  gov: 'governor',
  sen: 'senator',
  rep: 'representative',
  rev: 'reverend',
  hon: 'honorable',
  pres: 'president',
}

/** Before a full stop; the stop goes, unless a sentence ends there. */
export const ABBREVIATIONS: Readonly<Record<string, string>> = {
  approx: 'approximately',
  apt: 'apartment',
  assn: 'association',
  asst: 'assistant',
  ave: 'avenue',
  blvd: 'boulevard',
  bros: 'brothers',
  cf: 'compare',
  co: 'company',
  corp: 'corporation',
  dept: 'department',
  ed: 'edition',
  est: 'established',
  etc: 'et cetera',
  ext: 'extension',
  ft: 'fort',
  hwy: 'highway',
  inc: 'incorporated',
  jr: 'junior',
  ltd: 'limited',
  max: 'maximum',
  min: 'minimum',
  misc: 'miscellaneous',
  mt: 'mount',
  rd: 'road',
  sr: 'senior',
  tel: 'telephone',
  univ: 'university',
  vs: 'versus',
}

/** Before a full stop and a number. */
export const BEFORE_NUMBER: Readonly<Record<string, string>> = {
  no: 'number',
  nos: 'numbers',
  fig: 'figure',
  figs: 'figures',
  eq: 'equation',
  sec: 'section',
  ch: 'chapter',
  vol: 'volume',
  art: 'article',
  p: 'page',
  pp: 'pages',
}

/** With their stops inside; the last stop may lack. */
export const DOTTED: Readonly<Record<string, string>> = {
  'e.g': 'for example',
  'i.e': 'that is',
  'et al': 'et al',
  'a.m': 'AM',
  'p.m': 'PM',
  'ph.d': 'PHD',
  'b.c': 'BC',
  'a.d': 'AD',
}

/** Those of both tables that a sentence may end with. */
export const ENDING = new Set('etc inc co corp ltd jr sr bros ave blvd rd a.m p.m ph.d b.c a.d'.split(' '))

/** Without a full stop. */
export const SHORT_WORDS: Readonly<Record<string, string>> = {
  vs: 'versus',
  etc: 'et cetera',
  aka: 'AKA',
  ok: 'okay',
  tv: 'TV',
  pdf: 'PDF',
  pc: 'PC',
  phd: 'PHD',
  PhD: 'PHD',
  wifi: 'wifi',
  'wi-fi': 'wifi',
  ios: 'I OS',
  macos: 'mac OS',
  css: 'CSS',
  html: 'HTML',
  usb: 'USB',
  asap: 'ASAP',
  btw: 'by the way',
  www: 'WWW',
  http: 'HTTP',
  https: 'HTTPS',
}

export const MONTHS: readonly string[] =
  'january february march april may june july august september october november december'.split(' ')

/** First three letters, also `Sept`. @returns the month's name */
export const monthOf = (text: string): string =>
  MONTHS.find((month) => month.startsWith(text.slice(0, 3).toLowerCase()))!

export const DAYS: Readonly<Record<string, string>> = {
  mon: 'monday',
  tue: 'tuesday',
  tues: 'tuesday',
  wed: 'wednesday',
  thu: 'thursday',
  thur: 'thursday',
  thurs: 'thursday',
  fri: 'friday',
  sat: 'saturday',
  sun: 'sunday',
}

/** Behind a number: one, many. Case counts: Mb and MB, m and M. */
export const UNITS: Readonly<Record<string, readonly [one: string, many: string]>> = {
  mm: ['millimeter', 'millimeters'],
  cm: ['centimeter', 'centimeters'],
  m: ['meter', 'meters'],
  km: ['kilometer', 'kilometers'],
  µm: ['micrometer', 'micrometers'],
  nm: ['nanometer', 'nanometers'],
  ft: ['foot', 'feet'],
  yd: ['yard', 'yards'],
  mi: ['mile', 'miles'],
  'km/h': ['kilometer per hour', 'kilometers per hour'],
  kmh: ['kilometer per hour', 'kilometers per hour'],
  'm/s': ['meter per second', 'meters per second'],
  mph: ['mile per hour', 'miles per hour'],
  rpm: ['revolution per minute', 'revolutions per minute'],
  bpm: ['beat per minute', 'beats per minute'],
  fps: ['frame per second', 'frames per second'],
  'm²': ['square meter', 'square meters'],
  'km²': ['square kilometer', 'square kilometers'],
  'm³': ['cubic meter', 'cubic meters'],
  mg: ['milligram', 'milligrams'],
  g: ['gram', 'grams'],
  kg: ['kilogram', 'kilograms'],
  lb: ['pound', 'pounds'],
  lbs: ['pound', 'pounds'],
  oz: ['ounce', 'ounces'],
  ml: ['milliliter', 'milliliters'],
  mL: ['milliliter', 'milliliters'],
  cl: ['centiliter', 'centiliters'],
  l: ['liter', 'liters'],
  L: ['liter', 'liters'],
  gal: ['gallon', 'gallons'],
  ms: ['millisecond', 'milliseconds'],
  µs: ['microsecond', 'microseconds'],
  ns: ['nanosecond', 'nanoseconds'],
  s: ['second', 'seconds'],
  sec: ['second', 'seconds'],
  min: ['minute', 'minutes'],
  h: ['hour', 'hours'],
  hr: ['hour', 'hours'],
  hrs: ['hour', 'hours'],
  Hz: ['hertz', 'hertz'],
  kHz: ['kilohertz', 'kilohertz'],
  MHz: ['megahertz', 'megahertz'],
  GHz: ['gigahertz', 'gigahertz'],
  B: ['byte', 'bytes'],
  kB: ['kilobyte', 'kilobytes'],
  KB: ['kilobyte', 'kilobytes'],
  MB: ['megabyte', 'megabytes'],
  GB: ['gigabyte', 'gigabytes'],
  TB: ['terabyte', 'terabytes'],
  Mbps: ['megabit per second', 'megabits per second'],
  Gbps: ['gigabit per second', 'gigabits per second'],
  W: ['watt', 'watts'],
  kW: ['kilowatt', 'kilowatts'],
  MW: ['megawatt', 'megawatts'],
  kWh: ['kilowatt hour', 'kilowatt hours'],
  V: ['volt', 'volts'],
  mV: ['millivolt', 'millivolts'],
  A: ['amp', 'amps'],
  mA: ['milliamp', 'milliamps'],
  mAh: ['milliamp hour', 'milliamp hours'],
  Ω: ['ohm', 'ohms'],
  J: ['joule', 'joules'],
  kJ: ['kilojoule', 'kilojoules'],
  kcal: ['kilocalorie', 'kilocalories'],
  N: ['newton', 'newtons'],
  Pa: ['pascal', 'pascals'],
  hPa: ['hectopascal', 'hectopascals'],
  dB: ['decibel', 'decibels'],
  '°C': ['degree celsius', 'degrees celsius'],
  '°F': ['degree fahrenheit', 'degrees fahrenheit'],
  '°': ['degree', 'degrees'],
  px: ['pixel', 'pixels'],
}

export const SCALE_LETTERS: Readonly<Record<string, string>> = {
  k: 'thousand',
  K: 'thousand',
  m: 'million',
  M: 'million',
  mn: 'million',
  b: 'billion',
  B: 'billion',
  bn: 'billion',
  t: 'trillion',
  T: 'trillion',
  tn: 'trillion',
}

/** Sign → unit and its hundredth: one, many. */
export const CURRENCIES: Readonly<Record<string, readonly [one: string, many: string, cent: string, cents: string]>> = {
  $: ['dollar', 'dollars', 'cent', 'cents'],
  '€': ['euro', 'euros', 'cent', 'cents'],
  '£': ['pound', 'pounds', 'penny', 'pence'],
  '¥': ['yen', 'yen', 'sen', 'sen'],
  '₹': ['rupee', 'rupees', 'paisa', 'paise'],
}

/** Signs that have a name wherever they stand; the rest are dropped. */
export const SIGNS: Readonly<Record<string, string>> = {
  '&': 'and',
  '@': 'at',
  '%': 'percent',
  '‰': 'per mille',
  '+': 'plus',
  '=': 'equals',
  '<': 'less than',
  '>': 'greater than',
  '≤': 'less than or equal to',
  '≥': 'greater than or equal to',
  '≠': 'is not equal to',
  '≈': 'about',
  '±': 'plus or minus',
  '−': 'minus',
  '×': 'times',
  '÷': 'divided by',
  '√': 'square root of',
  '∞': 'infinity',
  '→': 'to',
  '©': 'copyright',
  '®': 'registered',
  '™': 'trademark',
  '§': 'section',
  '°': 'degrees',
  '²': 'squared',
  '³': 'cubed',
  $: 'dollars',
  '€': 'euros',
  '£': 'pounds',
  '¥': 'yen',
  '₹': 'rupees',
  α: 'alpha',
  β: 'beta',
  γ: 'gamma',
  δ: 'delta',
  Δ: 'delta',
  ε: 'epsilon',
  λ: 'lambda',
  µ: 'micro',
  μ: 'mu',
  π: 'pi',
  σ: 'sigma',
  Σ: 'sigma',
  τ: 'tau',
  φ: 'phi',
  ω: 'omega',
  Ω: 'omega',
}

/** What signs are called in addresses. */
export const ADDRESS_SIGNS: Readonly<Record<string, string>> = {
  '.': 'dot',
  '@': 'at',
  '/': 'slash',
  '-': 'dash',
  _: 'underscore',
  ':': 'colon',
  '?': 'question mark',
  '=': 'equals',
  '&': 'and',
  '#': 'hash',
  '%': 'percent',
  '+': 'plus',
  '~': 'tilde',
}

/** Letters that no decomposition turns into plain ones. */
export const LETTERS: Readonly<Record<string, string>> = {
  ß: 'ss',
  æ: 'ae',
  Æ: 'Ae',
  œ: 'oe',
  Œ: 'Oe',
  ø: 'o',
  Ø: 'O',
  ł: 'l',
  Ł: 'L',
  đ: 'd',
  Đ: 'D',
  ð: 'th',
  þ: 'th',
  Þ: 'Th',
  ı: 'i',
}

/** Capitals that are said as a word. Others of up to three letters are spelt. */
export const WORD_ACRONYMS = new Set(
  'jpeg nasa nato unesco unicef opec aids covid laser radar sonar scuba pin sim gif ram rom lan wan zip ascii yolo fomo lol nafta fifa uefa ikea lego swat basic cobol fortran json ajax rest soap dos bios gnome intel cuda wifi pytorch'.split(
    ' ',
  ),
)

/** Capitals of two and three letters that are plain words, shouted. */
export const SHOUTED = new Set(
  'an and any are as at be big but buy by can did do dr for get go had has he her hey hi him his how if in is its know let may me mr my new no not now of off oh old on one or our out put ran run sad saw say see she sit so stop the to too two up use was way we who why yes yet you'.split(
    ' ',
  ),
)

/** Apostrophes in front that are not a quotation mark. */
export const CLIPPED = new Set(["'em", "'tis", "'twas", "'cause", "'til", "'bout", "'n", "'round"])

/** Before a Roman number that is said as an ordinal. */
export const REGNAL = new Set(
  'henry louis elizabeth charles george james edward william richard pope john paul pius benedict philip catherine napoleon nicholas alexander frederick leo gregory mary ferdinand gustav ramses ptolemy peter ivan francis innocent harald christian carl'.split(
    ' ',
  ),
)
/** Before a Roman number that is said as a plain one; I, V and X count only here. */
export const NUMBERED = new Set(
  'war chapter part act scene volume section phase type stage book grade class title level season episode article appendix figure table mark bowl'.split(
    ' ',
  ),
)
