export const themes = ['system', 'light', 'dark'] as const
export type Theme = (typeof themes)[number]

/** Read by the server too, so that the first paint already has the chosen colours. */
export const THEME_COOKIE = 'sendense-theme'
const ONE_YEAR_SECONDS = 31_536_000

export function parseTheme(text: string | undefined): Theme {
  return themes.find((theme) => theme === text) ?? 'system'
}

/** Browser only: shows the theme now and remembers it for a year. */
export function applyTheme(theme: Theme): void {
  const root = document.documentElement
  if (theme === 'system') root.removeAttribute('data-theme')
  else root.dataset['theme'] = theme
  // oxlint-disable-next-line unicorn/no-document-cookie -- the server reads it; the Cookie Store API is not everywhere yet
  document.cookie = `${THEME_COOKIE}=${theme}; path=/; max-age=${ONE_YEAR_SECONDS}; samesite=lax`
}

/** The theme this page was rendered with. */
export function currentTheme(): Theme {
  return parseTheme(document.documentElement.dataset['theme'])
}
