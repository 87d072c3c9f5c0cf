/** What people may call each picture: names of the classes, and sentences around them. */

export interface PictureFamily {
  readonly name: 'digits' | 'clothes'
  /** `{}` stands for a name. */
  readonly templates: readonly string[]
  /** Never trained on: what the generator is measured with. */
  readonly unseen: readonly string[]
  /** Names of each class, the first one its label. */
  readonly classes: readonly (readonly string[])[]
}

export const PICTURE_FAMILIES: readonly PictureFamily[] = [
  {
    name: 'digits',
    templates: [
      '{}',
      'the digit {}',
      'the number {}',
      'a handwritten {}',
      'a handwritten digit {}',
      'a picture of the digit {}',
      'a photo of the number {}',
      'the number {} written by hand',
      'someone wrote the number {}',
      'a white {} on a black background',
      'write the digit {}',
      'the figure {} in pencil',
    ],
    unseen: [
      'please draw the number {}',
      'an image of a handwritten number {}',
      'the numeral {} written with a pen',
      'a scan of the digit {}',
    ],
    classes: [
      ['zero', '0'],
      ['one', '1'],
      ['two', '2'],
      ['three', '3'],
      ['four', '4'],
      ['five', '5'],
      ['six', '6'],
      ['seven', '7'],
      ['eight', '8'],
      ['nine', '9'],
    ],
  },
  {
    name: 'clothes',
    templates: [
      '{}',
      'a picture of {}',
      'a photo of {}',
      'a grey picture of {}',
      'a small photo of {}',
      '{} in an online shop',
      '{} on a black background',
      'clothing: {}',
      'show me {}',
      'someone sells {}',
      'a photograph of {}, worn on the body',
      'this is {}',
    ],
    unseen: [
      'please draw {}',
      'an image of {} from a fashion catalogue',
      'I would like to buy {}',
      'a product shot of {}',
    ],
    classes: [
      ['a T-shirt', 'a tee', 'a short-sleeved top'],
      ['trousers', 'pants', 'a pair of trousers'],
      ['a pullover', 'a sweater', 'a jumper'],
      ['a dress', 'a gown', "a woman's dress"],
      ['a coat', 'an overcoat', 'a winter coat'],
      ['a sandal', 'sandals', 'an open summer shoe'],
      ['a shirt', 'a button-up shirt', 'a long-sleeved shirt'],
      ['a sneaker', 'sneakers', 'a running shoe'],
      ['a bag', 'a handbag', 'a purse'],
      ['an ankle boot', 'a boot', 'ankle boots'],
    ],
  },
]

/** Every sentence of a class. */
export const promptsOf = (templates: readonly string[], names: readonly string[]): string[] =>
  templates.flatMap((template) => names.map((name) => template.replace('{}', name)))
