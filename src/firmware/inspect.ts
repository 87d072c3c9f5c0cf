/** What an image is, as plain data and as a page for people. Reads only manifest.json: no weights are opened. */

import { resolve } from 'node:path'
import { readManifest } from './image.js'
import { type Abi, type Manifest, manifestDigest, type Provenance, ROLES, type Role } from './manifest.js'

export interface Inspection {
  readonly path: string
  readonly digest: string
  readonly name: string
  readonly version: string
  readonly rollbackIndex: number
  readonly weights: Manifest['weights']
  readonly builtWith: Manifest['builtWith']
  readonly abi: Abi
  /** In the order of the paper's table. */
  readonly modules: readonly ModuleInspection[]
  readonly parameters: number
  /** All blobs, each once; prepacked files of a slot not counted. */
  readonly totalBytes: number
  readonly operators: Manifest['operators']
  readonly provenance: readonly Provenance[]
  /** SPDX ids, sorted, each once. */
  readonly licences: readonly string[]
}

export interface ModuleInspection {
  readonly role: Role
  readonly architecture: string
  /** What it is, e.g. `Whisper base.en`. */
  readonly title: string
  readonly parameters: number
  readonly weightBytes: number
  readonly quantisation: string
  readonly graphs: readonly {
    readonly name: string
    readonly bytes: number
    readonly inputs: readonly string[]
    readonly outputs: readonly string[]
  }[]
  /** Purposes of the tables: `tokenizer`, … */
  readonly files: readonly string[]
}

/** Facts of the image in folder `path`. @throws M4Error `FILE_NOT_FOUND`, `IMAGE_INVALID` */
export async function inspectImage(path: string): Promise<Inspection> {
  const root = resolve(path)
  return { path: root, ...inspectManifest(await readManifest(root)) }
}

/** The same facts of a manifest that is at hand. */
export function inspectManifest(manifest: Manifest): Omit<Inspection, 'path'> {
  const { name, version, rollbackIndex, weights, builtWith, abi, operators, provenance } = manifest
  const modules = ROLES.flatMap((role): ModuleInspection[] => {
    const module = manifest.modules[role]
    if (!module) return []
    const { architecture, title, parameters, weightBytes, quantisation } = module
    const graphs = Object.entries(module.graphs).map(([graph, { model, data, inputs, outputs }]) => {
      const bytes = [...new Set([model, ...data])].reduce((sum, blob) => sum + manifest.blobs[blob]!.bytes, 0)
      return { name: graph, bytes, inputs, outputs }
    })
    return [
      {
        role,
        architecture,
        title,
        parameters,
        weightBytes,
        quantisation,
        graphs,
        files: Object.keys(module.files).sort(),
      },
    ]
  })
  return {
    digest: manifestDigest(manifest),
    name,
    version,
    rollbackIndex,
    weights,
    builtWith,
    abi,
    modules,
    parameters: modules.reduce((sum, module) => sum + module.parameters, 0),
    totalBytes: Object.values(manifest.blobs).reduce((sum, { bytes }) => sum + bytes, 0),
    operators,
    provenance,
    licences: [...new Set(provenance.map(({ licence }) => licence))].sort(),
  }
}

/** A page for people: aligned, sizes in decimal units. */
export function formatInspection(image: Omit<Inspection, 'path'>): string {
  const { abi, builtWith, operators } = image
  const random = image.weights === 'random' ? '  random weights: measures size and speed only, never accuracy' : ''
  const blocks = [
    table([
      ['image', `${image.name} ${image.version}${random}`],
      ['digest', image.digest],
      ['rollback index', String(image.rollbackIndex)],
      ['built with', `m4fm ${builtWith.m4fm}, ONNX Runtime ${builtWith.onnxruntime}`],
      ['size', `${formatBytes(image.totalBytes)}, ${formatCount(image.parameters)} parameters`],
      [
        'ABI',
        `${abi.id}: ${abi.layers} layers, width ${abi.width}, ${abi.vocabulary} tokens, head width ${abi.headWidth}`,
      ],
      ['adapter sites', Object.entries(abi.sites).map(formatSite).join(', ') || 'none'],
    ]),
    `modules\n${indent(
      table([
        ['role', 'architecture', 'parameters', 'size', 'weights', 'what'],
        ...image.modules.map(({ role, architecture, title, parameters, weightBytes, quantisation }) => [
          role,
          architecture,
          formatCount(parameters),
          formatBytes(weightBytes),
          quantisation,
          title,
        ]),
      ]),
    )}`,
    `graphs\n${indent(image.modules.flatMap(formatGraphs).join('\n'))}`,
    `operators: ${operators.types.length} types\n${indent(formatCensus(operators.counts))}`,
    `provenance (licences: ${image.licences.join(', ') || 'none stated'})\n${indent(image.provenance.map(formatSource).join('\n'))}`,
  ]
  return `${blocks.join('\n\n')}\n`
}

const formatSite = ([name, { path, parts }]: [string, Abi['sites'][string]]): string =>
  `${name} at ${path} (${parts.map((part) => part.name).join('|')})`

/** Only the first few layers' worth of names: a decoder has over a hundred inputs that differ in the layer number. */
const MAX_PORTS = 6

function formatGraphs({ role, graphs }: ModuleInspection): string[] {
  const ports = (list: readonly string[]) =>
    list.length > MAX_PORTS
      ? `${list.slice(0, MAX_PORTS).join(', ')}, … ${list.length - MAX_PORTS} more`
      : list.join(', ') || 'none'
  return graphs.map(({ name, bytes, inputs, outputs }) =>
    [`${role}.${name}  ${formatBytes(bytes)}`, `  in   ${ports(inputs)}`, `  out  ${ports(outputs)}`].join('\n'),
  )
}

const formatCensus = (counts: Readonly<Record<string, number>>): string =>
  table(
    Object.entries(counts)
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
      .map(([op, count]) => [op, String(count)]),
  )

const formatSource = ({ role, title, licence, bytes, sha256, uris, publisher, note }: Provenance): string =>
  [
    `${role}: ${title}${publisher ? ` by ${publisher}` : ''} (${licence})`,
    `  ${formatBytes(bytes)}, sha256 ${sha256}`,
    ...uris.map((uri) => `  ${uri}`),
    ...(note ? [`  note: ${note}`] : []),
  ].join('\n')

/** 1_234_567 → `1.23 MB`. Decimal units, as on a disk's label. */
export function formatBytes(bytes: number): string {
  return bytes < 1000 ? `${bytes} B` : scaled(bytes, ['kB', 'MB', 'GB', 'TB'])
}

/** 1_100_000_000 → `1.10 B` (billion). */
export function formatCount(count: number): string {
  return count < 1000 ? String(count) : scaled(count, ['K', 'M', 'B', 'T'])
}

function scaled(value: number, units: readonly string[]): string {
  let unit = 0
  let rest = value / 1000
  // 999.5 and more would print as "1000" of the smaller unit.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000
    unit++
  }
  return `${rest >= 999.5 ? Math.round(rest) : rest.toPrecision(3)} ${units[unit]}`
}

function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length)
    })
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

const indent = (text: string): string => text.replace(/^(?=.)/gm, '  ')
