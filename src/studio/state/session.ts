/** The training that most views show. It outlives the change of a view. */
import { type Signal, signal } from '@preact/signals';
import { route } from './route.ts';
import { LinkProblem, type RunSpec, specFromQuery, usualSpec } from './spec.ts';
import { Trainer } from './trainer.ts';

export const session: Trainer = new Trainer(usualSpec);

/** What is wrong with the link that opened the page; empty if nothing is. */
export const linkProblem: Signal<string> = signal('');

/** The training of the address; undefined if it names none or is damaged. */
function specOfAddress(): RunSpec | undefined {
  try {
    return specFromQuery(route.value.query);
  } catch (error) {
    if (!(error instanceof LinkProblem)) throw error;
    linkProblem.value = error.message;
    return undefined;
  }
}

/** Prepares the training that the address names, or the usual one. */
export function openSession(): void {
  session.open(specOfAddress() ?? usualSpec);
  // Another link may be pasted into the address of the open page.
  addEventListener('hashchange', () => {
    linkProblem.value = '';
    const spec = specOfAddress();
    if (spec) session.open(spec);
  });
}
