/** Scores against the tools that define them: every number that a case's `expected` holds, with the case's own tolerance. */

import {
  accuracy,
  averagePrecision,
  type BleuScore,
  binaryF1,
  bleu,
  type CocoDetection,
  type CocoSet,
  channelOf,
  chrF,
  cider,
  cocoBleu,
  cocoRougeL,
  cocoScores,
  confusion,
  exactMatch,
  frechetDistance,
  fScores,
  inceptionScore,
  logLoss,
  matteError,
  matthews,
  meanAbsoluteDifference,
  meanAbsoluteError,
  meanAveragePrecision,
  meanSquareError,
  melCepstralDistortion,
  nltkBleu,
  normalizeAnswer,
  type PrecisionRecall,
  pairRecallAt,
  peakSignalToNoise,
  pearson,
  perplexityOf,
  recallAt,
  reidentify,
  rocAuc,
  rootMeanSquareError,
  rougeL,
  rougeN,
  type Segment,
  type SlurpMeaning,
  segmentation,
  setF1,
  slurp,
  spearman,
  structuralSimilarity,
  tokenF1,
  tokenize13a,
  topKAccuracy,
} from '../bench/metrics/index.js'
import { M4Error } from '../core/errors.js'
import type { HostTensor } from '../core/tensor.js'
import { isFile, type ParityCase, readJsonFile } from './case.js'
import { compareTree } from './compare-tree.js'
import type { Runner } from './types.js'

type Tree = Readonly<Record<string, unknown>>

/** What a case gives: its cases.json (or the parts of it), the expected values beside it, the tensors. */
interface Given<C = Tree> {
  readonly cases: C
  readonly expected: Tree
  readonly parityCase: ParityCase
}

const segmentsOf = ({ hypotheses, references }: { hypotheses: string[]; references: string[][] }): Segment[] =>
  hypotheses.map((hypothesis, i) => ({ hypothesis, references: references[i]! }))

const bleuTree = ({
  score,
  precisions,
  brevityPenalty,
  hypothesisLength,
  referenceLength,
  counts,
  totals,
}: BleuScore) => ({
  score,
  precisions,
  bp: brevityPenalty,
  sysLen: hypothesisLength,
  refLen: referenceLength,
  counts,
  totals,
})

function bleuCase({ cases }: Given<{ hypotheses: string[]; references: string[][] }>): Tree {
  const segments = segmentsOf(cases)
  const oneReference = segments.map(({ hypothesis, references }) => ({
    hypothesis,
    references: references.slice(0, 1),
  }))
  return {
    corpus13a: bleuTree(bleu(segments)),
    corpus13aOneRef: bleuTree(bleu(oneReference)),
    corpusLowercase: bleuTree(bleu(segments, { lowercase: true })),
    corpusBleu1: bleuTree(bleu(segments, { order: 1 })),
    corpusBleu2: bleuTree(bleu(segments, { order: 2 })),
    corpusNone: bleuTree(bleu(segments, { tokens: 'none' })),
    sentence: segments.map((segment) => bleuTree(bleu([segment], { effectiveOrder: true }))),
    tok13a: cases.hypotheses.map(tokenize13a),
    nltkCorpusBleu4: nltkBleu(segments),
    nltkSentenceMethod1: segments.map((segment) => nltkBleu([segment], 'method1')),
    chrF2: chrF(segments),
    cocoCaptionBleu1to4: cocoBleu(segments),
  }
}

function rougeCiderCase({ cases }: Given<{ hypotheses: string[]; references: string[][] }>): Tree {
  const segments = segmentsOf(cases)
  const first = (score: (hypothesis: string, reference: string) => number) =>
    segments.map(({ hypothesis, references }) => score(hypothesis, references[0]!))
  const coco = segments.map(({ hypothesis, references }) => cocoRougeL(hypothesis, references))
  const { score, perSegment } = cider(segments)
  return {
    rougeLCoco: coco,
    rougeLCocoMean: coco.reduce((sum, value) => sum + value, 0) / coco.length,
    rougeL1: first(rougeL),
    rouge1: first((hypothesis, reference) => rougeN(hypothesis, reference, 1)),
    rouge2: first((hypothesis, reference) => rougeN(hypothesis, reference, 2)),
    cider: score,
    ciderPerItem: perSegment,
  }
}

interface ClassificationCases {
  readonly yTrue: number[]
  readonly scores: number[][]
  readonly binaryTrue: number[]
  readonly binaryScore: number[]
}

