import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Build(): JSX.Element {
  const { build } = text.value;
  return <h1 tabIndex={-1}>{build.title}</h1>;
}
