/** What the path of a file says about it: its class, perhaps its subject. */

import { M4Error } from '../../core/errors.js'
import type { FindingList } from './findings.js'
import { byCodeUnit } from './media-files.js'

export interface PathFacts {
  readonly label?: string
  readonly subject?: string
}

/** Folders that divide data rather than name classes. */
const SPLIT_NAME = /^(train(ing)?|test(ing)?|val(id(ation)?)?|dev|eval)([_-]?(data|set|images))?$/i

/**
 * Facts of each path below a folder: by `pattern`, else its first folder is the label. Undefined where a pattern does not fit.
 * @throws M4Error `USAGE` for a pattern that is none or has no named group
 */
export function pathFacts(pattern: string | undefined): (path: string) => PathFacts | undefined {
  if (pattern === undefined) return (path) => (path.includes('/') ? { label: path.slice(0, path.indexOf('/')) } : {})
  let expression: RegExp
  try {
    expression = new RegExp(pattern, 'u')
  } catch (error) {
    throw new M4Error('USAGE', `pathPattern ${JSON.stringify(pattern)}: ${(error as Error).message}.`, { cause: error })
  }
  if (!/\(\?<(label|subject)>/.test(pattern))
    throw new M4Error('USAGE', `pathPattern ${JSON.stringify(pattern)} has no group named label or subject.`, {
      hint: 'For example "^(?<label>[^_]+)_".',
    })
  return (path) => {
    const groups = expression.exec(path)?.groups
    if (!groups) return undefined
    const { label, subject } = groups
    return { ...(label ? { label } : {}), ...(subject ? { subject } : {}) }
  }
}

export interface LabelledFile {
  readonly path: string
  readonly label: string
  readonly subject?: string
}

/**
 * Files with their class. Those without one, or that the pattern does not fit, are reported and left out.
 * @throws M4Error `FORMAT_INVALID` where the classes are called train and test
 */
export function labelledFiles(
  folder: string,
  paths: readonly string[],
  pattern: string | undefined,
  findings: FindingList,
): readonly LabelledFile[] {
  const factsOf = pathFacts(pattern)
  const labelled: LabelledFile[] = []
  for (const path of paths) {
    const facts = factsOf(path)
    if (!facts) findings.add('other-file', `${path} does not fit the path pattern; left out.`, { file: path })
    else if (!facts.label) findings.add('missing-label', `${path} lies in no class folder; left out.`, { file: path })
    else labelled.push({ path, ...facts, label: facts.label })
  }
  if (pattern === undefined) refuseSplitFolders(folder, labelled)
  return labelled
}

function refuseSplitFolders(folder: string, files: readonly LabelledFile[]): void {
  const classes = [...new Set(files.map(({ label }) => label))].sort(byCodeUnit)
  if (!classes.length || !classes.every((label) => SPLIT_NAME.test(label))) return
  throw new M4Error('FORMAT_INVALID', `${folder} holds ${classes.join(', ')}, expected one folder a class.`, {
    hint: `Open one of them, ${folder}/${classes.find((label) => /^train/i.test(label)) ?? classes[0]} to train on.`,
    details: { path: folder, folders: classes },
  })
}
