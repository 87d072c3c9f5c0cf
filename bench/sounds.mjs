/**
 * Sounds of `lite`: spoken digits by heads that `m4fm adapter train` makes (the set's own split, and three folds in which nobody who is
 * measured on was heard before), what transcripts say of sounds without speech, and what `match` says of sounds that it never learned.
 *
 *   node bench/sounds.mjs --data <folder of data sets> [--image lite] [--seeds 0,1,2] [--only heads,transcripts,labels]
 */

import { execFile } from 'node:child_process'
import { link, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'

const { values } = parseArgs({
  options: {
    data: { type: 'string' },
    image: { type: 'string', default: 'lite' },
    seeds: { type: 'string', default: '0' },
    only: { type: 'string', default: 'heads,transcripts,labels' },
  },
})
const ROOT = new URL('..', import.meta.url).pathname
const RESULT = join(ROOT, 'bench', 'results', 'sounds.json')
const FOLDS = { theo: 'theo|yweweler', lucas: 'lucas|nicolas', george: 'george|jackson' }
const PARTS = { heads, transcripts, labels }

const result = JSON.parse(await readFile(RESULT, 'utf8').catch(() => '{}'))
for (const part of values.only.split(',')) {
  result[part] = await PARTS[part]()
  result.date = new Date().toISOString().slice(0, 10)
  await writeFile(RESULT, `${JSON.stringify(result, null, 2)}\n`)
  console.log(part, JSON.stringify(result[part], null, 2))
}
process.exit(0)

/** Linear heads on the pooled layers: accuracy as the adapter's own manifest has it. */
async function heads() {
  const recordings = join(values.data, 'fsdd', 'recordings')
  const names = (await readdir(recordings)).filter((name) => name.endsWith('.wav')).sort()
  const isTest = {
    'own split': (name) => /_[0-4]\.wav$/.test(name),
    ...Object.fromEntries(
      Object.values(FOLDS).map((speakers) => [
        `without ${speakers}`,
        (name) => new RegExp(`_(${speakers})_`).test(name),
      ]),
    ),
  }
  const out = []
  for (const seed of values.seeds.split(',').map(Number))
    for (const [split, held] of Object.entries(isTest)) {
      const folder = await mkdtemp(join(tmpdir(), 'm4-sounds-'))
      try {
        for (const name of names) {
          const to = join(folder, held(name) ? 'heldout' : 'taught', `digit ${name[0]}`)
          await mkdir(to, { recursive: true })
          await link(join(recordings, name), join(to, name)).catch(async () =>
            writeFile(join(to, name), await readFile(join(recordings, name))),
          )
        }
        const given = ['--data', join(folder, 'taught'), '--eval', join(folder, 'heldout'), '--seed', String(seed)]
        const adapter = join(folder, 'adapter')
        await promisify(execFile)(
          process.execPath,
          [join(ROOT, 'dist/cli/main.js'), 'adapter', 'train', ...given, '--image', values.image, '--out', adapter],
          { maxBuffer: 1 << 26 },
        )
        const { metric } = JSON.parse(await readFile(join(adapter, 'm4fm.json'), 'utf8'))
        out.push({ split, seed, ...metric })
        console.log(JSON.stringify(out.at(-1)))
      } finally {
        await rm(folder, { recursive: true, force: true })
      }
    }
  return out
}

async function soundsAtHand() {
  const { madeUpSounds } = await import('../dist/train/lite/sound-sets.js')
  const files = async (set, folder, kind) =>
    Promise.all(
      (await readdir(join(values.data, folder)))
        .filter((name) => name.endsWith('.wav'))
        .sort()
        .map(async (name) => ({ set, kind, name, sound: { wav: await readFile(join(values.data, folder, name)) } })),
    )
  return [
    // Another seed than that of training.
    ...madeUpSounds(3, 4).map(({ kind, sound }, i) => ({ set: 'synthetic', kind, name: `${kind} ${i}`, sound })),
    ...(await files('esc50', 'esc50/audio', 'other')),
    ...(await files('imagebind_assets', 'imagebind_assets', 'other')),
    ...(await files('ljspeech', 'ljspeech/wavs', 'speech')),
    ...(await files('speech_samples', 'speech_samples/librispeech/ASR', 'speech')),
  ]
}

/** Of each set: transcripts that are empty or not confident, and those that are believed. */
async function transcripts() {
  return bySet(async (firmware, { sound }) => {
    const { text, confident, parts } = (await firmware.ask({ task: 'transcribe', sound })).output
    const { logProbability, noSpeech } = parts[0]
    return {
      text: text.slice(0, 40),
      verdict: text === '' ? 'empty' : confident ? 'believed' : 'doubted',
      logProbability,
      noSpeech,
    }
  })
}

/** What `match` makes of each: kinds that it learned, and names of things that it never heard. */
async function labels() {
  const kinds = ['speech', 'tone', 'noise', 'clicks', 'silence']
  const things = ['a dog barking', 'a car horn', 'thunder', 'birds singing', 'rain', 'a baby crying']
  return bySet(async (firmware, { sound, kind }) => {
    const ask = async (wanted) =>
      (await firmware.ask({ task: 'match', items: [{ sound }], labels: wanted })).output.matches[0]
    const [known, unknown] = [await ask(kinds), await ask(things)]
    const right = kind !== 'other' && known.label === kind
    return {
      verdict: `kinds ${known.confident ? (right ? 'right' : 'wrong') : 'abstained'}, things ${unknown.confident ? 'answered' : 'abstained'}`,
      kinds: known.label,
      cosine: known.scores[0].similarity,
    }
  })
}

async function bySet(look) {
  const { openFirmware } = await import('../dist/runtime/index.js')
  const firmware = await openFirmware(values.image)
  const seen = {}
  for (const item of await soundsAtHand()) {
    const { verdict, ...rest } = await look(firmware, item)
    const name = `${item.set}: ${item.kind}`
    seen[name] ??= { count: 0, verdicts: {}, items: [] }
    const group = seen[name]
    group.count++
    group.verdicts[verdict] = (group.verdicts[verdict] ?? 0) + 1
    group.items.push({ name: item.name, verdict, ...rest })
  }
  firmware.dispose()
  return seen
}
