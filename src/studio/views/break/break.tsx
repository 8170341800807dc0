import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Break(): JSX.Element {
  const { breaking } = text.value;
  return <h1 tabIndex={-1}>{breaking.title}</h1>;
}
