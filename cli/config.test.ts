import { expect, test } from 'vitest'
import { readConfig } from './config.ts'

test('an address is cut down to its origin; empty settings count as absent', () => {
  expect(
    readConfig({ SENDENSE_URL: 'https://portal.example/vms?x=1', SENDENSE_TOKEN: '', XDG_CONFIG_HOME: '/c' }),
  ).toEqual({
    url: 'https://portal.example',
    sessionPath: '/c/sendense/session.json',
  })
})

test.each(['portal.example', 'ftp://portal.example', 'javascript:alert(1)'])('%s is no address of a portal', (url) => {
  expect(() => readConfig({ SENDENSE_URL: url })).toThrow(
    expect.objectContaining({ code: 'config.invalid', message: expect.stringContaining('SENDENSE_URL') as string }),
  )
})
