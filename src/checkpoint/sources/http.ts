/**
 * One GET as a stream: redirects, proxies, idle time-out, typed errors. `fetch` of Node 20 cannot use a proxy without
 * another package, hence node:http.
 */

import http from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import tls from 'node:tls'
import { M4Error, throwIfAborted } from '../../core/errors.js'

export interface HttpRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly env: NodeJS.ProcessEnv
  readonly idleTimeoutMs: number
  readonly signal?: AbortSignal | undefined
}

const MAX_REDIRECTS = 10
const REDIRECTS = new Set([301, 302, 303, 307, 308])

/**
 * The response after redirects, whatever its status; its body is not read. Credentials are not carried to another
 * origin, and https is never left for http.
 * @throws M4Error `NETWORK` (`details.retryable`), `ABORTED`
 */
export async function httpGet(request: HttpRequest): Promise<http.IncomingMessage> {
  let url = new URL(request.url)
  let headers: Record<string, string> = { ...request.headers }
  for (let hops = 0; ; hops++) {
    const response = await send(url, headers, request)
    const target = response.headers.location
    if (!REDIRECTS.has(response.statusCode ?? 0) || !target) return response
    response.destroy()
    if (!URL.canParse(target, url.href))
      throw networkError(request.url, `redirects to "${target}"`, { retryable: false })
    const next = new URL(target, url)
    if (!/^https?:$/.test(next.protocol) || (url.protocol === 'https:' && next.protocol !== 'https:'))
      throw networkError(request.url, `redirects to ${next.protocol}//, which is refused`, { retryable: false })
    if (hops === MAX_REDIRECTS) throw networkError(request.url, 'redirects in a circle', { retryable: false })
    if (next.origin !== url.origin) {
      const { authorization: _dropped, ...rest } = headers
      headers = rest
    }
    url = next
  }
}

/** `NETWORK`, with what to do; `retryable` says whether the same address may work a moment later. */
export function networkError(
  url: string,
  what: string,
  options: { retryable: boolean; hint?: string | undefined; details?: Record<string, unknown>; cause?: unknown },
): M4Error {
  // A signed address carries a secret in its query; messages end up in logs.
  const shown = url.split('?')[0]!
  return new M4Error('NETWORK', `${shown}: ${what}.`, {
    hint: options.hint ?? 'Check the connection, then run the same command again: it goes on where it stopped.',
    details: { url: shown, retryable: options.retryable, ...options.details },
    cause: options.cause,
  })
}

async function send(url: URL, headers: Record<string, string>, request: HttpRequest): Promise<http.IncomingMessage> {
  throwIfAborted(request.signal)
  const { env, idleTimeoutMs, signal } = request
  const proxy = proxyFor(url, env)
  const secure = url.protocol === 'https:'
  const socket = proxy && secure ? await tunnel(proxy, url, request) : undefined
  const common: https.RequestOptions = {
    headers: { 'user-agent': 'm4fm', 'accept-encoding': 'identity', ...headers },
    timeout: idleTimeoutMs,
    // Node ignores createConnection where an agent is given, `false` included.
    ...(socket ? { createConnection: () => socket } : { agent: false as const }),
    ...(signal ? { signal } : {}),
  }
  return new Promise((resolve, reject) => {
    let answered: http.IncomingMessage | undefined
    const onResponse = (response: http.IncomingMessage) => {
      answered = response
      resolve(response)
    }
    const client =
      proxy && !secure
        ? http.get(
            {
              ...common,
              host: plainHost(proxy.hostname),
              port: proxy.port || 80,
              path: url.href,
              headers: { ...common.headers, host: url.host, ...proxyCredentials(proxy) },
            },
            onResponse,
          )
        : secure
          ? https.get(url, common, onResponse)
          : http.get(url, common, onResponse)
    client.on('timeout', () => (answered ?? client).destroy(new Error(`no data for ${idleTimeoutMs / 1000} s`)))
    client.on('error', (error) => reject(connectionError(request, error, proxy)))
  })
}

/** A broken connection, while asking or while reading, as a typed error. */
export function connectionError(request: HttpRequest, error: unknown, proxy?: URL): M4Error {
  if (error instanceof M4Error) return error
  if (request.signal?.aborted)
    return new M4Error('ABORTED', 'The operation was cancelled.', { cause: request.signal.reason })
  const via = proxy ? ` through the proxy ${proxy.host}` : ''
  const failed = error as NodeJS.ErrnoException
  const what = failed.message || failed.code || 'connection failed'
  // A certificate does not become valid by asking again.
  const retryable = !/CERT|SELF_SIGNED|UNABLE_TO_VERIFY|ALTNAME/.test(failed.code ?? '')
  return networkError(request.url, `${what}${via}`, {
    retryable,
    cause: error,
    details: { systemCode: failed.code },
    hint: retryable ? undefined : 'If your network inspects TLS, set NODE_EXTRA_CA_CERTS to its certificate.',
  })
}

/** HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY as curl reads them (lower case first). */
export function proxyFor(url: URL, env: NodeJS.ProcessEnv): URL | undefined {
  const read = (name: string) => env[name.toLowerCase()] || env[name]
  const value = read(url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY') || read('ALL_PROXY')
  if (!value) return undefined
  const host = plainHost(url.hostname).toLowerCase()
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  for (const entry of (read('NO_PROXY') ?? '').toLowerCase().split(/[\s,]+/)) {
    if (!entry) continue
    if (entry === '*') return undefined
    const [, name, wantedPort] = /^\*?\.?(.*?)(?::(\d+))?$/.exec(entry)!
    if ((host === name || host.endsWith(`.${name}`)) && (!wantedPort || wantedPort === port)) return undefined
  }
  const proxy = URL.canParse(value) ? new URL(value) : undefined
  if (proxy?.protocol !== 'http:')
    throw new M4Error('INVALID_REQUEST', `Proxy setting "${proxy ? proxy.host : value}": expected http://host:port.`, {
      hint: 'Correct HTTPS_PROXY or HTTP_PROXY.',
    })
  return proxy
}

/** A TLS connection to `url` through an HTTP proxy (CONNECT, RFC 9110 §9.3.6). */
function tunnel(proxy: URL, url: URL, request: HttpRequest): Promise<Socket> {
  const authority = `${url.hostname}:${url.port || 443}`
  return new Promise((resolve, reject) => {
    const ask = http.request({
      host: plainHost(proxy.hostname),
      port: proxy.port || 80,
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...proxyCredentials(proxy) },
      agent: false,
      timeout: request.idleTimeoutMs,
      ...(request.signal ? { signal: request.signal } : {}),
    })
    const fail = (error: unknown) => reject(connectionError(request, error, proxy))
    ask.on('timeout', () => ask.destroy(new Error('no answer')))
    ask.on('error', fail)
    ask.on('connect', (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy()
        reject(
          networkError(request.url, `the proxy ${proxy.host} answered ${response.statusCode} to CONNECT`, {
            retryable: response.statusCode! >= 500,
            hint: 'Check HTTPS_PROXY and NO_PROXY.',
          }),
        )
        return
      }
      const host = plainHost(url.hostname)
      const secured = tls.connect({ socket, host, servername: isIP(host) ? '' : host }, () => resolve(secured))
      secured.on('error', fail)
    })
    ask.end()
  })
}

function proxyCredentials(proxy: URL): Record<string, string> {
  if (!proxy.username) return {}
  const pair = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`
  return { 'proxy-authorization': `Basic ${Buffer.from(pair).toString('base64')}` }
}

const plainHost = (host: string) => host.replace(/^\[|\]$/g, '')
