/** The commands `m4fm adapter …` as data; see commands.ts. */

import type { CommandGroup, OptionSpec } from './commands.js'

const IMAGE: OptionSpec = { flags: '--image <image>', about: 'the image; default: the active slot, else lite' }
const ADAPTER = 'name of an installed one, or the folder of a package or of PEFT'

/** What both `train` and `few-shot` take. */
const RECIPE: readonly OptionSpec[] = [
  {
    flags: '--task <task>',
    about:
      'pictures with objects: detect, keypoints, segment or count (default: named points, else single points, else boxes, else shapes)',
  },
  {
    flags: '--kind <kind>',
    about: 'texts: lora (default), prompt or prefix; pictures, objects in them, sounds and motion: head',
  },
  {
    flags: '--parts <q,v,…>',
    about: 'lora: parts of the base, with a rank of their own as in q:16, and an alpha as in q:16:32 (default q,v)',
  },
  { flags: '--rank <r>', about: 'lora: rank (default 8)' },
  { flags: '--alpha <x>', about: 'lora: alpha (default twice the rank)' },
  { flags: '--rs-lora', about: 'lora: scale alpha/√rank instead of alpha/rank' },
  { flags: '--tokens <n>', about: 'prompt, prefix: virtual tokens (default 16)' },
  { flags: '--steps <n>', about: 'optimiser steps (default: 3 passes over the data, at most 300)' },
  { flags: '--epochs <n>', about: 'passes over the data, where --steps is not given; at most 300 steps' },
  { flags: '--batch <n>', about: 'samples a step (default 16)' },
  {
    flags: '--tokens-at-once <n>',
    about: 'tokens that are run at once, padding included: fewer need less memory (default 768)',
  },
  { flags: '--max-tokens <n>', about: 'longest sample; longer texts are cut, and it is said (default 256)' },
  { flags: '--lr <x>', about: 'learning rate (default: lora 0.001, prompt and prefix 0.01)' },
  { flags: '--seed <n>', about: 'same seed, same adapter (default 0)' },
  { flags: '--eval-fraction <x>', about: 'share of the data that is held out (default 0.1, 2 to 500 samples)' },
  { flags: '--eval-every <n>', about: 'steps between two looks at the held-out loss (default: a tenth of the steps)' },
  { flags: '--patience <n>', about: 'looks without a better loss after which training stops; 0 never (default 3)' },
  { flags: '--template <text>', about: 'prompt with {} where the text goes, or chat' },
  { flags: '--hidden <a,b,…>', about: 'head: widths of layers in front of its last (default none: a linear head)' },
  { flags: '--layers <a,b,…>', about: 'head: layers of the encoder that it reads, e.g. pooled/s10 (default all)' },
  { flags: '--forward <form>', about: 'int8 (default, faster) or image: frozen products as the device runs them' },
  { flags: '--recompute', about: 'compute layers again on the way back: slower, with less memory' },
  { flags: '--dtype <type>', about: 'how tensors are stored: float32 (default) or float16' },
]

const SAMPLES: readonly OptionSpec[] = [
  {
    flags: '--data <file>',
    about:
      'samples: CSV, TSV or JSONL with text and label, or prompt and answer, or image and label, caption or matte; chats as JSONL; a folder ' +
      'of pictures, WAV or tables of motion by class; COCO JSON with boxes, key points or masks',
  },
  {
    flags: '--path-pattern <regexp>',
    about: 'folders: where a path names its label (and subject), e.g. "^(?<label>\\d)_(?<subject>\\w+)_"',
  },
  {
    flags: '--columns <a=b,…>',
    about:
      'where the file calls a field otherwise, e.g. text=sentence,label=0: a name, or a number in a table without header',
  },
  {
    flags: '--format <format>',
    about: 'table, rows (JSONL), image-folder, sound-folder, coco or motion (default: told by what is there)',
  },
  { flags: '--media-folder <dir>', about: 'where pictures or sounds named by a file lie (default: beside it)' },
  {
    flags: '--channels <a,b,…>',
    about: 'motion: columns to read, in the order of the model (default: told by their names)',
  },
  { flags: '--rate <hz>', about: 'motion without a column of times: samples a second' },
  { flags: '--time-unit <unit>', about: 'motion: s, ms, us or ns (default: told by the name or steps of the times)' },
]
const TRAIN_IMAGE: OptionSpec = { ...IMAGE, about: 'the image to train on; default: the active slot, else lite' }
const HELD_OUT: OptionSpec = {
  flags: '--eval <file>',
  about: 'held-out samples of your own; default: a part of the data',
}

