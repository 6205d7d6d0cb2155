import { once } from 'node:events'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { AppRouter } from '../api/app-router.ts'
import { freePort, quietLogger } from '../db/testing/test-database.ts'
import { callApi, logInAs } from '../testing/api-client.ts'
import { startTestCloud, type TestCloud } from '../testing/test-cloud.ts'
import { createPortalProxy } from './portal-proxy.ts'

let cloud: TestCloud
let token: string
beforeAll(async () => {
  cloud = await startTestCloud()
  token = await logInAs(cloud.origin, cloud.demo.ownerEmail, cloud.password)
})
afterAll(async () => {
  await cloud?.[Symbol.asyncDispose]()
})

const credentials = () => ({ email: cloud.demo.ownerEmail, password: cloud.password })

describe('sessions', () => {
  test('a browser gets a cookie no script reads and no other site sends, which works until log-out', async () => {
    const { cookies } = await callApi(cloud.origin, 'session.logIn', credentials())
    const [cookie] = cookies
    expect(cookie).toMatch(/^sendense_session=\w+; HttpOnly; Max-Age=\d+; Path=\/; SameSite=Strict$/)
    const headers = { 'cookie': cookie?.split(';')[0] ?? '', 'sec-fetch-site': 'same-origin' }
    const current = await callApi(cloud.origin, 'session.current', undefined, { headers })
    expect(current.data).toMatchObject({ email: cloud.demo.ownerEmail, role: 'owner' })
    const foreign = { ...headers, 'sec-fetch-site': 'cross-site', 'origin': 'https://evil.example' }
    const forged = await callApi(cloud.origin, 'session.logOut', undefined, { headers: foreign })
    expect({ status: forged.status, code: forged.report?.code }).toEqual({ status: 403, code: 'identity.forbidden' })
    const out = await callApi(cloud.origin, 'session.logOut', undefined, { headers })
    expect(out.cookies[0]).toMatch(/^sendense_session=; .*Max-Age=0/)
    expect((await callApi(cloud.origin, 'session.current', undefined, { headers })).status).toBe(401)
  })

  test('a wrong password and an unknown person are told the same; too many attempts are refused', async () => {
    const known = await callApi(cloud.origin, 'session.logIn', { ...credentials(), password: 'wrong' })
    const unknown = await callApi(cloud.origin, 'session.logIn', { email: 'nobody@example.com', password: 'wrong' })
    expect(known.report).toEqual(unknown.report)
    expect(known.status).toBe(401)
    const many = await Promise.all(
      Array.from({ length: 12 }, () =>
        callApi(cloud.origin, 'session.logIn', { email: 'somebody@example.com', password: 'wrong' }),
      ),
    )
    expect(many.map((answer) => answer.status).filter((status) => status === 429).length).toBe(2)
  })

  test('the database holds no session id in clear', async () => {
    const rows = await cloud.postgres.database.withSystem('test', (tx) =>
      tx.execute('select session::text as row from session'),
    )
    expect(rows.length).toBeGreaterThan(0)
    expect(JSON.stringify([...rows])).not.toContain(token)
  })
})

describe('limits', () => {
  test('bodies and batches beyond their bounds are refused', async () => {
    const url = `${cloud.origin}/trpc/session.logIn`
    const headers = { 'content-type': 'application/json' }
    const large = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ email: 'x'.repeat(400_000) }) })
    expect(large.status).toBe(413)
    const paths = Array.from({ length: 21 }, () => 'session.current').join(',')
    const batch = await fetch(`${cloud.origin}/trpc/${paths}?batch=1`, {
      headers: { authorization: `Bearer ${token}` },
    })
    expect(batch.status).toBe(400)
  })

  test('every answer carries the security headers', async () => {
    for (const path of ['/health', '/trpc/session.current', '/nowhere', '/fleet/enrol']) {
      const { headers } = await fetch(`${cloud.origin}${path}`)
      expect({ path, sniff: headers.get('x-content-type-options'), frame: headers.get('x-frame-options') }).toEqual({
        path,
        sniff: 'nosniff',
        frame: 'DENY',
      })
      expect(headers.get('content-security-policy')).toContain("frame-ancestors 'none'")
    }
  })
})

