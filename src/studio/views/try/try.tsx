import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Try(): JSX.Element {
  const { trying } = text.value;
  return <h1 tabIndex={-1}>{trying.title}</h1>;
}
