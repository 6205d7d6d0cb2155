/** What an operation answers with. */
export interface AzureAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | string
}

/** An error as Azure answers it: Azure Storage REST API, "Blob Storage error codes", "Status and error codes". */
export class AzureRefusal extends Error {
  readonly status: number
  readonly code: string

  constructor(status: number, code: string, message = code) {
    super(message)
    this.status = status
    this.code = code
  }
}

export function refusalXml({ code, message }: AzureRefusal): string {
  return `<?xml version="1.0" encoding="utf-8"?><Error>${element('Code', code)}${element('Message', message)}</Error>`
}

/** Nothing where there is no value. */
export function element(name: string, value: string | number | boolean | undefined): string {
  if (value === undefined) return ''
  const text = String(value).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
  return `<${name}>${text}</${name}>`
}
