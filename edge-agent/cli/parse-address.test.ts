import { expect, test } from 'vitest'
import { parseAddress } from './parse-address.ts'

test.each([
  ['edge', { host: 'edge' }],
  ['edge.example.org:443', { host: 'edge.example.org', port: 443 }],
  ['192.0.2.1:65535', { host: '192.0.2.1', port: 65_535 }],
  ['[2001:db8::1]', { host: '2001:db8::1' }],
  ['[2001:db8::1]:22', { host: '2001:db8::1', port: 22 }],
])('%s is an address', (text, wanted) => {
  expect(parseAddress(text)).toEqual(wanted)
})

test.each([
  '',
  ' ',
  'a b',
  ':443',
  'edge:',
  'edge:0',
  'edge:65536',
  'edge:x',
  '2001:db8::1',
  '[edge]:1',
  'a'.repeat(256),
])('"%s" is none', (text) => {
  expect(() => parseAddress(text)).toThrow('HOST:PORT')
})
