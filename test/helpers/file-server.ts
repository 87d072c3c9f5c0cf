/** A file server on loopback that misbehaves on request: cuts, stalls, refuses, redirects, ignores ranges. */

import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Behaviour {
  readonly body: Buffer
  readonly etag?: string
  /** Default true. False: answers 200 with the whole body to every range. */
  readonly ranges?: boolean
  /** Statuses of the first requests; afterwards all is well. */
  readonly statuses?: readonly number[]
  readonly retryAfter?: string
  /** Bytes of body after which the n-th answer's connection is cut; undefined: not cut. */
  readonly cutAfter?: readonly (number | undefined)[]
  /** Bytes after which every body falls silent, the connection staying open. */
  readonly stallAfter?: number
  readonly location?: string
  readonly noLength?: boolean
}

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
}

export interface FileServer {
  readonly url: string
  readonly requests: SeenRequest[]
  readonly routes: Map<string, Behaviour>
  close(): Promise<void>
}

export async function startFileServer(): Promise<FileServer> {
  const routes = new Map<string, Behaviour>()
  const requests: SeenRequest[] = []
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!)
    const earlier = requests.filter((seen) => seen.path === path).length
    requests.push({ method: request.method!, path, headers: request.headers })
    const route = routes.get(path)
    if (!route) return void response.writeHead(404).end('no such file')
    answer(route, earlier, request.headers, response)
  })
  // A proxy that refuses every tunnel.
  server.on('connect', (request, socket) => {
    requests.push({ method: 'CONNECT', path: request.url!, headers: request.headers })
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url, requests, routes, close: () => closeServer(server) }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((done) => {
    server.close(() => done())
    server.closeAllConnections()
  })
}

function answer(route: Behaviour, earlier: number, asked: IncomingHttpHeaders, response: ServerResponse): void {
  if (route.location) return void response.writeHead(302, { location: route.location }).end()
  const status = route.statuses?.[earlier]
  if (status)
    return void response.writeHead(status, route.retryAfter ? { 'retry-after': route.retryAfter } : {}).end('later')
  const total = route.body.length
  const range = /^bytes=(\d+)-$/.exec(asked.range ?? '')
  const fresh = asked['if-range'] === undefined || asked['if-range'] === route.etag
  const from = range && route.ranges !== false && fresh ? Number(range[1]) : 0
  if (from && from >= total) return void response.writeHead(416, { 'content-range': `bytes */${total}` }).end()
  const body = route.body.subarray(from)
  response.writeHead(from ? 206 : 200, {
    ...(route.noLength ? {} : { 'content-length': body.length }),
    ...(route.etag ? { etag: route.etag } : {}),
    ...(from ? { 'content-range': `bytes ${from}-${total - 1}/${total}` } : {}),
  })
  const cut = route.cutAfter?.[earlier]
  if (cut !== undefined) {
    // Cut only after the bytes have left, so that the client is sure to get them.
    response.write(body.subarray(0, cut), () => setTimeout(() => response.destroy(), 20))
  } else if (route.stallAfter !== undefined) {
    response.write(body.subarray(0, route.stallAfter))
  } else {
    response.end(body)
  }
}
