/** The picture that is shown to the network, and what it answers. The newest picture wins while an answer is awaited. */
import { type Signal, signal } from '@preact/signals';
import { session } from '../../state/session.ts';
import type { Heat, RunFacts } from '../../worker/protocol.ts';

export type Picture = Blob | ImageData;

export interface Looked {
  readonly facts: RunFacts;
  /** As the network takes it: planar bytes. */
  readonly pixels: Uint8Array;
  readonly probabilities: Float32Array;
  /** The evidence for the best class; undefined for networks without maps. */
  readonly heat: Heat | undefined;
}

export const looked: Signal<Looked | undefined> = signal(undefined);
/** Why a picture cannot be shown; empty if it can. */
export const problem: Signal<string> = signal('');

/** The last picture, which another network is asked about again, and which can be collected. */
export const picture: Signal<Picture | undefined> = signal(undefined);

let isBusy = false;
let hasNews = false;

/** Shows the network a picture. */
export function show(given: Picture): void {
  picture.value = given;
  problem.value = '';
  again();
}

/** Asks about the picture once more, as after training steps. */
export function again(): void {
  hasNews = true;
  if (!isBusy) void answerAll();
}

async function answerAll(): Promise<void> {
  isBusy = true;
  while (hasNews) {
    hasNews = false;
    const [facts, given] = [session.facts.value, picture.value];
    if (!facts || !given) break;
    try {
      looked.value = await answerFor(given, facts);
    } catch (error) {
      // Another training was opened meanwhile: it is asked when it is ready.
      if (session.facts.value === facts)
        problem.value = error instanceof Error ? error.message : String(error);
    }
  }
  isBusy = false;
}

async function answerFor(given: Picture, facts: RunFacts): Promise<Looked> {
  const { pixels } = await session.ask({ kind: 'decode', picture: given, shape: facts.shape });
  const { probabilities } = await session.ask({ kind: 'classify', pixels });
  const label = probabilities.indexOf(Math.max(...probabilities));
  const hasMaps = facts.layers.some(({ kind }) => kind === 'conv2d');
  const heat = hasMaps ? await session.ask({ kind: 'heat', image: { pixels }, label }) : undefined;
  return { facts, pixels, probabilities, heat };
}
