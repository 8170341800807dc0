import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';

export function Lecture(): JSX.Element {
  const { lecture } = text.value;
  return <h1 tabIndex={-1}>{lecture.title}</h1>;
}
