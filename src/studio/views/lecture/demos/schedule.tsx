/** The lecture's learning rates: divided every so many epochs, by the library's own schedule. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { stepSchedule } from '../../../../train/schedules.ts';
import { Chart } from '../../../parts/chart.tsx';
import { short } from '../../../parts/words.ts';
import { text } from '../../../state/settings.ts';
import { stepTexts } from '../step-texts.ts';

const epochs = 80;
const start = 0.001;
const everyChoices = [10, 20, 40];
const byChoices = [2, 3, 10];

export function RateSchedule(): JSX.Element {
  const words = stepTexts.value.schedule;
  const { shell } = text.value;
  const every = useSignal(20);
  const by = useSignal(3);
  const schedule = stepSchedule(start, every.value, 1 / by.value);
  const rateOf = (epoch: number): number =>
    schedule({ epoch, step: 0, stepsPerEpoch: 1, epochs, totalSteps: epochs, plateaus: 0 });
  const points = Array.from({ length: epochs }, (_, i) => rateOf(i + 1)).flatMap((y, i) => [
    { x: i, y },
    { x: i + 1, y },
  ]);
  const spans = Array.from({ length: epochs / every.value }, (_, i) => i * every.value + 1);
  return (
    <>
      <div class="choice-row">
        <Segments
          label={words.every}
          values={everyChoices}
          value={every.value}
          shown={words.epochs}
          onChoose={(value) => {
            every.value = value;
          }}
        />
        <Segments
          label={words.by}
          values={byChoices}
          value={by.value}
          shown={String}
          onChoose={(value) => {
            by.value = value;
          }}
        />
      </div>
      <Chart
        title={words.chart}
        help={words.chartHelp}
        xLabel={shell.epoch}
        xEnd={epochs}
        curves={[{ name: words.rate, points, color: 1 }]}
      />
      <ul class="rates" aria-label={words.table}>
        {spans.map((from) => (
          <li key={from}>
            <span class="note">{words.span(from, from + every.value - 1)}</span> <b>{short(rateOf(from))}</b>
          </li>
        ))}
      </ul>
    </>
  );
}

function Segments(props: {
  readonly label: string;
  readonly values: readonly number[];
  readonly value: number;
  readonly shown: (value: number) => string;
  readonly onChoose: (value: number) => void;
}): JSX.Element {
  const { label, values, value, shown, onChoose } = props;
  return (
    <div class="labeled">
      <span class="note" aria-hidden="true">
        {label}
      </span>
      <fieldset class="segments" aria-label={label}>
        {values.map((one) => (
          <button key={one} type="button" aria-pressed={one === value} onClick={() => onChoose(one)}>
            {shown(one)}
          </button>
        ))}
      </fieldset>
    </div>
  );
}
