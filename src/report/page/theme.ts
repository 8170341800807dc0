/** The button for light and dark. Until it is used, the page follows the system's setting. */
import { byId } from './dom.ts';

const key = 'vgg-report-theme';

export function startTheme(): void {
  const button = byId('theme', HTMLButtonElement);
  if (!button) return;
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const dark = (): boolean => (root.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
  const show = (): void => {
    button.textContent = dark() ? 'Light theme' : 'Dark theme';
  };
  const chosen = stored();
  if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;
  button.hidden = false;
  button.addEventListener('click', () => {
    root.dataset.theme = dark() ? 'light' : 'dark';
    store(root.dataset.theme);
    show();
  });
  system.addEventListener('change', show);
  show();
}

// A page opened from a file may have no storage.
function stored(): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function store(theme: string): void {
  try {
    localStorage.setItem(key, theme);
  } catch {
    // The choice is kept until the page is closed.
  }
}
