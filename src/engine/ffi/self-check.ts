/** A graph so small that it is written inline: `y = x + x`, float32[N], ONNX IR 10, opset 21. */

/** ModelProto, 92 bytes. A plain array, so that a browser or a bundler needs no Buffer. */
export const DOUBLING_MODEL: Uint8Array = Uint8Array.from(
  atob(
    'CAoSAXQ6PAoTCgF4CgF4EgF5GgF5IgNBZGQ6ABIBZ1oQCgF4EgsKCQgBEgUKAxIBTmIQCgF5EgsKCQgBEgUKAxIBTkIECgAQFUIRCg1jb20ubWljcm9zb2Z0EAE=',
  ),
  (character) => character.charCodeAt(0),
)