function classificationCase({ cases, expected }: Given<ClassificationCases>): Tree {
  const { yTrue, scores, binaryTrue, binaryScore } = cases
  const predicted = scores.map((row) => row.indexOf(Math.max(...row)))
  const decided = binaryScore.map((score) => (score > 0 ? 1 : 0))
  const { macro, microF1, weightedF1 } = fScores(yTrue, predicted)
  return {
    accuracy: accuracy(yTrue, predicted),
    ...forKeys(expected, /^top(\d+)$/, (k) => topKAccuracy(yTrue, scores, k)),
    f1Macro: macro.f1,
    f1Micro: microF1,
    f1Weighted: weightedF1,
    precisionMacro: macro.precision,
    recallMacro: macro.recall,
    confusion: confusion(yTrue, predicted),
    logLoss: logLoss(yTrue, scores),
    matthewsBinary: matthews(binaryTrue, decided),
    f1Binary: binaryF1(binaryTrue, decided),
    rocAuc: rocAuc(binaryTrue, binaryScore),
    averagePrecision: averagePrecision(binaryTrue, binaryScore),
    pearson: pearson(binaryScore, binaryTrue),
    spearman: spearman(binaryScore, yTrue),
    mae: meanAbsoluteError(yTrue, binaryScore),
    rmse: rootMeanSquareError(yTrue, binaryScore),
  }
}

const cocoCase =
  (kind: 'bbox' | 'keypoints') =>
  ({ cases }: Given<CocoSet & { detections: CocoDetection[] }>): Tree => ({
    ...cocoScores(kind, cases, cases.detections),
  })

interface RetrievalCases {
  readonly similarity: number[][]
  readonly queryIds: number[]
  readonly galleryIds: number[]
  readonly queryCams: number[]
  readonly galleryCams: number[]
  readonly pairSimilarity: number[][]
}

function retrievalCase({ cases, expected }: Given<RetrievalCases>): Tree {
  const { similarity, queryIds, galleryIds, queryCams, galleryCams, pairSimilarity } = cases
  const atK = /^R@(\d+)$/
  const { reid, recallAtK, pairwise } = expected as {
    reid: { cmc: number[] }
    recallAtK: Tree
    pairwise: { i2t: Tree; t2i: Tree }
  }
  const gallery = { ids: galleryIds, cameras: galleryCams }
  return {
    recallAtK: forKeys(recallAtK, atK, (k) => recallAt(similarity, queryIds, galleryIds, k)),
    reid: { ...reidentify(similarity, { ids: queryIds, cameras: queryCams }, gallery, reid.cmc.length) },
    mapPlain: meanAveragePrecision(similarity, queryIds, galleryIds),
    pairwise: {
      i2t: forKeys(pairwise.i2t, atK, (k) => pairRecallAt(pairSimilarity, k).rows),
      t2i: forKeys(pairwise.t2i, atK, (k) => pairRecallAt(pairSimilarity, k).columns),
    },
  }
}

function slurpCase({ cases }: Given<{ gold: SlurpMeaning[]; predictions: SlurpMeaning[] }>): Tree {
  const { words, characters, ...others } = slurp(cases.gold, cases.predictions)
  const all = { ...others, entitiesDistance_word: words, entitiesDistance_char: characters }
  return Object.fromEntries(
    Object.entries(all).map(([name, { precision, recall, f1 }]: [string, PrecisionRecall]) => [
      name,
      [precision, recall, f1],
    ]),
  )
}

interface SquadItem {
  readonly gold: string
  readonly prediction: string
}

function squadCase({ cases }: Given<readonly SquadItem[]>): readonly Tree[] {
  return cases.map(({ gold, prediction }) => ({
    gold,
    prediction,
    normalisedGold: normalizeAnswer(gold),
    normalisedPrediction: normalizeAnswer(prediction),
    em: Number(exactMatch(prediction, gold)),
    f1: tokenF1(prediction, gold),
    setF1: setF1(prediction, gold),
  }))
}

function segmentationCase({ parityCase, expected }: Given): Tree {
  const [truth, predicted] = [parityCase.input('gt'), parityCase.input('pred')]
  const { classes, ignore } = expected as { classes: number; ignore: number }
  return { classes, ignore, ...segmentation(truth.data, predicted.data, { classes, ignore }) }
}

function miscCase({ parityCase, expected }: Given): Tree {
  const [alpha, predicted, trimap] = ['alpha', 'pred_alpha', 'trimap'].map((name) => numbers(parityCase.input(name)))
  const { logProbs, countTrue, countPred } = expected as Record<'logProbs' | 'countTrue' | 'countPred', number[]>
  const [unknown, all] = [matteError(alpha!, predicted!, trimap), matteError(alpha!, predicted!)]
  return {
    sadUnknown: unknown.sad,
    mseUnknown: unknown.mse,
    sadAll: all.sad,
    mseAll: all.mse,
    logProbs,
    perplexity: perplexityOf(logProbs),
    countTrue,
    countPred,
    countMae: meanAbsoluteError(countTrue, countPred),
    countRmse: rootMeanSquareError(countTrue, countPred),
  }
}

