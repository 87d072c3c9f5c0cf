/** Runners of the `train-*` cases by the architecture that the case names. */

import type { Runner } from '../types.js'
import { runLlamaAdamW, runLlamaGradients } from './llama.js'
import { runLosses } from './losses.js'

export const TRAIN_RUNNERS: Readonly<Record<string, Runner>> = {
  'train-llama+peft-lora': runLlamaGradients,
  'train-llama+peft-prompt': runLlamaGradients,
  'train-llama+peft-prefix': runLlamaGradients,
  'train-llama+peft-lora+adamw': runLlamaAdamW,
  'train-losses': runLosses,
}
