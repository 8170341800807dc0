/** Break it: four experiments, each a healthy training beside one in which a single thing is wrong. */
import { type Signal, signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { Duel, type Pair } from '../../state/duel.ts';
import { route } from '../../state/route.ts';
import { text } from '../../state/settings.ts';
import { type RunSpec, usualConfig } from '../../state/spec.ts';
import { DuelView } from '../compare/duel-view.tsx';

const experiments = ['labels', 'rate', 'augmentation', 'dead'] as const;
export type Experiment = (typeof experiments)[number];

const quick: RunSpec = { config: { ...usualConfig, epochs: 4 } };

/** With batch normalization and seven layers: it learns fast, and a rate that is much too high overflows. */
const deep: RunSpec = {
  config: { ...quick.config, model: 'vgg7-bn', modelOptions: { channels: [16, 32], hidden: 64 } },
};

/** So few images that a network can learn them by heart. */
const few: RunSpec = { config: { ...deep.config, epochs: 30, batchSize: 50 }, trainImages: 400 };

const change = (spec: RunSpec, config: RunSpec['config']): RunSpec => ({
  ...spec,
  config: { ...spec.config, ...config },
});

const pairs: Readonly<Record<Experiment, Pair>> = {
  labels: { a: quick, b: { ...quick, shuffledLabels: true } },
  rate: { a: deep, b: change(deep, { lr: 10 }) },
  augmentation: { a: change(few, { augment: true }), b: few },
  dead: { a: quick, b: change(quick, { lr: 0.2 }) },
};

const chosen: Signal<Experiment> = signal('labels');
const duel = new Duel(pairs.labels);

function choose(experiment: Experiment): void {
  chosen.value = experiment;
  duel.set(pairs[experiment]);
}

export function Break(): JSX.Element {
  const { breaking } = text.value;
  const { place } = route.value;
  // `#/break/augmentation` opens an experiment.
  useEffect(() => {
    const named = experiments.find((one) => one === place);
    if (named && named !== chosen.value) choose(named);
  }, [place]);
  const experiment = chosen.value;
  const { name, what, healthy, broken, look, why } = breaking.experiments[experiment];
  return (
    <div class="break">
      <div class="intro">
        <h1 tabIndex={-1}>{breaking.title}</h1>
        <p class="lead">{breaking.lead}</p>
      </div>
      <fieldset class="segments experiments" aria-label={breaking.choose}>
        {experiments.map((one) => (
          <button key={one} type="button" aria-pressed={one === experiment} onClick={() => choose(one)}>
            {breaking.experiments[one].name}
          </button>
        ))}
      </fieldset>
      <section class="card explanation" aria-labelledby="experiment">
        <h2 id="experiment">{name}</h2>
        <p>{what}</p>
        <p>
          <b>{breaking.look}</b> {look}
        </p>
        <details>
          <summary>{breaking.why}</summary>
          <p>{why}</p>
        </details>
      </section>
      <DuelView duel={duel} names={[healthy, broken]} dead={experiment === 'dead' || experiment === 'rate'} />
    </div>
  );
}
