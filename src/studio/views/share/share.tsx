import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Share(): JSX.Element {
  const { share } = text.value;
  return <h1 tabIndex={-1}>{share.title}</h1>;
}
