import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Compare(): JSX.Element {
  const { compare } = text.value;
  return <h1 tabIndex={-1}>{compare.title}</h1>;
}
