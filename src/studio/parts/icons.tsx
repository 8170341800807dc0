/** The few symbols on buttons. Words stand beside them, so they are decoration. */
import type { JSX } from 'preact';

const shapes = {
  play: 'M7 4.5v15l12-7.5z',
  pause: 'M6.5 4.5h4v15h-4zM13.5 4.5h4v15h-4z',
  step: 'M5 4.5v15l9-7.5zM15.5 4.5h3.5v15h-3.5z',
  restart: 'M12 5a7 7 0 1 1-6.6 4.7l1.9.7A5 5 0 1 0 12 7v3L7 6l5-4z',
  lock: 'M7 10V8a5 5 0 0 1 10 0v2h1.500v10h-13V10zm2 0h6V8a3 3 0 0 0-6 0z',
  left: 'M15 5l-7 7 7 7 1.500-1.500L11 12l5.500-5.500z',
  right: 'M9 5l7 7-7 7-1.5-1.5L13 12 7.5 6.500z',
  close: 'M6.4 5L12 10.6 17.6 5 19 6.4 13.4 12 19 17.6 17.6 19 12 13.4 6.4 19 5 17.6 10.6 12 5 6.4z',
  grip: 'M8 5h3v3H8zM13 5h3v3h-3zM8 10.5h3v3H8zM13 10.5h3v3h-3zM8 16h3v3H8zM13 16h3v3h-3z',
} as const;

export const Icon = ({ name }: { readonly name: keyof typeof shapes }): JSX.Element => (
  <svg class="icon" viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
    <path d={shapes[name]} fill="currentColor" />
  </svg>
);
