/** Small settings that outlive the page. A page without storage (a file, a strict browser) forgets them when it closes. */
const prefix = 'vgg-studio-';

export function stored(key: string): string | null {
  try {
    return localStorage.getItem(prefix + key);
  } catch {
    return null;
  }
}

/** Keeps a value; null removes it. */
export function store(key: string, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(prefix + key);
    else localStorage.setItem(prefix + key, value);
  } catch {
    // It is kept until the page is closed.
  }
}
