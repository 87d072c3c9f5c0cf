/**
 * Recipes: what goes into a firmware image, as data. Adding a module is one entry here and one file in `models/`.
 * Sources are pinned by digest; where they come from and what they are worth is recorded in the manifest.
 */

import type { SourceFolder } from '../checkpoint/sources/folder.js'
import type { RecipeSource } from '../checkpoint/sources/types.js'
import { unknownName } from '../core/errors.js'
import type { ArchitectureName, EmbeddingKind, LoraSite, QuantisationPlan } from '../models/index.js'
import type { Role } from './manifest.js'
import { FUYU } from './recipes/fuyu.js'
import { LITE } from './recipes/lite.js'
import { LITE_HUB } from './recipes/lite-hub.js'
import { STANDARD, STANDARD_LLAMA2 } from './recipes/standard.js'
import { TINY_RANDOM } from './recipes/tiny-random.js'

export interface Recipe {
  readonly name: string
  readonly version: string
  readonly rollbackIndex: number
  /** One line for people. */
  readonly about: string
  readonly modules: Readonly<Partial<Record<Role, ModuleRecipe>>>
}

export interface ModuleRecipe {
  readonly architecture: ArchitectureName
  /** What it is, e.g. `TinyLlama-1.1B-Chat-v1.0`. */
  readonly title: string
  /** The checkpoint; or nothing but a configuration and a seed, which gives random weights. */
  readonly weights: RecipeSource | SourceFolder | RandomWeights
  /** Published as a difference from another model: these are added to `weights` (Vicuna). */
  readonly delta?: RecipeSource | SourceFolder
  /** Facts that the checkpoint does not say itself, named as in a Hugging Face config.json. */
  readonly config?: Readonly<Record<string, unknown>>
  /** The architecture's configuration as the checkpoint will say it: all that `--random` and `ops` need of the module. */
  readonly shape?: object
  /** Named choices; the first is the default. An image built with another carries its name: `lite-int8`. */
  readonly quantisations: Readonly<Record<string, QuantisationPlan>>
  readonly embedding?: EmbeddingKind
  readonly loraSites?: readonly LoraSite[]
  /** Inputs for LLaMA-Adapter at every layer of a LLaMA backbone. */
  readonly gatedPrompt?: boolean
  /** Encoders of ImageBind take LoRA as inputs of their graph. Default false. */
  readonly encoderAdapters?: boolean
  /**
   * The joint space that the module's vectors lie in, e.g. `minilm-384`: only vectors of one space are compared. ImageBind's towers
   * need not say it.
   */
  readonly space?: string
  /** Modules that read or write text need one. */
  readonly tokenizer?: TokenizerRecipe
  /** Jinja text, where the checkpoint carries none. */
  readonly chatTemplate?: string
  /**
   * Graphs beside the architecture's own, with weights of their own: `project`, from the joint space into a backbone; `join`, from
   * an encoder's features into the joint space; `classify`, the classes of an encoder, which the file `labels` names in order, as a JSON list.
   */
  readonly graphs?: Readonly<Record<string, GraphRecipe>>
  /** More tables that the runtime reads, e.g. `voice.af_heart`. */
  readonly files?: Readonly<Record<string, RecipeSource>>
}

/** The one graph of an architecture, as part of another's module. */
export interface GraphRecipe
  extends Pick<ModuleRecipe, 'architecture' | 'title' | 'weights' | 'config' | 'shape' | 'embedding'> {
  readonly quantisation: QuantisationPlan
}

export interface RandomWeights {
  readonly random: { readonly seed: number; readonly config: object }
}

export type TokenizerRecipe =
  /** Inside the checkpoint: GGUF keys, or the vocabulary of a ggml Whisper file. */
  | { readonly from: 'checkpoint' }
  /** A tokenizer.json, or a SentencePiece tokenizer.model. */
  | { readonly from: 'file'; readonly source: RecipeSource }
  /** `vocab.json` of a voice, character → id. `blankId` stands between characters; null: nothing does. Default 0. */
  | { readonly from: 'characters'; readonly source: RecipeSource; readonly blankId?: number | null }
  /** The same, spelt out. */
  | {
      readonly from: 'alphabet'
      readonly vocabulary: Readonly<Record<string, number>>
      readonly blankId?: number | null
    }
  /** CLIP's merges, packed or not: `bpe_simple_vocab_16e6.txt.gz`. */
  | { readonly from: 'clip'; readonly source: RecipeSource }
  /** The toy byte-level one. */
  | { readonly from: 'tiny' }

/** In the order of `m4fm build --list`. */
export const RECIPES: Readonly<Record<string, Recipe>> = Object.fromEntries(
  [LITE, LITE_HUB, STANDARD, STANDARD_LLAMA2, FUYU, TINY_RANDOM].map((recipe) => [recipe.name, recipe]),
)

/** @throws M4Error `UNKNOWN_NAME` with the nearest names */
export function findRecipe(name: string): Recipe {
  const recipe = Object.hasOwn(RECIPES, name) ? RECIPES[name] : undefined
  if (!recipe) throw unknownName('recipe', name, Object.keys(RECIPES))
  return recipe
}

/** Every file that a recipe needs, for `pull`. */
export function sourcesOf(recipe: Recipe): RecipeSource[] {
  const all = Object.values(recipe.modules).flatMap(({ weights, delta, tokenizer, files, graphs }) => [
    ...[weights, ...(delta ? [delta] : []), ...Object.values(graphs ?? {}).map((graph) => graph.weights)].flatMap(
      (from) => ('random' in from ? [] : filesOf(from)),
    ),
    ...(tokenizer && 'source' in tokenizer ? [tokenizer.source] : []),
    ...Object.values(files ?? {}),
  ])
  // Modules that share a file name it once each.
  return [...new Set(all)]
}

/** A file, or the files of a folder. */
export const filesOf = (source: RecipeSource | SourceFolder): RecipeSource[] =>
  'files' in source ? Object.values(source.files) : [source]
