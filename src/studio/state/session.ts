/**
 * The training that most views show. It outlives the change of a view, and the page: a reload, a crash or a closed tab
 * continues the run from its last checkpoint.
 */
import { effect, type Signal, signal } from '@preact/signals';
import { route } from './route.ts';
import { LinkProblem, type RunSpec, specFromQuery, specToQuery, usualSpec } from './spec.ts';
import { store, stored } from './stored.ts';
import { Trainer } from './trainer.ts';

export const session: Trainer = new Trainer(usualSpec, { keep: true });

/** What is wrong with the link that opened the page; empty if nothing is. */
export const linkProblem: Signal<string> = signal('');

/** The training of the address; undefined if it names none or is damaged. */
function specOfAddress(): RunSpec | undefined {
  if (route.value.view !== 'learn') return undefined;
  try {
    return specFromQuery(route.value.query);
  } catch (error) {
    if (!(error instanceof LinkProblem)) throw error;
    linkProblem.value = error.message;
    return undefined;
  }
}

/** The run that this page trained last, the link that started it, and whether it was training. */
interface LastRun {
  readonly run: string;
  readonly link: string;
  readonly going: boolean;
}

const lastKey = 'run';

function lastRun(): LastRun | undefined {
  try {
    const { run, link, going } = JSON.parse(stored(lastKey) ?? '{}') as Partial<LastRun>;
    return typeof run === 'string' && typeof link === 'string'
      ? { run, link, going: going === true }
      : undefined;
  } catch {
    return undefined;
  }
}

/** Prepares a training with the first view that shows it: to watch runs of this machine, none is needed. */
export function openSession(): void {
  const stop = effect(() => {
    if (route.value.view === 'watch') return;
    queueMicrotask(() => {
      stop();
      begin();
    });
  });
}

/** Continues the last run, unless the address names another training; else prepares a new one. */
function begin(): void {
  const spec = specOfAddress();
  const last = lastRun();
  const isSame = spec === undefined || specToQuery(spec) === last?.link;
  if (last && isSame) session.resume(last.run, { go: last.going });
  else session.open(spec ?? usualSpec);
  fallBack();
  remember();
  // Another link may be pasted into the address of the open page.
  addEventListener('hashchange', () => {
    linkProblem.value = '';
    const other = specOfAddress();
    if (other) session.open(other);
  });
}

/** A run that cannot be continued, for instance because another tab trains it, gives way to a new one. */
function fallBack(): void {
  const stop = effect(() => {
    if (session.phase.value === 'failed' && session.facts.value === undefined && lastRun()) {
      store(lastKey, null);
      session.open(session.spec.peek());
    }
    if (session.facts.value) queueMicrotask(() => stop());
  });
}

/** Keeps which run is open, once it has trained a step. */
function remember(): void {
  effect(() => {
    const run = session.facts.value?.run;
    const hasBegun = session.last.value !== undefined;
    const going = session.phase.value === 'training';
    const link = specToQuery(session.spec.value);
    if (run !== undefined && hasBegun) store(lastKey, JSON.stringify({ run, link, going } satisfies LastRun));
    else if (run !== undefined && session.phase.value === 'ready') store(lastKey, null);
  });
}
