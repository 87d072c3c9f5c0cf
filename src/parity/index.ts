/** Parity: case folders of reference outputs, run on the engine and compared. */

export { characterErrorRate, type ErrorRate, sumErrorRates, wordErrorRate } from '../bench/metrics/word-error-rate.js'
export { caseFolders, type ParityOptions, runParity, runParityAll } from './run-case.js'
export type { OutputReport, ParityReport } from './types.js'
