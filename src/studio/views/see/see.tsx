import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function See(): JSX.Element {
  const { see } = text.value;
  return <h1 tabIndex={-1}>{see.title}</h1>;
}
