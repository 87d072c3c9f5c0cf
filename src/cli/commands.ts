/**
 * The commands as data: all that `--help` says, and where the code is. Only the command that runs is loaded, so help is instant.
 */

import { ADAPTER_COMMANDS } from './adapter-commands.js'
import type { CommandAction } from './context.js'

export interface OptionSpec {
  /** As commander writes it: `--out <dir>`. */
  readonly flags: string
  readonly about: string
  /** May be given several times; its values come as a list. */
  readonly repeatable?: true
}

export interface CommandSpec {
  /** Operands as commander writes them: `<image>`, `[recipe]`, `[input...]`. */
  readonly operands: string
  readonly about: string
  readonly options: readonly OptionSpec[]
  readonly example: string
  /** Beside 0 (done) and 130 (interrupted). */
  readonly exits: readonly ExitCode[]
  readonly load: () => Promise<{ readonly run: CommandAction }>
}

/** Commands below a name of their own: `m4fm adapter inspect`. */
export interface CommandGroup {
  readonly about: string
  readonly example: string
  /** Of the name alone. */
  readonly exits: readonly ExitCode[]
  readonly commands: Readonly<Record<string, CommandSpec>>
}

export const isGroup = (entry: CommandSpec | CommandGroup): entry is CommandGroup => 'commands' in entry

/** See `ERROR_CODES` of core/errors, where each code of an error has its exit code. */
export const EXIT_CODES = Object.freeze({
  0: 'done',
  1: 'a check failed',
  2: 'misuse: unknown name, empty or too long input',
  3: 'a file is missing, damaged or not what it claims',
  4: 'the machine: disk, network, memory, engine, lock',
  70: 'a fault in m4fm',
  130: 'interrupted',
})
export type ExitCode = keyof typeof EXIT_CODES

const DECODING: readonly OptionSpec[] = [
  { flags: '--max-tokens <n>', about: 'most tokens of the answer' },
  {
    flags: '--temperature <x>',
    about: '0 always takes the most probable token (default of run; of chat: 0.7, top-p 0.9)',
  },
  { flags: '--top-p <x>', about: 'sample from the most probable tokens that reach this probability' },
  { flags: '--top-k <n>', about: 'sample from the k most probable tokens' },
  { flags: '--repetition-penalty <x>', about: 'above 1: tokens that came before become less probable' },
  { flags: '--seed <n>', about: 'same seed, same answer (default 0)' },
  { flags: '--stop <text>', about: 'text that ends the answer; may be repeated', repeatable: true },
  {
    flags: '--adapter <adapter>',
    about:
      'name of an installed adapter, the folder of a package or of PEFT, or a file of lit-llama LoRA or a PandaGPT delta (see import)',
  },
  { flags: '--force', about: 'with --adapter: also one that `adapter revalidate` refused on this image' },
]

