/** Section of the report: the paper's model at full size, one request on each path. */

import { table } from './markdown.mjs'

const gb = (bytes) => (bytes / 1e9).toFixed(2)

export function fullSizeSection({ data }) {
  const rows = data.results.map(({ title, path, modules, ms, stages, residentMb, anonymousMb }) => [
    path,
    title,
    modules.map(({ role, weightBytes }) => `${role} ${gb(weightBytes)}`).join(', '),
    (ms / 1000).toFixed(1),
    stages.map(({ name, ms: stageMs }) => `${name} ${stageMs.toFixed(0)}`).join(', '),
    residentMb.toFixed(0),
    anonymousMb.toFixed(0),
  ])
  return [
    `\`${data.image}\`: ${gb(data.parameters)} billion parameters, ${data.operatorTypes} operator types, weights **${data.weights.toUpperCase()}**: sizes and times count, answers do not. Modules stay awake from one request to the next (at the end ${data.awake.join(', ')}); the backbone's weights are prepacked and mapped, so its memory is file-backed. The paper names 7.5 GB at INT4 with everything resident.`,
    table(['path', 'request', 'modules woken, GB of weights', 's', 'stages, ms', 'resident MB', 'anonymous MB'], rows),
  ].join('\n\n')
}

export function fullSizeRow({ data }) {
  const [last] = data.results.slice(-1)
  const compared = `${data.image}, all modules awake; the paper: 7.5 GB`
  return [
    'memory at full size',
    compared,
    `${(last.peakMb / 1024).toFixed(1)} GiB peak, ${(last.anonymousMb / 1024).toFixed(1)} GiB anonymous`,
  ]
}
