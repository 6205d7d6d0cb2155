import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { expect, test } from 'vitest'
import { createSsh2Protocol, type Ssh2Protocol } from './ssh2-protocol.ts'

const inside = createRequire(import.meta.url)

test('the ssh2 that is installed is the one whose inside was read', () => {
  const manifest = JSON.parse(readFileSync(inside.resolve('ssh2/package.json'), 'utf8')) as { version: string }
  // A new version: read its Protocol, kex and crypto again, and what this folder says of them; then change this.
  expect(manifest.version).toBe('1.17.0')
})

test('ssh2 uses the cryptography of Node, not one that was built when it was installed', () => {
  const { bindingAvailable } = inside('ssh2/lib/protocol/crypto.js') as { bindingAvailable: boolean }
  expect(bindingAvailable).toBe(false)
})

test('Protocol has every function that is called', () => {
  const protocol = createSsh2Protocol({
    onWrite: () => 0,
    onError: () => 0,
    onHandshakeComplete: () => 0,
    messageHandlers: {},
  })
  const called: (keyof Ssh2Protocol)[] = [
    'start',
    'parse',
    'cleanup',
    'disconnect',
    'ping',
    'rekey',
    'service',
    'authPK',
    'serviceAccept',
    'authFailure',
    'authSuccess',
    'authPKOK',
    'requestSuccess',
    'requestFailure',
    'tcpipForward',
    'forwardedTcpip',
    'channelOpenConfirm',
    'channelOpenFail',
    'channelWindowAdjust',
    'channelEOF',
    'channelClose',
    'channelFailure',
  ]
  expect(called.filter((name) => typeof protocol[name] !== 'function')).toEqual([])
  protocol.cleanup()
})
