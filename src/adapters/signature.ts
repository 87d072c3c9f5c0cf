/**
 * Signatures of adapter packages: ECDSA on P-256 with SHA-256 (FIPS 186-5) over the canonical `m4fm.json` without its signature.
 * The files are covered by their digests in it. `openssl dgst -sha256 -verify` accepts the same signature over the same bytes.
 */

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isM4Error, M4Error } from '../core/errors.js'
import { atomicWriteFile } from '../core/files.js'
import { sha256Hex } from '../core/hash.js'
import { readPackageFiles, requireSmall } from './package.js'
import {
  type AdapterManifest,
  formatManifest,
  PACKAGE_FILE,
  type PackageSignature,
  parsePackageManifest,
  signedBytes,
} from './package-manifest.js'

export interface PackageVerification {
  readonly signed: boolean
  /** The signature is that of the key it names (or of the key that was given), and every file is as signed. */
  readonly valid: boolean
  /** A key was given and it is the one that signed. Without a given key anybody may have signed. */
  readonly trusted: boolean
  /** sha-256 of the public key that the signature names. */
  readonly keyId: string | undefined
  /** Why it is not valid. */
  readonly problem?: string
}

/**
 * Signs the package in `folder`: `m4fm.json` is written again with its signature, one that was there is replaced.
 * @param privateKeyPem P-256, PKCS#8 or SEC 1
 * @throws M4Error as `readAdapterPackage`; `INVALID_REQUEST` for another kind of key; `DISK_FULL`, `IO`
 */
export async function signPackage(folder: string, privateKeyPem: string): Promise<AdapterManifest> {
  const { path, manifest, contents } = await readPackageFiles(folder)
  const signed = signManifest(manifest, privateKeyPem)
  const bytes = formatManifest(signed)
  const sizes = new Map([...contents].map(([name, content]) => [name, content.length]))
  requireSmall(path, sizes.set(PACKAGE_FILE, bytes.length), 'INVALID_REQUEST')
  await atomicWriteFile(join(path, PACKAGE_FILE), bytes)
  return signed
}

/** The manifest with its signature. @throws M4Error `INVALID_REQUEST` */
export function signManifest(manifest: AdapterManifest, privateKeyPem: string): AdapterManifest {
  const key = p256(() => createPrivateKey(privateKeyPem), 'private')
  const der = spki(createPublicKey(key))
  const signature: PackageSignature = {
    algorithm: 'ecdsa-p256-sha256',
    keyId: sha256Hex(der),
    publicKey: der.toString('base64'),
    value: sign('sha256', signedBytes(manifest), key).toString('base64'),
  }
  const { signature: _, ...rest } = manifest
  return { ...rest, signature }
}

/**
 * Whether the package is as its signer left it. What is wrong with it is a result, not an error.
 * @param publicKeyPem the key that must have signed; without it the key in the package is used, which proves only that all
 *   of it is from one hand
 * @throws M4Error `FILE_NOT_FOUND`, `FORMAT_INVALID` when it is no package, `INVALID_REQUEST` for another kind of key
 */
export async function verifyPackage(folder: string, publicKeyPem?: string): Promise<PackageVerification> {
  const given = publicKeyPem === undefined ? undefined : p256(() => createPublicKey(publicKeyPem), 'public')
  try {
    const { manifest } = await readPackageFiles(folder)
    return verifyManifest(manifest, given)
  } catch (error) {
    if (!isM4Error(error, 'DIGEST_MISMATCH')) throw error
    const { signature } = parsePackageManifest(await readFile(join(folder, PACKAGE_FILE), 'utf8'))
    const signed = signature !== undefined
    return { signed, valid: false, trusted: false, keyId: signature?.keyId, problem: error.message }
  }
}

function verifyManifest(manifest: AdapterManifest, given: KeyObject | undefined): PackageVerification {
  const { signature } = manifest
  if (!signature)
    return { signed: false, valid: false, trusted: false, keyId: undefined, problem: 'The package is not signed.' }
  const { keyId } = signature
  const no = (problem: string): PackageVerification => ({ signed: true, valid: false, trusted: false, keyId, problem })
  const der = Buffer.from(signature.publicKey, 'base64')
  if (sha256Hex(der) !== keyId) return no('The key in the signature is not the one that it names.')
  if (given && sha256Hex(spki(given)) !== keyId) return no(`It was signed by another key, ${keyId}.`)
  let key: KeyObject
  try {
    key = given ?? p256(() => createPublicKey({ key: der, format: 'der', type: 'spki' }), 'public')
  } catch (error) {
    return no((error as Error).message)
  }
  if (!verify('sha256', signedBytes(manifest), key, Buffer.from(signature.value, 'base64')))
    return no(`${PACKAGE_FILE} is not as it was signed.`)
  return { signed: true, valid: true, trusted: given !== undefined, keyId }
}

const spki = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' })

/** @throws M4Error `INVALID_REQUEST` */
function p256(read: () => KeyObject, kind: string): KeyObject {
  let key: KeyObject
  try {
    key = read()
  } catch (cause) {
    throw new M4Error('INVALID_REQUEST', `The ${kind} key cannot be read: ${(cause as Error).message}.`, {
      hint: 'Expected PEM of an ECDSA key on P-256, e.g. from `openssl ecparam -genkey -name prime256v1`.',
      cause,
    })
  }
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (key.asymmetricKeyType === 'ec' && curve === 'prime256v1') return key
  throw new M4Error(
    'INVALID_REQUEST',
    `The ${kind} key is ${key.asymmetricKeyType ?? 'unknown'}${curve ? ` on ${curve}` : ''}, expected ECDSA on P-256.`,
    { hint: 'Make one with `openssl ecparam -genkey -name prime256v1`.' },
  )
}
