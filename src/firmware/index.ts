/** Firmware images: recipes, build, manifest, verify, inspect, flash. */

export { type BuildOptions, type BuiltImage, buildFirmware, imageName, weightsOf } from './build.js'
export * from './device.js'
export * from './flash.js'
export * from './image.js'
export * from './inspect.js'
export * from './manifest.js'
export { graphsOfRecipe } from './recipe-graphs.js'
export { recipeFrom } from './recipes/local.js'
export { randomRecipe } from './recipes/random.js'
export {
  findRecipe,
  type GraphRecipe,
  type ModuleRecipe,
  RECIPES,
  type Recipe,
  sourcesOf,
  type TokenizerRecipe,
} from './recipes.js'
export * from './self-test.js'
export * from './verify.js'
