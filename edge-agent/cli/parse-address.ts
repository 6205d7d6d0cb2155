import { InvalidArgumentError } from 'commander'

const HOST_CHARS_MAX = 255
const FORM = /^(?:\[(?<six>[0-9a-f:.%]+)\]|(?<name>[^\s:[\]]+))(?::(?<port>\d{1,5}))?$/i

/** HOST, HOST:PORT, [IPV6], [IPV6]:PORT. Throws commander's InvalidArgumentError for anything else. */
export function parseAddress(text: string): { host: string; port?: number } {
  const { six, name, port } = FORM.exec(text)?.groups ?? {}
  const host = six ?? name
  const number = port === undefined ? undefined : Number(port)
  const isPort = number === undefined || (number >= 1 && number <= 65_535)
  if (host === undefined || host.length > HOST_CHARS_MAX || !isPort) {
    throw new InvalidArgumentError('HOST:PORT; an IPv6 address in brackets')
  }
  return number === undefined ? { host } : { host, port: number }
}
