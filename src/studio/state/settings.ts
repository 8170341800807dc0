/** Language and theme: chosen by the user, or those of the browser. */
import { computed, effect, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import { en, type Text } from '../text/en.ts';
import { ko } from '../text/ko.ts';
import { store, stored } from './stored.ts';

const texts = { en, ko } as const;
export type Language = keyof typeof texts;
export const languages: readonly Language[] = ['en', 'ko'];

export const themes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const known = <T extends string>(values: readonly T[], value: string | null): T | undefined =>
  values.find((one) => one === value);

const ofBrowser = (): Language => (navigator.languages.some((name) => name.startsWith('ko')) ? 'ko' : 'en');

export const language: Signal<Language> = signal(known(languages, stored('language')) ?? ofBrowser());
export const theme: Signal<Theme> = signal(known(themes, stored('theme')) ?? 'auto');

/** The texts of the page in the chosen language. */
export const text: ReadonlySignal<Text> = computed(() => texts[language.value]);

/** Whether motion is unwelcome. */
export const stillness: Signal<boolean> = signal(false);

/** Applies the settings to the document, now and whenever they change. */
export function applySettings(): void {
  const reduced = matchMedia('(prefers-reduced-motion: reduce)');
  stillness.value = reduced.matches;
  reduced.addEventListener('change', () => {
    stillness.value = reduced.matches;
  });
  effect(() => {
    document.documentElement.lang = language.value;
    document.title = text.value.shell.title;
  });
  effect(() => {
    if (theme.value === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme.value;
  });
}

export function chooseLanguage(value: Language): void {
  language.value = value;
  store('language', value);
}

export function chooseTheme(value: Theme): void {
  theme.value = value;
  store('theme', value);
}