const TRAIN: readonly OptionSpec[] = [
  ...SAMPLES,
  { flags: '--out <dir>', about: 'folder of the package to write' },
  TRAIN_IMAGE,
  HELD_OUT,
  ...RECIPE,
  { flags: '--fraction <x>', about: 'train on this share of the data only (few-shot)' },
  { flags: '--name <name>', about: 'name of the adapter (default: that of the folder)' },
  { flags: '--app <id>', about: 'the app that ships it, e.g. org.example.mail' },
  { flags: '--licence <id>', about: 'SPDX id, or a sentence' },
  { flags: '--dry-run', about: 'say what would be trained, how much memory and time it takes, and end' },
  { flags: '--checkpoint-every <s>', about: 'seconds between two checkpoints (default 20)' },
  { flags: '--fresh', about: 'forget the checkpoint of an unfinished run' },
]

const FEW_SHOT: readonly OptionSpec[] = [
  ...SAMPLES,
  { flags: '--fractions <a,b,…>', about: 'shares of the data, above 0 and at most 1 (default 0.01,0.02,0.05,0.1)' },
  { flags: '--repeats <n>', about: 'draws of each share, each with a seed of its own (default 3)' },
  {
    flags: '--out <dir>',
    about: 'folder that keeps finished runs (default: none is kept); adapters are removed again',
  },
  { flags: '--fresh', about: 'forget the runs that are kept there' },
  TRAIN_IMAGE,
  HELD_OUT,
  ...RECIPE,
]

