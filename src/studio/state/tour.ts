/** Where the user is in the lecture's tour. Other views show its question while a step is open. */
import { type Signal, signal } from '@preact/signals';
import type { ComponentType } from 'preact';
import { store, stored } from './stored.ts';

/** The steps, in the lecture's order. */
export const stepNames = [
  'table',
  'filters',
  'transforms',
  'model',
  'training',
  'schedule',
  'test',
  'exercise1',
  'exercise2',
  'exercise3',
  'exercise4',
  'own',
] as const;
export type StepName = (typeof stepNames)[number];

export const stepOf = (name: string | null): StepName | undefined => stepNames.find((step) => step === name);

/** The step whose link the user has followed; undefined outside of the tour. */
export const followed: Signal<StepName | undefined> = signal(undefined);

/** Shows the open step's question in other views. It comes with the lecture's words, when that view is first opened. */
export const tourBar: Signal<ComponentType | undefined> = signal(undefined);

const guessesKey = 'guesses';

/** Each step's guess, as the place of a choice. */
export type Guesses = Readonly<Partial<Record<StepName, number>>>;
export const guesses: Signal<Guesses> = signal(storedGuesses());

function storedGuesses(): Guesses {
  try {
    const found: unknown = JSON.parse(stored(guessesKey) ?? '{}');
    if (typeof found !== 'object' || found === null) return {};
    return Object.fromEntries(
      Object.entries(found).filter(([name, guess]) => stepOf(name) && Number.isInteger(guess)),
    );
  } catch {
    return {};
  }
}

export function guess(step: StepName, choice: number): void {
  guesses.value = { ...guesses.value, [step]: choice };
  store(guessesKey, JSON.stringify(guesses.value));
}