export const COMMANDS: Readonly<Record<string, CommandSpec | CommandGroup>> = Object.freeze({
  pull: {
    operands: '<recipe>',
    about: 'Download the weights of a recipe into the cache, each file checked by its sha-256.',
    options: [],
    example: 'm4fm pull lite',
    exits: [2, 3, 4],
    load: () => import('./commands/pull.js'),
  },
  build: {
    operands: '[recipe]',
    about: 'Make a firmware image from a recipe; pulls what is missing.',
    options: [
      { flags: '--quant <name>', about: 'quantisation of the backbone, e.g. int8 (see --list)' },
      {
        flags: '--from <dir>',
        about: 'take files from here where they are there, laid out as on the Hugging Face hub',
      },
      { flags: '--random', about: 'random weights at full size, nothing downloaded: to measure size and speed' },
      { flags: '--out <dir>', about: 'folder of the image (default: images/NAME in the home folder)' },
      { flags: '--list', about: 'list the recipes and their quantisations' },
    ],
    example: 'm4fm build lite',
    exits: [2, 3, 4],
    load: () => import('./commands/build.js'),
  },
  inspect: {
    operands: '<image>',
    about: 'Show what an image holds: modules, sizes, graphs, operators, origin and licences.',
    options: [],
    example: 'm4fm inspect lite',
    exits: [2, 3],
    load: () => import('./commands/inspect.js'),
  },
  verify: {
    operands: '<image>',
    about: 'Hash every file of an image and compare with its manifest.',
    options: [],
    example: 'm4fm verify device',
    exits: [3, 4],
    load: () => import('./commands/verify.js'),
  },
  flash: {
    operands: '<image>',
    about: 'Install an image into the free slot: verify, prepack for this CPU, self-test, switch over.',
    options: [
      {
        flags: '--prepack <modules>',
        about: 'prepack only these, e.g. backbone,TXT, or none: prepacked weights take twice their disk space again',
      },
    ],
    example: 'm4fm flash lite',
    exits: [3, 4],
    load: () => import('./commands/flash.js'),
  },
  rollback: {
    operands: '',
    about: 'Make the other slot active again, if it is good.',
    options: [],
    example: 'm4fm rollback',
    exits: [2, 3, 4],
    load: () => import('./commands/rollback.js'),
  },
  tasks: {
    operands: '[image]',
    about: 'List the 50 tasks of mAIBench, and what the image lacks for those that it cannot do.',
    options: [],
    example: 'm4fm tasks lite',
    exits: [2, 3],
    load: () => import('./commands/tasks.js'),
  },
  run: {
    operands: '[image-or-input...]',
    about:
      'Ask an image once. The first argument is the image if it names one (a folder, a built recipe, `device`); ' +
      'default: the active slot, else `lite`. The rest is the input: text, WAV files for transcribe and listen, a picture for detect, keypoints, segment and count; embed, similarity, match, retrieve and describe also ' +
      'take pictures, WAV and CSV (motion), told by how their names end.',
    options: [
      {
        flags: '--task <task>',
        about:
          'generate, complete, classify, transcribe, listen, describe, embed, similarity, match, retrieve, detect, keypoints, segment, ' +
          'count, speak, paint or upscale; or an entry of mAIBench, T1 to T50 (see `m4fm tasks`)',
      },
      { flags: '--image <image>', about: 'the image; all arguments are then input' },
      { flags: '--file <path>', about: 'read the input from a file; - is standard input' },
      {
        flags: '--labels <a,b,…>',
        about:
          'labels of classify and match; classify without: those of the adapter; match without: those of the encoder’s own head',
      },
      {
        flags: '--examples <file>',
        about: 'few-shot examples: TSV (input, tab, output) or JSONL ({"input","output"})',
      },
      {
        flags: '--calibrate <file>',
        about: 'classify: unlabelled texts, one a line, that take away the bias of labels',
      },
      { flags: '--instruction <text>', about: 'a line in front of the examples' },
      { flags: '--names <in,out>', about: 'what the lines of a few-shot prompt start with, e.g. Q,A' },
      {
        flags: '--template <text>',
        about:
          'prompt with {} for the text (classify, generate, listen) or the label (match); classify and generate without: that of the adapter',
      },
      { flags: '--chat', about: "generate: the input is a user's message, not a text to continue" },
      {
        flags: '--out <file>',
        about: 'the file to write: WAV of speak, PNG of paint, upscale and segment (grey: class or foreground)',
      },
      { flags: '--voice <name>', about: 'speak: one of several voices, by number or name' },
      { flags: '--speed <x>', about: 'speak: 0.25 to 4, 1 is as published' },
      { flags: '--picture <file>', about: 'paint: a picture to start from; upscale: the one to enlarge' },
      {
        flags: '--from <item>',
        about: 'paint (unCLIP): a file of a picture, sound or motion, or a text, to paint after',
      },
      { flags: '--noise-level <n>', about: 'paint: how freely, 0 to 999 (default 0)' },
      { flags: '--strength <x>', about: 'paint: how much of the picture may change, up to 1 (default 0.8)' },
      { flags: '--negative <text>', about: 'paint: what the picture should not look like' },
      { flags: '--steps <n>', about: 'paint: evaluations of the model (default 50; lite 25)' },
      { flags: '--guidance <x>', about: 'paint: how closely the text is followed (default 7.5; lite 3)' },
      { flags: '--sampler <name>', about: 'paint: ddim or pndm' },
      { flags: '--width <n>', about: 'paint: dots, a multiple of 8' },
      { flags: '--height <n>', about: 'paint: dots, a multiple of 8' },
      {
        flags: '--gallery <item>',
        about: 'retrieve: what is searched, a text, a file or a .txt of lines; may be repeated',
        repeatable: true,
      },
      { flags: '--top <n>', about: 'how many are given at most: retrieve (default 10), detect (default 100)' },
      { flags: '--min-score <x>', about: 'detect: leave out boxes below (default 0.3)' },
      {
        flags: '--overlap <x>',
        about: 'detect: of two boxes of a label that overlap more, keep the better (default 0.5)',
      },
      { flags: '--region <x,y,w,h>', about: 'keypoints: where in the picture to look, in dots' },
      { flags: '--question <text>', about: 'describe: default What is this?' },
      {
        flags: '--rate <hz>',
        about:
          'samples a second of motion; default: by the column time of a named header, else the first column is the time in s',
      },
      { flags: '--mean', about: 'embed, similarity, match: take the mean over windows of a long text' },
      ...DECODING,
    ],
    example: 'm4fm run --task complete "What is the capital of France?"',
    exits: [2, 3, 4],
    load: () => import('./commands/run.js'),
  },
  chat: {
    operands: '[image]',
    about:
      'Talk with an image. /reset forgets, /adapter NAME takes another adapter, /adapter none the base, /quit ends, Ctrl-C stops ' +
      'the answer. Lines of a pipe are answered in turn.',
    options: [{ flags: '--system <text>', about: 'what the model is told first' }, ...DECODING],
    example: 'm4fm chat lite',
    exits: [2, 3, 4],
    load: () => import('./commands/chat.js'),
  },
  import: {
    operands: '<adapter>',
    about:
      'Say what a released adapter is and how much of it fits an image: a PEFT folder, LoRA and LLaMA-Adapter of lit-llama, ' +
      'a PandaGPT delta, adapters, heads and scales of ImageBind-LoRA.',
    options: [
      { flags: '--image <image>', about: 'the image; default: the active slot, else lite' },
      { flags: '--alpha <x>', about: "LoRA's alpha, where the file does not say it" },
      { flags: '--layers <a,b,…>', about: 'layers that were adapted, where the file does not say it (ImageBind-LoRA)' },
    ],
    example: 'm4fm import pytorch_model.pt --image standard',
    exits: [2, 3],
    load: () => import('./commands/import.js'),
  },
  adapter: ADAPTER_COMMANDS,
  ops: {
    operands: '<image-or-file...>',
    about: 'Count the operators of a recipe (nothing is downloaded), an image or any .onnx files.',
    options: [],
    example: 'm4fm ops lite --json',
    exits: [2, 3],
    load: () => import('./commands/ops.js'),
  },
  parity: {
    operands: '<folder>',
    about: 'Compare with a reference implementation: one case folder, or a folder of cases.',
    options: [{ flags: '--backend <name>', about: 'ffi, node or web' }],
    example: 'm4fm parity test/goldens/llama-hf-gqa --json',
    exits: [1, 2, 3, 4],
    load: () => import('./commands/parity.js'),
  },
  doctor: {
    operands: '',
    about: 'Check this machine: Node, engine, CPU, memory, disk, images and slots.',
    options: [],
    example: 'm4fm doctor',
    exits: [1],
    load: () => import('./commands/doctor.js'),
  },
})