export const ADAPTER_COMMANDS: CommandGroup = Object.freeze<CommandGroup>({
  about:
    'Adapters: what an app ships instead of a model. Train, measure, inspect, convert, sign, install them by name.',
  example: 'm4fm adapter inspect my-adapter',
  exits: [2],
  commands: {
    train: {
      operands: '',
      about:
        'Train an adapter on samples: a table of texts and labels, of prompts and answers, chats, files by class, or objects in pictures (COCO). It is measured on samples ' +
        'that were held out. Ctrl-C keeps a checkpoint; the same command goes on from it.',
      options: TRAIN,
      example: 'm4fm adapter train --data reviews.csv --out reviews-adapter --steps 100',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-train.js'),
    },
    eval: {
      operands: '<adapter>',
      about:
        'Measure a package on the samples that it carries, or on others, with and without it. Exit code 1 when it changes nothing. ' +
        'ADAPTER: its folder, or name of an installed one.',
      options: [
        { ...IMAGE, about: 'the image to measure on; default: the active slot, else lite' },
        {
          flags: '--data <file>',
          about: 'other samples than its own: CSV, TSV or JSONL; of a head the folder of its data',
        },
        { flags: '--count <n>', about: 'at most so many samples (default: all)' },
      ],
      example: 'm4fm adapter eval my-adapter',
      exits: [1, 2, 3, 4],
      load: () => import('./commands/adapter-eval.js'),
    },
    'few-shot': {
      operands: '',
      about:
        'How much data an adapter needs: train on small shares of the data, drawn again with other seeds, and measure each. ' +
        'With --out, the same command goes on where Ctrl-C or a kill stopped it.',
      options: FEW_SHOT,
      example: 'm4fm adapter few-shot --data train.csv --eval test.csv --fractions 0.01,0.1',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-few-shot.js'),
    },
    revalidate: {
      operands: '<adapter>',
      about:
        'After a base was replaced: is the adapter as good on this image as it was recorded? Says keep, retrain or refuse; exit code ' +
        '1 unless it is kept or was trained again. The verdict is remembered for this image: `run --adapter` is silent after keep, warns ' +
        'after retrain and stops after refuse. ADAPTER: its folder, or name of an installed one.',
      options: [
        { ...IMAGE, about: 'the image to measure on; default: the active slot, else lite' },
        {
          flags: '--tolerance <x>',
          about: 'how much worse the metric may be (default 0.02, or two standard errors if more)',
        },
        { flags: '--count <n>', about: 'measure on at most so many samples (default: all)' },
        {
          flags: '--eval <file>',
          about: 'samples to measure on, in place of its own; with --retrain also the held-out ones',
        },
        {
          flags: '--retrain',
          about: 'train it again from its recorded recipe unless it is kept; needs --data and --out',
        },
        { flags: '--data <file>', about: 'with --retrain: samples to train on; else as --eval' },
        { flags: '--out <dir>', about: 'with --retrain: folder of the new package' },
        { flags: '--fresh', about: 'with --retrain: forget the checkpoint of an unfinished run' },
      ],
      example: 'm4fm adapter revalidate my-adapter --image lite',
      exits: [1, 2, 3, 4],
      load: () => import('./commands/adapter-revalidate.js'),
    },
    inspect: {
      operands: '<adapter>',
      about:
        'Show what an adapter holds, what it was made for and whether it fits an image. ' +
        `ADAPTER: ${ADAPTER}. Exit codes 2 and 3 where \`run --adapter\` would refuse it.`,
      options: [IMAGE],
      example: 'm4fm adapter inspect my-adapter --image lite',
      exits: [2, 3],
      load: () => import('./commands/adapter-inspect.js'),
    },
    merge: {
      operands: '<adapter>',
      about: `Write the base checkpoint with a LoRA added to its weights, for those who need one model. ADAPTER: ${ADAPTER}.`,
      options: [
        {
          flags: '--base <checkpoint>',
          about: 'checkpoint with Hugging Face names: a file, an index of shards, a folder',
        },
        { flags: '--out <file>', about: 'the safetensors file to write' },
      ],
      example: 'm4fm adapter merge my-adapter --base model.safetensors --out merged/model.safetensors',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-merge.js'),
    },
    convert: {
      operands: '<adapter>',
      about:
        'Convert a LoRA between PEFT folders, GGUF adapters (llama.cpp) and .onnx_adapter files (ONNX Runtime). ' +
        `ADAPTER: ${ADAPTER}, or such a file.`,
      options: [
        { flags: '--to <format>', about: 'gguf, onnx or peft' },
        { flags: '--out <path>', about: 'the file to write; of peft the folder' },
        { flags: '--dtype <type>', about: 'how tensors are stored: float32 (default) or float16' },
        { ...IMAGE, about: 'the image that it is for; default: the active slot, else lite' },
      ],
      example: 'm4fm adapter convert my-adapter --to gguf --out my-adapter.gguf',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-convert.js'),
    },
    install: {
      operands: '<folder>',
      about: 'Copy a package into the store of this device, verified; from then on its name is enough.',
      options: [
        { ...IMAGE, about: 'the image that it must fit; default: the active slot, else lite' },
        {
          flags: '--force',
          about:
            'also what was made for another ABI (it will not load until such an image is flashed) or was refused on this image',
        },
        { flags: '--replace', about: 'take the name from another app' },
        { flags: '--key <pem>', about: 'only what the owner of this public key signed' },
      ],
      example: 'm4fm adapter install my-adapter',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-install.js'),
    },
    list: {
      operands: '',
      about: 'List the installed adapters and how they fit an image; a damaged one is shown with what is wrong.',
      options: [IMAGE],
      example: 'm4fm adapter list',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-list.js'),
    },
    remove: {
      operands: '<name>',
      about: 'Take an installed adapter off this device.',
      options: [],
      example: 'm4fm adapter remove my-adapter',
      exits: [2, 4],
      load: () => import('./commands/adapter-remove.js'),
    },
    sign: {
      operands: '<adapter>',
      about: `Sign a package with ECDSA on P-256; m4fm.json is written again. ADAPTER: its folder, or name of an installed one.`,
      options: [{ flags: '--key <pem>', about: 'file of the private key' }],
      example: 'm4fm adapter sign my-adapter --key private.pem',
      exits: [2, 3, 4],
      load: () => import('./commands/adapter-sign.js'),
    },
    verify: {
      operands: '<adapter>',
      about:
        'Hash every file of a package and check its signature. Without --key an unsigned package passes, and a signed one ' +
        'proves only that all of it is from one hand.',
      options: [{ flags: '--key <pem>', about: 'file of the public key that must have signed' }],
      example: 'm4fm adapter verify my-adapter --key public.pem',
      exits: [2, 3],
      load: () => import('./commands/adapter-verify.js'),
    },
  },
})
