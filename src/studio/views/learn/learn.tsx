/** Learn: a training that is started, paused, stepped and changed while its curves, answers and filters move. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { percent } from '../../parts/words.ts';
import { linkTo } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { Controls } from './controls.tsx';
import { Curves } from './curves.tsx';
import { DataCard } from './data-card.tsx';
import { Device, Settings } from './settings.tsx';
import { FilterSheet, ProbeSheet } from './sheets.tsx';

export function Learn(): JSX.Element {
  const { learn } = text.value;
  useEffect(() => session.watch({ probe: true, filters: true }), []);
  const facts = session.facts.value;
  const started = session.last.value !== undefined;
  return (
    <div class={`learn ${started ? 'started' : ''}`}>
      <div class="intro">
        <h1 tabIndex={-1}>{learn.title}</h1>
        {!started && (
          <p class="lead">{facts ? learn.lead(facts.dataset, facts.classes.length) : learn.leadPreparing}</p>
        )}
      </div>
      <Controls trainer={session} />
      <Outcome />
      <div class="columns">
        <div class="wide stack">
          <Curves trainer={session} />
          <Settings trainer={session} />
          <DataCard />
        </div>
        <div class="narrow stack">
          <ProbeSheet trainer={session} />
          <FilterSheet trainer={session} />
          <Device />
        </div>
      </div>
      <Announcer />
    </div>
  );
}

/** How the training ended, if it did. */
function Outcome(): JSX.Element | null {
  const { learn } = text.value;
  const message = session.message.value;
  switch (session.phase.value) {
    case 'diverged':
      return (
        <p class="banner warning" role="alert">
          <strong>{learn.diverged}</strong> {learn.divergedWhy(message)}
        </p>
      );
    case 'failed':
      return (
        <p class="banner warning" role="alert">
          {learn.failed(message)}
        </p>
      );
    case 'ended': {
      const last = session.epochs.value.at(-1);
      return (
        <p class="banner success" role="status">
          {last && <strong>{learn.ended(percent(last.testAccuracy))}</strong>}{' '}
          <a href={linkTo('see')}>{learn.toSee}</a> · <a href={linkTo('try')}>{learn.toTry}</a> ·{' '}
          <a href={linkTo('break')}>{learn.toBreak}</a> <Longer />
        </p>
      );
    }
    default:
      return null;
  }
}

/** As many epochs again, from the last checkpoint on. */
function Longer(): JSX.Element | null {
  const facts = session.facts.value;
  const run = facts?.run;
  if (!facts || run === undefined) return null;
  return (
    <button
      type="button"
      class="plain"
      onClick={() => session.resume(run, { go: true, epochs: 2 * facts.epochs })}
    >
      {text.value.learn.longer}
    </button>
  );
}

/** Tells screen readers the result of each epoch, and nothing in between. */
function Announcer(): JSX.Element {
  const last = session.epochs.value.at(-1);
  return (
    <p class="hidden" role="status">
      {last && text.value.learn.announce(last.epoch, percent(last.testAccuracy))}
    </p>
  );
}
