/** Versions that the manifest records; test/packaging checks them against package.json. */

export const BUILT_WITH = { m4fm: '0.1.0', onnxruntime: '1.30.0' } as const
