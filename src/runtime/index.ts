/** The runtime: open a firmware image and ask it. */

export type { AdapterTensors, PackedLora } from '../adapters/types.js'
export { Backbone, type BackboneFacts } from './backbone.js'
export { CHUNK_TOKENS, Context, type Prefilled, type RunSignal } from './context.js'
export {
  createDiffusionSampler,
  createNoiseSchedule,
  PictureGenerator,
  SAMPLER_NAMES,
} from './diffusion/index.js'
export { Firmware, type OpenFirmwareOptions, openFirmware } from './firmware.js'
export {
  DEFAULT_MAX_TOKENS,
  type Generated,
  type GeneratedToken,
  type GenerateOptions,
  generateTokens,
} from './generate.js'
export { argmax, logProbability, logSumExp } from './logits.js'
export { createModules, type Lease, type Modules, type ModuleTypes, type ServedRole } from './modules.js'
export { type PatchFeatures, type PatchGrid, type Region, regionOf, squareOf } from './patch-heads/index.js'
export { PATHS, type Path } from './paths.js'
export { type Perplexity, perplexity } from './perplexity.js'
export type { Segment } from './prompt-plan.js'
export {
  type ChatTemplate,
  chatSegments,
  encodePrompt,
  fillTemplate,
  linePrompt,
  parseChatTemplate,
  promptSegments,
  type TextPrompt,
} from './prompts.js'
export type * from './requests.js'
export { createSampler, type Sampler, type SamplingOptions } from './sampling.js'
export {
  type Calibration,
  type CalibrationBasis,
  calibrate,
  type LabelPlan,
  type LabelScore,
  planLabels,
  rankLabels,
  scoreLabels,
} from './score.js'
export { splitSentences } from './sentences.js'
export { SpeechRecogniser, type TranscribeOptions } from './speech.js'
export { createStopFilter, type StopFilter } from './stop.js'
export { cosine, type Embedded, type EmbedOptions, TextEmbedder } from './text-embedding.js'
export { MotionEncoder, PictureEncoder, SoundEncoder } from './tower.js'
export type { Manner, Utterance, Voice } from './voice.js'
