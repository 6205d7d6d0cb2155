/** What an operation answers with. */
export interface S3Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
}

/** An error as Amazon answers it: Amazon S3 API Reference, "Error Responses". */
export class S3Refusal extends Error {
  readonly code: string
  readonly status: number
  readonly extra: Readonly<Record<string, string>>

  constructor(status: number, code: string, message: string, extra: Readonly<Record<string, string>> = {}) {
    super(message)
    this.status = status
    this.code = code
    this.extra = extra
  }
}

const XML_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
const NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

export function refusalXml(refusal: S3Refusal, requestId: string): string {
  const facts = { Code: refusal.code, Message: refusal.message, ...refusal.extra, RequestId: requestId }
  return `${XML_HEAD}<Error>${elements(facts)}</Error>`
}

/** A document with the S3 namespace. `content` is XML already. */
export function documentXml(root: string, content: string): string {
  return `${XML_HEAD}<${root} ${NAMESPACE}>${content}</${root}>`
}

/** `{ Key: 'a' }` as `<Key>a</Key>`; undefined values are left out. */
export function elements(facts: Readonly<Record<string, string | number | boolean | undefined>>): string {
  return Object.entries(facts)
    .map(([name, value]) => (value === undefined ? '' : `<${name}>${escapeXml(String(value))}</${name}>`))
    .join('')
}

export function xmlAnswer(root: string, content: string, headers: Readonly<Record<string, string>> = {}): S3Answer {
  return { status: 200, headers: { 'content-type': 'application/xml', ...headers }, body: documentXml(root, content) }
}

export interface XmlElement {
  readonly name: string
  readonly text: string
  readonly children: readonly XmlElement[]
}

/** Small documents without attributes other than xmlns; anything else is refused as MalformedXML. */
export function parseXml(document: string): XmlElement {
  const tokens = document.replace(/^\s*<\?xml[^>]*\?>\s*/, '').match(/<[^>]+>|[^<]+/g) ?? []
  let at = 0
  const element = (): XmlElement => {
    const open = /^<([A-Za-z0-9]+)(?: xmlns="[^"]*")?\s*(\/?)>$/.exec(tokens[at] ?? '')
    if (open === null) throw malformed()
    at += 1
    const name = open[1] ?? ''
    if (open[2] === '/') return { name, text: '', children: [] }
    let text = ''
    const children: XmlElement[] = []
    for (;;) {
      const token = tokens[at]
      if (token === undefined) throw malformed()
      if (token === `</${name}>`) {
        at += 1
        return { name, text: unescapeXml(text.trim()), children }
      }
      if (token.startsWith('<')) children.push(element())
      else {
        text += token
        at += 1
      }
    }
  }
  const root = element()
  if (tokens.slice(at).some((token) => token.trim() !== '')) throw malformed()
  return root
}

/** The texts of the children, which must be these and no others. */
export function childTexts(parent: XmlElement, allowed: readonly string[]): Readonly<Record<string, string>> {
  const unknown = parent.children.find(({ name, children }) => !allowed.includes(name) || children.length > 0)
  if (unknown !== undefined) throw malformed()
  return Object.fromEntries(parent.children.map(({ name, text }) => [name, text]))
}

export function malformed(): S3Refusal {
  return new S3Refusal(400, 'MalformedXML', 'The XML you provided was not well-formed or did not validate')
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

function unescapeXml(text: string): string {
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&')
}
