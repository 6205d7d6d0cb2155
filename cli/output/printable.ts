// C0 and C1 control characters but the line feed, and the marks that turn the direction of text.
// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const unprintable = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text from outside as a terminal may show it: nothing in it moves the cursor or changes colours. */
export function printable(text: string): string {
  return text.replace(unprintable, '\u{fffd}')
}
