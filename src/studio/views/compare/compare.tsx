/** Compare: two trainings that differ in one thing, chosen here. With no difference, they have the same bits. */
import { type Signal, signal } from '@preact/signals';
import type { JSX } from 'preact';
import type { TrainConfigInput } from '../../../train/config-table.ts';
import { short } from '../../parts/words.ts';
import { Duel } from '../../state/duel.ts';
import { text } from '../../state/settings.ts';
import { usualConfig } from '../../state/spec.ts';
import { DuelView } from './duel-view.tsx';

/** What may differ, and the values it may have; the first two are those at the start. */
const differences = {
  nothing: [0, 0],
  lr: [0.02, 0.002, 0.0005, 0.05, 0.1, 0.2],
  momentum: [0.9, 0, 0.5, 0.99],
  optimizer: ['sgd', 'adam'],
  batchSize: [100, 25, 50, 400],
  model: ['simplified', 'vgg7', 'vgg7-bn'],
  augment: [false, true],
  weightDecay: [0, 0.01, 0.1],
  seed: [0, 1, 2],
} as const satisfies Record<string, readonly (string | number | boolean)[]>;
type Difference = keyof typeof differences;
type Value = string | number | boolean;

interface Choice {
  readonly difference: Difference;
  readonly a: Value;
  readonly b: Value;
}

const epochs = 4;

/** Networks of the comparison are small, so that a browser trains two of them in a lecture. */
function specOf({ difference }: Choice, value: Value): { readonly config: TrainConfigInput } {
  const base: TrainConfigInput = { ...usualConfig, epochs };
  if (difference === 'nothing') return { config: base };
  if (difference === 'optimizer' && value === 'adam') {
    const { momentum: _, ...rest } = base;
    return { config: { ...rest, optimizer: 'adam' } };
  }
  const small = difference === 'model' && value !== 'simplified';
  return {
    config: {
      ...base,
      [difference]: value,
      ...(small && { modelOptions: { channels: [16, 32], hidden: 64 } }),
    },
  };
}

const pairOf = (choice: Choice) => ({ a: specOf(choice, choice.a), b: specOf(choice, choice.b) });

const choice: Signal<Choice> = signal({ difference: 'lr', a: 0.02, b: 0.002 });
const duel = new Duel(pairOf(choice.value));

function choose(next: Choice): void {
  choice.value = next;
  duel.set(pairOf(next));
}

export function Compare(): JSX.Element {
  const { compare } = text.value;
  const { difference, a, b } = choice.value;
  const named = (value: Value): string =>
    difference === 'nothing' ? compare.same : `${compare.difference[difference]} ${worded(value)}`;
  return (
    <div class="compare">
      <div class="intro">
        <h1 tabIndex={-1}>{compare.title}</h1>
        <p class="lead">{compare.lead}</p>
      </div>
      <fieldset class="card choice">
        <legend class="hidden">{compare.choose}</legend>
        <label>
          <span>{compare.what}</span>
          <select
            value={difference}
            onChange={({ currentTarget }) => {
              const next = currentTarget.value as Difference;
              const [first, second] = differences[next];
              choose({ difference: next, a: first, b: second });
            }}
          >
            {Object.keys(differences).map((name) => (
              <option key={name} value={name}>
                {compare.difference[name as Difference]}
              </option>
            ))}
          </select>
        </label>
        {difference !== 'nothing' && (
          <>
            <ValueChoice
              letter="A"
              difference={difference}
              value={a}
              onChoose={(value) => choose({ difference, a: value, b })}
            />
            <ValueChoice
              letter="B"
              difference={difference}
              value={b}
              onChoose={(value) => choose({ difference, a, b: value })}
            />
          </>
        )}
        <p class="note">{compare.equal}</p>
      </fieldset>
      <DuelView duel={duel} names={[named(a), named(b)]}>
        <Bits />
      </DuelView>
    </div>
  );
}

function worded(value: Value): string {
  if (typeof value === 'number') return short(value);
  if (typeof value === 'boolean') return value ? text.value.compare.on : text.value.compare.off;
  return value;
}

function ValueChoice(props: {
  readonly letter: 'A' | 'B';
  readonly difference: Difference;
  readonly value: Value;
  readonly onChoose: (value: Value) => void;
}): JSX.Element {
  const { letter, difference, value, onChoose } = props;
  const values: readonly Value[] = differences[difference];
  return (
    <label>
      <span>{letter}</span>
      <select
        value={String(value)}
        onChange={({ currentTarget }) => onChoose(values[currentTarget.selectedIndex]!)}
      >
        {values.map((one) => (
          <option key={String(one)} value={String(one)}>
            {worded(one)}
          </option>
        ))}
      </select>
    </label>
  );
}

/** The fingerprints of the weights after the last epoch that both have done. */
function Bits(): JSX.Element | undefined {
  const { compare } = text.value;
  const [a, b] = [duel.a.epochs.value, duel.b.epochs.value];
  const common = Math.min(a.length, b.length);
  const [first, second] = [a[common - 1], b[common - 1]];
  if (!first || !second) return <p class="card bits">{compare.bitsLater}</p>;
  const same = first.hash === second.hash;
  return (
    <p class={`card bits ${same ? 'same' : ''}`} role="status">
      {compare.after(first.epoch)} <code>{first.hash}</code> {same ? '=' : '≠'} <code>{second.hash}</code>{' '}
      <b>{same ? compare.sameBits : compare.otherBits}</b>{' '}
      <span class="note">{same ? compare.sameWhy : compare.otherWhy}</span>
    </p>
  );
}
