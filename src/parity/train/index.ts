/** Runners of the `train-*` cases by the architecture that the case names. */

import type { Runner } from '../types.js'
import { runConvolutions } from './conv.js'
import { runImuClassifier } from './imu-classifier.js'
import { runLlamaAdamW, runLlamaFull, runLlamaGradients } from './llama.js'
import { runLosses } from './losses.js'
import { runUnetBlock } from './unet-block.js'
import { runVitInfoNce } from './vit-infonce.js'

export const TRAIN_RUNNERS: Readonly<Record<string, Runner>> = {
  'train-llama': runLlamaFull,
  'train-llama+peft-lora': runLlamaGradients,
  'train-llama+peft-prompt': runLlamaGradients,
  'train-llama+peft-prefix': runLlamaGradients,
  'train-llama+peft-lora+adamw': runLlamaAdamW,
  'train-losses': runLosses,
  'train-imagebind-imu': runImuClassifier,
  'train-imagebind-vision+lora': runVitInfoNce,
  'train-conv': runConvolutions,
  'train-unet-block': runUnetBlock,
}
