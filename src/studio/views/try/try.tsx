/** Try: the user's own pictures before the network, and classes of the user's own to train on. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { Controls } from '../learn/controls.tsx';
import { Answers } from './answers.tsx';
import { Collect } from './collect.tsx';
import { again } from './looked.ts';
import { SourceCard } from './source.tsx';

/** Milliseconds between two questions about the same picture while the network trains. */
const askEvery = 400;

export function Try(): JSX.Element {
  const { trying } = text.value;
  const facts = session.facts.value;
  const phase = session.phase.value;
  const hasBegun = session.last.value !== undefined;
  useEffect(() => session.watch({ probe: true }), []);
  // The answer follows the network: another one, a training that runs, its end.
  useEffect(() => {
    if (!facts) return undefined;
    again();
    if (phase !== 'training') return undefined;
    const timer = setInterval(again, askEvery);
    return () => clearInterval(timer);
  }, [facts, phase]);
  return (
    <div class="try">
      <div class="intro">
        <h1 tabIndex={-1}>{trying.title}</h1>
        <p class="lead">{trying.lead}</p>
      </div>
      <Controls trainer={session} />
      {facts && !hasBegun && (
        <p class="banner" role="status">
          {trying.untrained}
        </p>
      )}
      {session.message.value && (
        <p class="banner warning" role="alert">
          {session.message.value}
        </p>
      )}
      <div class="try-columns">
        <SourceCard />
        <Answers />
      </div>
      <Collect />
    </div>
  );
}
