/**
 * The paper's M4 at full size, weights random: one request on each of the four paths through the flashed image, everything kept
 * awake; time per stage and memory after each. Build and flash it first:
 *
 *   m4fm build standard --random --quant int4 && m4fm flash standard-random-int4 --prepack backbone
 *   node bench/full-size.mjs [image, default: device]
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { openFirmware } from '../dist/runtime/index.js'
import { memoryMb } from './lib/memory.mjs'
import { writeResult } from './lib/results.mjs'

const sample = (name) => fileURLToPath(new URL(`../samples/${name}`, import.meta.url))
const firmware = await openFirmware(process.argv[2] ?? 'device')
const { manifest } = firmware
const results = []

async function ask(title, request) {
  const startMs = performance.now()
  const { output, report } = await firmware.ask(request)
  const { residentMb, anonymousMb } = memoryMb()
  const line = {
    title,
    path: report.path,
    random: report.random ?? false,
    modules: report.modules.map(({ role, weightBytes, loadMs }) => ({ role, weightBytes, loadMs })),
    stages: report.stages,
    ms: performance.now() - startMs,
    residentMb,
    anonymousMb,
    peakMb: process.resourceUsage().maxRSS / 1024,
  }
  results.push(line)
  console.log(`${title} (path ${line.path}${line.random ? ', RANDOM WEIGHTS' : ''}): ${(line.ms / 1000).toFixed(1)} s`)
  console.log(
    `  ${line.modules.map(({ role, weightBytes }) => `${role} ${(weightBytes / 1e9).toFixed(2)} GB`).join(', ')}`,
  )
  console.log(`  ${line.stages.map(({ name, ms }) => `${name} ${ms.toFixed(0)} ms`).join(', ')}`)
  console.log(
    `  resident ${residentMb.toFixed(0)} MB, of it anonymous ${anonymousMb.toFixed(0)} MB, peak so far ${line.peakMb.toFixed(0)} MB`,
  )
  return output
}

// What the first request paints is what later ones look at.
const picture = await ask('text → picture, 2 steps', { task: 'paint', prompt: 'a dog', steps: 2, seed: 1 })
await ask('text → speech', { task: 'speak', text: 'Good morning.', seed: 1 })
await ask('picture among labels', { task: 'match', items: [{ picture }], labels: ['a dog', 'a car', 'a bird'] })
await ask('sound among labels', {
  task: 'match',
  items: [{ sound: { wav: readFileSync(sample('question.wav')) } }],
  labels: ['speech', 'music'],
})
await ask('text, 16 tokens', { task: 'generate', prompt: 'The capital of France is', maxTokens: 16 })
await ask('spoken question, 16 tokens', {
  task: 'listen',
  sound: { wav: readFileSync(sample('question.wav')) },
  template: 'Question: {}\nAnswer:',
  maxTokens: 16,
})
await ask('picture described, 16 tokens', {
  task: 'describe',
  items: [{ picture }],
  question: 'What is it?',
  maxTokens: 16,
})
const parameters = Object.values(manifest.modules).reduce((sum, module) => sum + module.parameters, 0)
writeResult('full-size', {
  image: manifest.name,
  weights: manifest.weights,
  parameters,
  operatorTypes: manifest.operators.types.length,
  awake: firmware.loaded(),
  results,
})
console.log(
  `${manifest.name}: ${(parameters / 1e9).toFixed(2)} B parameters, ${manifest.operators.types.length} operator types`,
)
firmware.dispose()
