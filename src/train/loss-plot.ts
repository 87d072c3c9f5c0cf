/** The loss over the steps, as an SVG that stands by itself. */

export interface LossCurve {
  readonly title: string
  readonly losses: readonly number[]
  readonly evaluations: readonly { readonly step: number; readonly loss: number }[]
  /** Step whose parameters were kept. */
  readonly bestStep?: number
}

const [WIDTH, HEIGHT] = [720, 400]
const BOX = { left: 64, right: WIDTH - 20, top: 56, bottom: HEIGHT - 48 }

const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[c]!)

/** A running mean over about a twentieth of the steps, drawn over the single steps. */
function smoothed(losses: readonly number[]): number[] {
  const share = 1 / Math.max(1, losses.length / 20)
  let mean = losses[0] ?? 0
  return losses.map((loss) => {
    mean += (loss - mean) * share
    return mean
  })
}

/** Round numbers between two limits, about five. */
function ticks(low: number, high: number): number[] {
  const rough = (high - low) / 5 || 1
  const unit = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((times) => times * unit).find((size) => size >= rough)!
  const first = Math.ceil(low / step)
  const count = Math.floor(high / step) - first + 1
  return Array.from({ length: Math.max(0, count) }, (_, i) => (first + i) * step)
}

const short = (value: number) => String(Number(value.toPrecision(4)))

export function lossPlot({ title, losses, evaluations, bestStep }: LossCurve): string {
  const finite = [...losses, ...evaluations.map(({ loss }) => loss)].filter(Number.isFinite)
  const low = Math.min(0, ...finite)
  const high = Math.max(low + 1e-6, ...finite)
  const last = Math.max(losses.length, 2)
  const x = (step: number) => BOX.left + ((step - 1) / (last - 1)) * (BOX.right - BOX.left)
  const y = (loss: number) => BOX.bottom - ((loss - low) / (high - low)) * (BOX.bottom - BOX.top)
  const point = (step: number, loss: number) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`
  const line = (values: readonly number[]) =>
    values.flatMap((loss, i) => (Number.isFinite(loss) ? [point(i + 1, loss)] : [])).join(' ')
  const grid = ticks(low, high).map(
    (value) =>
      `<line x1="${BOX.left}" x2="${BOX.right}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}" class="grid"/>` +
      `<text x="${BOX.left - 8}" y="${(y(value) + 4).toFixed(1)}" text-anchor="end">${short(value)}</text>`,
  )
  const steps = ticks(1, last).map(
    (value) => `<text x="${x(value).toFixed(1)}" y="${BOX.bottom + 18}" text-anchor="middle">${short(value)}</text>`,
  )
  const dots = evaluations.map(
    ({ step, loss }) =>
      `<circle cx="${x(step).toFixed(1)}" cy="${y(loss).toFixed(1)}" r="${step === bestStep ? 6 : 4}" class="${step === bestStep ? 'best' : 'held'}"><title>step ${step}: ${short(loss)}</title></circle>`,
  )
  const held = evaluations.map(({ step, loss }) => point(step, loss)).join(' ')
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">
<style>
  svg { background: #fff; font: 13px system-ui, sans-serif; fill: #333 }
  .grid { stroke: #e3e3e3 } .each { fill: none; stroke: #b9cbe8 } .mean { fill: none; stroke: #1f5fbf; stroke-width: 2.5 }
  .heldLine { fill: none; stroke: #c2410c; stroke-dasharray: 4 4 } .held { fill: #c2410c } .best { fill: #c2410c; stroke: #333; stroke-width: 2 }
  .title { font-size: 16px; font-weight: 600 }
</style>
<text x="${BOX.left}" y="22" class="title">${escaped(title)}</text>
<line x1="${BOX.left}" x2="${BOX.left + 24}" y1="40" y2="40" class="mean"/><text x="${BOX.left + 30}" y="44">training loss, running mean</text>
<circle cx="${BOX.left + 236}" cy="40" r="4" class="held"/><text x="${BOX.left + 246}" y="44">held-out loss${bestStep === undefined ? '' : ` (kept: step ${bestStep})`}</text>
${grid.join('\n')}
${steps.join('\n')}
<text x="${BOX.right}" y="${BOX.bottom + 36}" text-anchor="end">step</text>
<polyline points="${line(losses)}" class="each"/>
<polyline points="${line(smoothed(losses))}" class="mean"/>
<polyline points="${held}" class="heldLine"/>
${dots.join('\n')}
</svg>
`
}
