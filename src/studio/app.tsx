/** The frame: header with views, language and theme; the open view; the footer. */
import { useSignal, useSignalEffect } from '@preact/signals';
import type { ComponentType, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Icon } from './parts/icons.tsx';
import { update } from './state/offline.ts';
import { linkTo, route, type ViewName, viewNames } from './state/route.ts';
import { linkProblem } from './state/session.ts';
import { chooseLanguage, chooseTheme, language, languages, text, theme, themes } from './state/settings.ts';
import { tourBar } from './state/tour.ts';
import { watched } from './state/watched.ts';
import { Learn } from './views/learn/learn.tsx';

/** Views are loaded when they are opened; the first one at once. */
const loaders: Readonly<Record<Exclude<ViewName, 'learn'>, () => Promise<ComponentType>>> = {
  see: async () => (await import('./views/see/see.tsx')).See,
  build: async () => (await import('./views/build/build.tsx')).Build,
  try: async () => (await import('./views/try/try.tsx')).Try,
  compare: async () => (await import('./views/compare/compare.tsx')).Compare,
  break: async () => (await import('./views/break/break.tsx')).Break,
  lecture: async () => (await import('./views/lecture/lecture.tsx')).Lecture,
  share: async () => (await import('./views/share/share.tsx')).Share,
  watch: async () => (await import('./views/watch/watch.tsx')).Watch,
};

const languageNames = { en: 'English', ko: '한국어' } as const;

export function App(): JSX.Element {
  const { shell } = text.value;
  const Bar = tourBar.value;
  return (
    <>
      <button type="button" class="skip" onClick={skip}>
        {shell.skip}
      </button>
      <Header />
      <main id="content" tabIndex={-1}>
        <Notices />
        <View />
      </main>
      {route.value.view !== 'lecture' && Bar && <Bar />}
      <footer>
        <p class="privacy">
          <Icon name="lock" /> {shell.privacy}
        </p>
      </footer>
    </>
  );
}

/** A link's fragment would be taken for a view's, so this is a button. */
function skip(): void {
  document.getElementById('content')?.focus();
}

/** Runs of this machine can be watched where `vgg studio` serves them. */
const isListed = (name: ViewName): boolean =>
  name !== 'watch' || watched !== undefined || route.value.view === 'watch';

function Header(): JSX.Element {
  const { shell } = text.value;
  const strip = useRef<HTMLUListElement>(null);
  const { view: open } = route.value;
  // On a narrow screen the open view's name scrolls into sight.
  useEffect(() => {
    const list = strip.current;
    const link = list?.querySelector<HTMLElement>('[aria-current]');
    // `scrollIntoView` would let the next Tab start there.
    if (list && link) list.scrollLeft = link.offsetLeft - (list.clientWidth - link.offsetWidth) / 2;
  }, [open]);
  return (
    <header class="top">
      <a class="brand" href={linkTo('learn')}>
        <Logo />
        <span>{shell.title}</span>
      </a>
      <nav aria-label={shell.views}>
        <ul ref={strip}>
          {viewNames.filter(isListed).map((name) => (
            <li key={name}>
              <a href={linkTo(name)} aria-current={name === open ? 'page' : undefined}>
                {shell.view[name]}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="choices">
        <label>
          <span class="hidden">{shell.language}</span>
          <select
            id="language"
            value={language.value}
            onChange={({ currentTarget }) =>
              chooseLanguage(currentTarget.value as (typeof languages)[number])
            }
          >
            {languages.map((name) => (
              <option key={name} value={name} lang={name}>
                {languageNames[name]}
              </option>
            ))}
          </select>
        </label>
        <label>
          <span class="hidden">{shell.theme}</span>
          <select
            id="theme"
            value={theme.value}
            onChange={({ currentTarget }) => chooseTheme(currentTarget.value as (typeof themes)[number])}
          >
            {themes.map((name) => (
              <option key={name} value={name}>
                {shell.themes[name]}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  );
}

const Logo = (): JSX.Element => (
  <svg viewBox="0 0 32 32" width="26" height="26" aria-hidden="true">
    <rect width="32" height="32" rx="7" class="logo-ground" />
    <g class="logo-layers">
      <rect x="6" y="7" width="5" height="18" rx="1.5" />
      <rect x="13" y="10" width="5" height="12" rx="1.5" opacity=".85" />
      <rect x="20" y="13" width="5" height="6" rx="1.5" opacity=".7" />
    </g>
  </svg>
);

function Notices(): JSX.Element {
  const { shell } = text.value;
  const activate = update.value;
  return (
    <>
      {linkProblem.value && (
        <p class="banner warning" role="alert">
          {shell.badLink(linkProblem.value)}
        </p>
      )}
      {activate && (
        <p class="banner" role="status">
          {shell.update}{' '}
          <button type="button" class="plain" onClick={activate}>
            {shell.reload}
          </button>
        </p>
      )}
    </>
  );
}

/** The open view, once it is loaded. Focus goes to its heading, as after a page load, or to the address's place in it. */
function View(): JSX.Element {
  const { shell } = text.value;
  const loaded = useSignal<{ readonly view: ViewName; readonly Component: ComponentType } | undefined>({
    view: 'learn',
    Component: Learn,
  });
  const failure = useSignal('');
  const opened = useRef(route.value.view);
  useSignalEffect(() => {
    const { view } = route.value;
    failure.value = '';
    if (view === 'learn') {
      loaded.value = { view, Component: Learn };
      return;
    }
    loaders[view]().then(
      (Component) => {
        if (route.peek().view === view) loaded.value = { view, Component };
      },
      (error: unknown) => {
        failure.value = String(error instanceof Error ? error.message : error);
      },
    );
  });
  const { view, place } = route.value;
  const shown = loaded.value?.view;
  useEffect(() => {
    if (shown !== view || opened.current === view) return;
    opened.current = view;
    document.querySelector<HTMLElement>('main h1')?.focus();
    scrollTo(0, 0);
    if (place) document.getElementById(place)?.scrollIntoView();
  }, [shown, view]);
  if (failure.value) return <p class="banner warning">{shell.notLoaded(failure.value)}</p>;
  if (loaded.value?.view !== view) return <p class="note">{shell.loading}</p>;
  const { Component } = loaded.value;
  return <Component />;
}
