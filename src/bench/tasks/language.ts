/** T1–T13: the backbone alone (path 2). Small models follow lines with examples; a chat template serves them worse. */

import type { LineExample } from '../../runtime/requests.js'
import { EMOJIS, EMOTIONS } from './labels.js'
import type { BenchTask } from './types.js'

interface Lines {
  readonly instruction: string
  readonly names: { readonly input: string; readonly output: string }
  readonly examples: readonly LineExample[]
  readonly maxTokens: number
}

type Entry = Pick<BenchTask, 'id' | 'title' | 'dataSet' | 'metric'> & { readonly sample: string }

const common = { path: 2, takes: { of: 'text' }, needs: ['backbone'] } as const

/** A text answered by a text. */
const lines = ({ sample, ...entry }: Entry, ask: Lines): BenchTask => ({
  ...entry,
  ...common,
  ask: { task: 'complete', ...ask },
  sample: { text: sample },
})

/** A text and one of some labels. */
const labelled = ({ sample, ...entry }: Entry, labels: readonly string[], template: string): BenchTask => ({
  ...entry,
  ...common,
  ask: { task: 'classify', labels, template },
  sample: { text: sample },
})

export const LANGUAGE: readonly BenchTask[] = [
  {
    id: 'T1',
    title: 'Input word prediction',
    dataSet: 'Penn Treebank',
    metric: 'accuracy',
    ...common,
    ask: { task: 'generate', maxTokens: 4 },
    sample: { text: 'The company said its profit rose in the third' },
  },
  lines(
    {
      id: 'T2',
      title: 'Question answering',
      dataSet: 'SQuAD 2.0',
      metric: 'F1',
      sample: 'The Danube rises in the Black Forest and flows into the Black Sea. | Where does the Danube rise?',
    },
    {
      instruction: 'Answer the question with words of the text.',
      names: { input: 'Text and question', output: 'Answer' },
      examples: [
        { input: 'Marie Curie was born in Warsaw in 1867. | When was Marie Curie born?', output: '1867' },
        { input: 'The bridge was built by a Swiss engineer. | Who built the bridge?', output: 'a Swiss engineer' },
      ],
      maxTokens: 32,
    },
  ),
  lines(
    {
      id: 'T3',
      title: 'Question answering, Arabic',
      dataSet: 'TyDi QA',
      metric: 'F1',
      sample: 'ولدت ماري كوري في وارسو عام 1867. | متى ولدت ماري كوري؟',
    },
    {
      instruction: 'Answer the question with words of the text.',
      names: { input: 'Text and question', output: 'Answer' },
      examples: [{ input: 'القاهرة عاصمة مصر. | ما هي عاصمة مصر؟', output: 'القاهرة' }],
      maxTokens: 48,
    },
  ),
  lines(
    {
      id: 'T4',
      title: 'Machine translation',
      dataSet: 'WMT22 en-de',
      metric: 'BLEU',
      sample: 'The weather is beautiful today.',
    },
    {
      instruction: 'Translate the following sentences from English to German.',
      names: { input: 'English', output: 'German' },
      examples: [
        { input: 'Good morning, how are you?', output: 'Guten Morgen, wie geht es Ihnen?' },
        { input: 'The train leaves at noon.', output: 'Der Zug fährt um zwölf Uhr ab.' },
      ],
      maxTokens: 96,
    },
  ),
  labelled(
    {
      id: 'T5',
      title: 'Emoji prediction',
      dataSet: 'tweet_eval emoji',
      metric: 'accuracy',
      sample: 'Christmas morning with the family',
    },
    EMOJIS,
    'Tweet: {}\nEmoji: ',
  ),
  labelled(
    {
      id: 'T6',
      title: 'Emotion prediction',
      dataSet: 'go_emotions',
      metric: 'accuracy',
      sample: 'Thank you so much, you made my day!',
    },
    EMOTIONS,
    'Text: {}\nEmotion: ',
  ),
  labelled(
    {
      id: 'T7',
      title: 'Sentiment analysis',
      dataSet: 'tweet_eval sentiment',
      metric: 'accuracy',
      sample: 'The concert tomorrow is cancelled, I cannot believe it',
    },
    ['negative', 'neutral', 'positive'],
    'Tweet: {}\nSentiment: ',
  ),
  labelled(
    {
      id: 'T8',
      title: 'Text classification',
      dataSet: 'AG News',
      metric: 'accuracy',
      sample: 'Shares of the chip maker fell after it cut its forecast for the quarter.',
    },
    ['world', 'sports', 'business', 'technology'],
    '### Sentence:\n{}\n\n### Category:\n',
  ),
  labelled(
    {
      id: 'T9',
      title: 'Text classification',
      dataSet: 'SST-2',
      metric: 'accuracy',
      sample: 'a warm and witty film that earns its tears',
    },
    ['negative', 'positive'],
    'Review: {}\nSentiment: ',
  ),
  lines(
    {
      id: 'T10',
      title: 'Grammatical error correction',
      dataSet: 'JFLEG',
      metric: 'BLEU',
      sample: 'He go to school every days.',
    },
    {
      instruction: 'Correct the grammar of each sentence.',
      names: { input: 'Sentence', output: 'Corrected' },
      examples: [
        { input: 'She have two cat.', output: 'She has two cats.' },
        { input: 'I am agree with you.', output: 'I agree with you.' },
      ],
      maxTokens: 96,
    },
  ),
  lines(
    {
      id: 'T11',
      title: 'Text summary',
      dataSet: 'CNN/DailyMail',
      metric: 'BLEU',
      sample:
        'A storm hit the coast on Monday night. Roofs were torn from houses and trees fell on cars. Nobody was hurt, the mayor said, and power was back by morning.',
    },
    {
      instruction: 'Summarise each article in one sentence.',
      names: { input: 'Article', output: 'Summary' },
      examples: [
        {
          input:
            'The city will close its oldest bridge in May for repairs that take two years. Ferries will run instead.',
          output: 'The oldest bridge of the city closes in May for two years of repairs.',
        },
      ],
      maxTokens: 96,
    },
  ),
  lines(
    {
      id: 'T12',
      title: 'Code document generation',
      dataSet: 'CodeSearchNet',
      metric: 'BLEU',
      sample: 'def area(radius): return 3.14159 * radius ** 2',
    },
    {
      instruction: 'Say in one line what each function does.',
      names: { input: 'Code', output: 'Documentation' },
      examples: [
        { input: 'def add(a, b): return a + b', output: 'Returns the sum of two numbers.' },
        { input: 'def is_empty(items): return len(items) == 0', output: 'Tells whether a list has no items.' },
      ],
      maxTokens: 48,
    },
  ),
  lines(
    {
      id: 'T13',
      title: 'Code generation',
      dataSet: 'Shellcode_IA32',
      metric: 'BLEU',
      sample: 'move the value 5 into eax',
    },
    {
      instruction: 'Write an assembly code according to the sentence requirements.',
      names: { input: 'Sentence', output: 'Assembly' },
      examples: [
        { input: 'push eax to the stack', output: 'push eax' },
        { input: 'zero out ebx', output: 'xor ebx, ebx' },
      ],
      maxTokens: 32,
    },
  ),
]