function fidCase({ parityCase }: Given): Tree {
  const [first, second, classes] = ['features1', 'features2', 'class_probs'].map((name) => {
    const tensor = parityCase.input(name)
    return { rows: tensor.dims[0]!, width: tensor.dims[1]!, data: numbers(tensor) }
  })
  return {
    fid: frechetDistance(first!, second!),
    fidSelf: frechetDistance(first!, first!),
    inceptionScore: inceptionScore(classes!),
  }
}

function imageQualityCase({ parityCase }: Given): Tree {
  const [a, b] = ['image1', 'image2'].map((name) => {
    const tensor = parityCase.input(name)
    const [height, width, channels = 1] = tensor.dims as [number, number, number?]
    return { height, width, channels, data: numbers(tensor) }
  })
  const [grayA, grayB] = [channelOf(a!, 0), channelOf(b!, 0)]
  return {
    mse: meanSquareError(a!, b!),
    psnr: peakSignalToNoise(a!, b!),
    ssimDefaultColor: structuralSimilarity(a!, b!),
    ssimDefaultGrey0: structuralSimilarity(grayA, grayB),
    ssimGaussColor: structuralSimilarity(a!, b!, { window: 'gaussian' }),
    ssimGaussGrey0: structuralSimilarity(grayA, grayB, { window: 'gaussian' }),
    l1: meanAbsoluteDifference(a!, b!),
  }
}

function melCepstralCase({ parityCase, expected }: Given): Tree {
  const { sampleRate } = expected as { sampleRate: number }
  const [first, second] = [numbers(parityCase.input('y1')), numbers(parityCase.input('y2'))]
  const { perStep, pathLength, cumulative, perFirst, perSecond } = melCepstralDistortion(first, second, sampleRate)
  return { sampleRate, mcdPath: perStep, pathLength, cumulative, len1: perFirst, len2: perSecond }
}

const METRICS = {
  bleu: runMetric(bleuCase),
  classification: runMetric(classificationCase),
  bbox: runMetric(cocoCase('bbox')),
  keypoints: runMetric(cocoCase('keypoints')),
  fid: runMetric(fidCase),
  imageQuality: runMetric(imageQualityCase),
  mcd: runMetric(melCepstralCase),
  misc: runMetric(miscCase),
  retrieval: runMetric(retrievalCase),
  rougeCider: runMetric(rougeCiderCase),
  segmentation: runMetric(segmentationCase),
  slurp: runMetric(slurpCase),
  squad: runMetric(squadCase),
} as const satisfies Record<string, Runner>

export const metricRunner = (metric: keyof typeof METRICS): Runner => METRICS[metric]

/** @param compute the same tree as `expected`; a list of cases holds its own expected values */
function runMetric<C>(compute: (given: Given<C>) => Tree | readonly Tree[]): Runner {
  return async ({ parityCase }) => {
    const [casesPath, expectedPath] = [parityCase.path('cases.json'), parityCase.path('expected.json')]
    const cases = isFile(casesPath) ? readJsonFile(casesPath) : {}
    const expected = isFile(expectedPath)
      ? readJsonFile(expectedPath)
      : Array.isArray(cases)
        ? cases
        : (cases as { expected?: unknown }).expected
    if (typeof expected !== 'object' || expected === null)
      throw new M4Error(
        'FORMAT_INVALID',
        `${parityCase.folder}: neither cases.json nor expected.json says what to expect.`,
      )
    const got = compute({ cases: cases as C, expected: expected as Tree, parityCase })
    return { checks: compareTree(expected, got, toleranceOf(parityCase)) }
  }
}

/** "1e-6 absolute unless noted", "1e-4 relative", "1e-3". */
function toleranceOf({ config, folder }: ParityCase): { atol: number; rtol: number } {
  const text = String(config.tolerance ?? '1e-6')
  const size = Number.parseFloat(text)
  if (!(size >= 0)) throw new M4Error('FORMAT_INVALID', `${folder}: the tolerance "${text}" is no number.`)
  // What should be 0 has no relative error.
  return text.includes('relative') ? { atol: 1e-9, rtol: size } : { atol: size, rtol: 0 }
}

/** One value for each key of `like` that fits, made from the number in it. */
function forKeys(like: Tree, pattern: RegExp, value: (k: number) => number): Record<string, number> {
  return Object.fromEntries(
    Object.keys(like).flatMap((key) => {
      const k = pattern.exec(key)?.[1]
      return k === undefined ? [] : [[key, value(Number(k))]]
    }),
  )
}

const numbers = ({ data }: HostTensor): Float64Array => Float64Array.from(data as ArrayLike<number | bigint>, Number)
