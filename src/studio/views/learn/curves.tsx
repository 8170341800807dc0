/** The curves of one training: loss and accuracy over epochs, with marks where settings changed. */
import type { JSX } from 'preact';
import type { LiveSettings } from '../../../train/changes.ts';
import { axisEnd, Chart, type Mark, type Point, smooth } from '../../parts/chart.tsx';
import { short } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import type { Trainer } from '../../state/trainer.ts';

export function Curves({ trainer }: { readonly trainer: Trainer }): JSX.Element {
  const { learn, shell } = text.value;
  const facts = trainer.facts.value;
  const perEpoch = facts?.stepsPerEpoch ?? 100;
  const at = (step: number): number => step / perEpoch;
  const losses: readonly Point[] = trainer.steps.value.map(({ step, loss }) => ({ x: at(step), y: loss }));
  const epochs = trainer.epochs.value;
  const tested = (value: 'testLoss' | 'testAccuracy' | 'trainAccuracy'): readonly Point[] =>
    epochs.map((epoch) => ({ x: at(epoch.step), y: epoch[value] }));
  const common = {
    xLabel: shell.epoch,
    xEnd: axisEnd(at(trainer.last.value?.step ?? 0), facts?.epochs ?? 1),
    marks: marksOf(trainer, at),
  };
  return (
    <>
      <section class="card">
        <Chart
          {...common}
          title={learn.lossChart}
          help={learn.lossHelp}
          curves={[
            { name: learn.eachStep, points: losses, color: 1, band: true },
            { name: learn.smoothed, points: smooth(losses), color: 1 },
            { name: shell.test, points: tested('testLoss'), color: 2, dash: '6 4', dots: true },
          ]}
        />
      </section>
      <section class="card">
        <Chart
          {...common}
          percent
          title={learn.accuracyChart}
          help={learn.accuracyHelp}
          curves={[
            {
              name: learn.sampled,
              // Before the first step there is a point, but no curve.
              points: trainer.last.value
                ? trainer.probes.value.map(({ step, accuracy }) => ({ x: at(step), y: accuracy }))
                : [],
              color: 3,
            },
            { name: shell.training, points: tested('trainAccuracy'), color: 1, dash: '2 4', dots: true },
            { name: shell.test, points: tested('testAccuracy'), color: 2, dash: '6 4', dots: true },
          ]}
        />
      </section>
    </>
  );
}

function marksOf(trainer: Trainer, at: (step: number) => number): readonly Mark[] {
  return trainer.changes.value.map((change) => ({ x: at(change.step), label: changeWords(change) }));
}

/** `Learning rate 0.01, Momentum 0.5`. */
export function changeWords({ lr, momentum, weightDecay }: LiveSettings): string {
  const { learn } = text.value;
  return [
    lr !== undefined && `${learn.lr} ${short(lr)}`,
    momentum !== undefined && `${learn.momentum} ${short(momentum)}`,
    weightDecay !== undefined && `${learn.weightDecay} ${short(weightDecay)}`,
  ]
    .filter(Boolean)
    .join(', ');
}