describe('live stream', () => {
  test('a program hears of changes of its tenant and resumes by the last id', async () => {
    const client = createWSClient({
      url: `${cloud.origin.replace('http', 'ws')}/trpc`,
      connectionParams: { token },
      WebSocket: WebSocket as never,
    })
    const trpc = createTRPCClient<AppRouter>({ links: [wsLink({ client })] })
    expect((await trpc.session.current.query()).email).toBe(cloud.demo.ownerEmail)
    const reset = Promise.withResolvers<unknown>()
    const subscription = trpc.live.events.subscribe(
      { lastEventId: 'of another process.7' },
      { onData: ({ data }) => reset.resolve(data), onError: (error) => reset.reject(error) },
    )
    expect(await reset.promise).toEqual({ type: 'stream-reset' })
    subscription.unsubscribe()
    await client.close()
  })

  test('a socket is worth nothing once its session has ended', async () => {
    const own = await logInAs(cloud.origin, cloud.demo.ownerEmail, cloud.password)
    const client = createWSClient({
      url: `${cloud.origin.replace('http', 'ws')}/trpc`,
      connectionParams: { token: own },
      WebSocket: WebSocket as never,
    })
    const trpc = createTRPCClient<AppRouter>({ links: [wsLink({ client })] })
    expect((await trpc.vm.list.query()).length).toBe(0)
    await callApi(cloud.origin, 'session.logOut', undefined, { token: own })
    await expect(trpc.vm.list.query()).rejects.toMatchObject({
      data: { report: { code: 'identity.session_required' } },
    })
    await client.close()
  })

  test('without a session it is refused', async () => {
    const client = createWSClient({ url: `${cloud.origin.replace('http', 'ws')}/trpc`, WebSocket: WebSocket as never })
    const trpc = createTRPCClient<AppRouter>({ links: [wsLink({ client })] })
    const refused = Promise.withResolvers<string>()
    trpc.live.events.subscribe(
      {},
      { onError: (error) => refused.resolve(error.data?.report.code ?? ''), onData: () => refused.resolve('data') },
    )
    expect(await refused.promise).toBe('identity.session_required')
    await client.close()
  })

  test.each([
    ['/trpc', { origin: 'https://evil.example' }, 403],
    ['/trpc', { origin: 'http://localhost:4400' }, 101],
    ['/_next/webpack-hmr', { origin: 'http://localhost:4400' }, 404],
  ])('an upgrade on %s from %o is answered %d', async (path, headers, status) => {
    const socket = new WebSocket(`${cloud.origin.replace('http', 'ws')}${path}`, { headers })
    const answered = Promise.withResolvers<number>()
    socket.on('open', () => answered.resolve(101))
    socket.on('unexpected-response', (_request, response) => answered.resolve(response.statusCode ?? 0))
    socket.on('error', () => undefined)
    expect(await answered.promise).toBe(status)
    socket.terminate()
  })
})

/** Sends the head of a request and resets the connection at once, many times. */
async function resetAfter(port: number, head: readonly string[]): Promise<void> {
  for (let count = 0; count < 30; count += 1) {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => undefined)
    await once(socket, 'connect')
    socket.write(`${head.join('\r\n')}\r\n\r\n`)
    await new Promise((resolve) => setImmediate(resolve))
    socket.resetAndDestroy()
  }
}

describe('connections that are reset', () => {
  const upgrade = ['Host: localhost:4400', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  test.each([
    ['a refused upgrade', ['GET /nope HTTP/1.1', ...upgrade]],
    ['an upgrade from elsewhere', ['GET /trpc HTTP/1.1', ...upgrade, 'Origin: https://evil.example']],
    ['an accepted upgrade', ['GET /trpc HTTP/1.1', ...upgrade, 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==']],
    ['an order', ['POST /trpc/session.logIn HTTP/1.1', 'Host: localhost:4400', 'Content-Length: 50000']],
    ['an enrolment', ['POST /fleet/enrol HTTP/1.1', 'Host: localhost:4400', 'Content-Length: 50000']],
  ])('%s leaves the server as it was', async (_what, head) => {
    const uncaught: unknown[] = []
    const note = (error: unknown): void => void uncaught.push(error)
    process.on('uncaughtException', note)
    try {
      await resetAfter(Number(new URL(cloud.origin).port), head)
      expect((await fetch(`${cloud.origin}/health`)).status).toBe(200)
    } finally {
      process.off('uncaughtException', note)
    }
    expect(uncaught).toEqual([])
  })

  test('a client that keeps its side of a refused upgrade open is let go', async () => {
    const socket = connect({ port: Number(new URL(cloud.origin).port), host: '127.0.0.1', allowHalfOpen: true })
    socket.write(`${['GET /nope HTTP/1.1', ...upgrade].join('\r\n')}\r\n\r\n`)
    socket.resume()
    await once(socket, 'end')
    // Written to a socket that is closed on the other side: answered with a reset.
    const writer = setInterval(() => socket.write('x'), 10)
    socket.once('close', () => clearInterval(writer))
    const [reset] = (await once(socket, 'error')) as [Error]
    expect(reset.message).toMatch(/ECONNRESET|EPIPE/)
  })
})

describe('portal pages', () => {
  test('are passed on with forwarding headers written anew, and a dead portal says so', async () => {
    const upstreamPort = await freePort()
    const proxyPort = await freePort()
    const upstream = createServer((request, response) => {
      response
        .writeHead(200, { 'x-upstream': 'yes' })
        .end(JSON.stringify({ url: request.url, headers: request.headers }))
    })
    const proxy = createServer(createPortalProxy(`http://127.0.0.1:${upstreamPort}`, quietLogger))
    await new Promise<void>((resolve) => upstream.listen(upstreamPort, '127.0.0.1', resolve))
    await new Promise<void>((resolve) => proxy.listen(proxyPort, '127.0.0.1', resolve))
    const page = `http://127.0.0.1:${proxyPort}/vms?x=1`
    const answer = await fetch(page, { headers: { 'x-forwarded-for': '6.6.6.6', 'forwarded': 'for=6.6.6.6' } })
    const seen = (await answer.json()) as { url: string; headers: Record<string, string> }
    expect(answer.headers.get('x-upstream')).toBe('yes')
    expect(seen.url).toBe('/vms?x=1')
    expect(seen.headers['x-forwarded-for']).toMatch(/127\.0\.0\.1$/)
    expect(JSON.stringify(seen.headers)).not.toContain('6.6.6.6')
    upstream.closeAllConnections()
    await new Promise((resolve) => upstream.close(resolve))
    expect((await fetch(page)).status).toBe(503)
    proxy.closeAllConnections()
    await new Promise((resolve) => proxy.close(resolve))
  })
})
