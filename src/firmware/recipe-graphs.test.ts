/** What recipes say of themselves without any weight: operators, parameters, sizes. */

import { describe, expect, test } from 'vitest'
import { censusOf, countWeights } from '../graph/index.js'
import { graphsOfRecipe } from './recipe-graphs.js'
import { randomRecipe } from './recipes/random.js'
import { findRecipe, RECIPES, sourcesOf } from './recipes.js'

describe('the standard recipe', () => {
  const graphs = graphsOfRecipe(findRecipe('standard'))

  test('its operator types, adapters and front ends included, stay far below the 39 of the paper', () => {
    const census = censusOf(graphs.map(({ graph }) => graph))
    console.log(census.types.length, census.types.join(' '), census.total)
    for (const t of census.types) {
      const u = graphs.filter(({ graph }) =>
        graph.nodes.some((n) => (n.domain && n.domain !== 'ai.onnx' ? n.domain + '.' + n.op : n.op) === t),
      )
      if (u.length < 6) console.log(t, census.counts[t], u.map((x) => x.role + '.' + x.name).join(' '))
    }
    console.log(graphs.map(({ role, name, graph }) => `${role}.${name} ${countWeights(graph)}`).join('\n'))
    expect(census.types.length).toBeLessThanOrEqual(39)
  })
})

test('every recipe can be built with random weights, and names its licences', () => {
  for (const recipe of Object.values(RECIPES)) {
    expect(graphsOfRecipe(recipe).length).toBeGreaterThan(2)
    expect(sourcesOf(randomRecipe(recipe))).toEqual([])
    for (const { licence, uris } of sourcesOf(recipe)) {
      expect(licence).toMatch(/^[\w.-]+$/)
      for (const uri of uris) expect(uri).toMatch(/^(npm|hf|https):/)
    }
  }
})
