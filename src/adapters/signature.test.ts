/** Signatures of packages: whoever changes anything that was signed is found out. */

import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readAdapterPackage, writeAdapterPackage } from './package.js'
import { signedBytes } from './package-manifest.js'
import { signPackage, verifyPackage } from './signature.js'
import { baseOf, factsOf, SAMPLES, trainedLora } from './testing/fixtures.js'
import { peftFiles } from './write-peft.js'

const abi = baseOf(16, 16)
const keys = (namedCurve = 'prime256v1') =>
  generateKeyPairSync('ec', {
    namedCurve,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  })
const author = keys()
const stranger = keys()

let folder: string
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'm4-signature-'))
  await writeAdapterPackage(folder, {
    facts: factsOf(abi),
    peft: peftFiles(abi, trainedLora(abi)),
    evaluation: SAMPLES,
  })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const invalidRequest = expect.objectContaining({ code: 'INVALID_REQUEST' })
const edit = (change: (text: string) => string) =>
  writeFileSync(join(folder, 'm4fm.json'), change(readFileSync(join(folder, 'm4fm.json'), 'utf8')))

test('unsigned, signed, signed by another', async () => {
  expect(await verifyPackage(folder)).toMatchObject({ signed: false, valid: false, trusted: false })
  const before = await readAdapterPackage(folder)
  const { signature } = await signPackage(folder, author.privateKey)
  const { keyId } = signature!
  expect(await verifyPackage(folder)).toEqual({ signed: true, valid: true, trusted: false, keyId })
  expect(await verifyPackage(folder, author.publicKey)).toEqual({ signed: true, valid: true, trusted: true, keyId })
  expect(await verifyPackage(folder, stranger.publicKey)).toMatchObject({ signed: true, valid: false, keyId })
  expect((await readAdapterPackage(folder)).digest).toBe(before.digest)
  await signPackage(folder, stranger.privateKey)
  expect(await verifyPackage(folder, stranger.publicKey)).toMatchObject({ valid: true, trusted: true })
  expect(await verifyPackage(folder, author.publicKey)).toMatchObject({ valid: false, trusted: false })
})

test('a changed field, a changed file, a changed key', async () => {
  await signPackage(folder, author.privateKey)
  edit((text) => text.replace('"version": "1.2.0"', '"version": "9.9.9"'))
  expect(await verifyPackage(folder)).toMatchObject({
    signed: true,
    valid: false,
    problem: expect.stringMatching(/as it was signed/),
  })
  edit((text) => text.replace('9.9.9', '1.2.0'))
  expect(await verifyPackage(folder)).toMatchObject({ valid: true })
  edit((text) => JSON.stringify(JSON.parse(text)))
  expect(await verifyPackage(folder)).toMatchObject({ valid: true })

  const bytes = readFileSync(join(folder, 'eval.jsonl'))
  bytes[3]! ^= 1
  writeFileSync(join(folder, 'eval.jsonl'), bytes)
  expect(await verifyPackage(folder, author.publicKey)).toMatchObject({
    signed: true,
    valid: false,
    trusted: false,
    problem: expect.stringMatching(/eval\.jsonl/),
  })
  bytes[3]! ^= 1
  writeFileSync(join(folder, 'eval.jsonl'), bytes)

  edit((text) => {
    const manifest = JSON.parse(text)
    manifest.signature.publicKey = Buffer.from('no key at all').toString('base64')
    return JSON.stringify(manifest)
  })
  expect(await verifyPackage(folder)).toMatchObject({ valid: false, problem: expect.stringMatching(/not the one/) })
})

test('other kinds of keys', async () => {
  await expect(signPackage(folder, keys('secp384r1').privateKey)).rejects.toThrow(invalidRequest)
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' })
  await expect(signPackage(folder, String(rsa))).rejects.toThrow(invalidRequest)
  await expect(signPackage(folder, 'a password')).rejects.toThrow(invalidRequest)
  await expect(verifyPackage(folder, 'a password')).rejects.toThrow(invalidRequest)
})

const hasOpenssl = (() => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
})()

test.skipIf(!hasOpenssl)('openssl accepts the signature over the canonical bytes', async () => {
  const manifest = await signPackage(folder, author.privateKey)
  const elsewhere = mkdtempSync(join(tmpdir(), 'm4-openssl-'))
  try {
    const write = (name: string, data: string | Uint8Array) => {
      writeFileSync(join(elsewhere, name), data)
      return join(elsewhere, name)
    }
    const key = write('key.pem', author.publicKey)
    const signature = write('signature', Buffer.from(manifest.signature!.value, 'base64'))
    const verify = (bytes: Uint8Array) =>
      execFileSync('openssl', ['dgst', '-sha256', '-verify', key, '-signature', signature, write('data', bytes)], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString()
    expect(verify(signedBytes(manifest))).toMatch(/Verified OK/)
    expect(() => verify(signedBytes({ ...manifest, app: 'org.example.thief' }))).toThrow()
  } finally {
    rmSync(elsewhere, { recursive: true, force: true })
  }
})
