/**
 * A message as people read it: with a capital where it begins with a plain word. A first word with digits, dots or
 * dashes is a name (`erp-db-01 exists already`) and stays as it is.
 */
export function asSentence(message: string): string {
  return /^[a-z]+(?=[\s,:’'])|^e-mail\b/.test(message) ? message.charAt(0).toUpperCase() + message.slice(1) : message
}
