/**
 * `npm run demo`: what is missing is pulled, built and flashed; then five requests show paths 1, 2 and 3. Under `--json` stdout
 * is one array of `{path, task, input, output, modules, ms}`. Runs in a checkout: its inputs are in `samples/`.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { m4fmHome, wrapSystemError } from '../core/index-node.js'
import type { Answer, Outputs, Request, RequestOf, Task } from '../runtime/requests.js'
