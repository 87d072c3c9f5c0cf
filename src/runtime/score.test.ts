/** Label plans and calibration, without a model. */

import { describe, expect, test } from 'vitest'
import { loadTokenizer, tinyTokenizer } from '../tokenizers/index.js'
import { calibrate, checkCalibration, planLabels, rankLabels } from './score.js'

const tokenizer = loadTokenizer(tinyTokenizer())
const prompt = { shared: '', own: 'A:' }
const line = { between: ' ', end: '\n' }
const texts = (continuations: readonly (readonly number[])[]) =>
  continuations.map((ids) => tokenizer.decode([...ids], { keepSpecial: true, continuing: true }))

describe('planLabels', () => {
  test('prompt and continuations', () => {
    const { segments, continuations } = planLabels(tokenizer, prompt, ['yes', 'no'], line)
    expect(tokenizer.decode([...segments[0]!.ids!])).toBe('A:')
    expect(texts(continuations)).toEqual([' yes', ' no'])
  })

  test('where one label begins another, all get an end', () => {
    expect(texts(planLabels(tokenizer, prompt, ['Science', 'Science and technology'], line).continuations)).toEqual([
      ' Science\n',
      ' Science and technology\n',
    ])
    const template = { between: '', end: 2 }
    expect(texts(planLabels(tokenizer, prompt, ['a', 'ab'], template).continuations)).toEqual(['a</s>', 'ab</s>'])
  })

  test('a token across the border of prompt and label belongs to the label', () => {
    // A tokenizer whose only merge is ':' + ' ': the prompt alone ends in ':', with a label it does not.
    const merged = loadTokenizer({
      ...tinyTokenizer(),
      model: {
        ...tinyTokenizer().model,
        vocab: { ...tinyTokenizer().model.vocab, ':Ġ': 259 },
        merges: [[':', 'Ġ']],
      },
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
    })
    const { segments, continuations } = planLabels(merged, prompt, ['yes', 'no'], line)
    expect(merged.decode([...segments[0]!.ids!])).toBe('A')
    expect(continuations.map((ids) => ids[0])).toEqual([259, 259])
  })
})

describe('calibration', () => {
  const labels = ['good', 'bad']
  const basis = { prompt: 'p', adapter: null, image: 'd' }

  test('turns a biased model round', () => {
    // The model finds "good" likelier whatever it reads, yet less so for this text.
    const calibration = calibrate(
      [
        [-1, -5],
        [-1.5, -5.5],
        [-0.5, -4.5],
      ],
      labels,
      basis,
    )
    expect(calibration).toMatchObject({ means: [-1, -5], texts: 3 })
    expect(rankLabels(labels, [-2, -4])[0]!.label).toBe('good')
    const [first, second] = rankLabels(labels, [-2, -4], calibration)
    expect(first).toMatchObject({ label: 'bad', logProbability: -4, score: 1 })
    expect(second).toMatchObject({ label: 'good', score: -1 })
    expect(first!.probability).toBeCloseTo(1 / (1 + Math.exp(-2)), 12)
    expect(first!.probability + second!.probability).toBeCloseTo(1, 12)
  })

  test.each([
    ['labels', ['bad', 'good'], basis],
    ['prompt', labels, { ...basis, prompt: 'q' }],
    ['adapter', labels, { ...basis, adapter: 'x' }],
    ['image', labels, { ...basis, image: 'e' }],
  ])('made for other %s is refused', (what, wanted, wantedBasis) => {
    const calibration = calibrate([[0, 0]], labels, basis)
    expect(() => checkCalibration(calibration, wanted, wantedBasis)).toThrow(new RegExp(`made for ${what}`))
    expect(() => checkCalibration(calibration, labels, basis)).not.toThrow()
  })
})
