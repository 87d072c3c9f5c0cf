/** Small functions out of operators that are there anyway: each operator type costs an accelerator a kernel (the paper's Figure 14). */

import type { Scope, Value } from '../graph/index.js'

/** min(max(x, low), high) in float32 */
export function clamp(scope: Scope, x: Value, low: number, high: number, name: string): Value {
  return scope.op('Min', [scope.op('Max', [x, scope.float32(low)], {}, `${name}/low`), scope.float32(high)], {}, name)
}

/** max(x, -x) in float32 */
export function absolute(scope: Scope, x: Value, name: string): Value {
  return scope.op('Max', [x, scope.op('Sub', [scope.float32(0), x], {}, `${name}/negative`)], {}, name)
}
