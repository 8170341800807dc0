/**
 * Which view is open, in the fragment of the address: `#/see`, `#/lecture/schedule` for a place in a view, or
 * `#/learn?lr=0.1&seed=3` for a shared training. So the browser's back button works, and a static host needs no rules.
 */
import { type Signal, signal } from '@preact/signals';

export const viewNames = [
  'learn',
  'see',
  'build',
  'try',
  'compare',
  'break',
  'lecture',
  'share',
  'watch',
] as const;
export type ViewName = (typeof viewNames)[number];

export interface Route {
  readonly view: ViewName;
  /** A place in the view, such as a step of the lecture; empty for its beginning. The view checks it. */
  readonly place: string;
  /** What follows the question mark. */
  readonly query: string;
}

function routeOf(fragment: string): Route {
  const [, path = '', place = '', query = ''] = /^#?\/?([^/?]*)\/?([^?]*)\??(.*)$/s.exec(fragment) ?? [];
  return { view: viewNames.find((name) => name === path) ?? 'learn', place, query };
}

export const route: Signal<Route> = signal(routeOf(location.hash));

export const linkTo = (view: ViewName, query = ''): string => `#/${view}${query && `?${query}`}`;

/** The address of a place in a view. */
export const linkToPlace = (view: ViewName, place: string): string => `#/${view}/${place}`;

/** Opens a view. `replace` leaves no trace in the history. */
export function goTo(view: ViewName, query = '', { replace = false } = {}): void {
  const address = linkTo(view, query);
  if (replace) {
    history.replaceState(null, '', address);
    route.value = routeOf(address);
  } else location.hash = address;
}

export function followAddress(): void {
  addEventListener('hashchange', () => {
    route.value = routeOf(location.hash);
  });
}
