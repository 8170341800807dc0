/** The numbers behind one value of a map: inputs, weights, products and their sum, as the convolution computes it. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { chosenImage } from '../../state/chosen.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { RunFacts, ValueSum } from '../../worker/protocol.ts';
import type { Place } from './see.tsx';

/** Input maps whose numbers are shown: those that add most. */
const shownTerms = 3;

const number = (value: number): string => value.toFixed(2).replace('-', '−');

/** `0.09 − 0.09 + 0.19`. */
const added = (parts: readonly number[]): string =>
  parts
    .map((part, i) => (i === 0 ? number(part) : `${part < 0 ? '−' : '+'} ${number(Math.abs(part))}`))
    .join(' ');

export function SumPanel(props: {
  readonly facts: RunFacts;
  readonly place: Place;
  readonly onMove: (place: Place) => void;
}): JSX.Element {
  const { see } = text.value;
  const { facts, place, onMove } = props;
  const { layer, channel, y, x } = place;
  const sum = useSignal<ValueSum | undefined>(undefined);
  const problem = useSignal('');
  const step = session.view.value?.step;
  useEffect(() => {
    let current = true;
    session.ask({ kind: 'sum', image: chosenImage.value, layer, channel, place: [y, x] }).then(
      (answer) => {
        if (!current) return;
        sum.value = answer;
        problem.value = '';
      },
      (error: Error) => {
        if (current) problem.value = error.message;
      },
    );
    return () => {
      current = false;
    };
  }, [layer, channel, y, x, step, chosenImage.value]);
  const { name, output } = facts.layers[layer]!;
  const [, height = 1, width = 1] = output;
  const move = (dy: number, dx: number): void =>
    onMove({
      ...place,
      y: Math.min(height - 1, Math.max(0, y + dy)),
      x: Math.min(width - 1, Math.max(0, x + dx)),
    });
  const shown = sum.value;
  return (
    <section class="sum" aria-labelledby="sum-title">
      <div class="sum-head">
        <div>
          <h3 id="sum-title">{see.sum}</h3>
          <p class="note">{see.sumOf(name, channel + 1, y + 1, x + 1)}</p>
        </div>
        <fieldset class="move" aria-label={see.move}>
          <Move label={see.leftward} sign="←" onMove={() => move(0, -1)} />
          <Move label={see.up} sign="↑" onMove={() => move(-1, 0)} />
          <Move label={see.down} sign="↓" onMove={() => move(1, 0)} />
          <Move label={see.rightward} sign="→" onMove={() => move(0, 1)} />
        </fieldset>
      </div>
      {problem.value && <p class="note">{problem.value}</p>}
      {shown && <Terms sum={shown} facts={facts} />}
    </section>
  );
}

const Move = (props: { label: string; sign: string; onMove: () => void }): JSX.Element => (
  <button type="button" aria-label={props.label} onClick={props.onMove}>
    <span aria-hidden="true">{props.sign}</span>
  </button>
);

function Terms({ sum, facts }: { readonly sum: ValueSum; readonly facts: RunFacts }): JSX.Element {
  const { see } = text.value;
  const isFirst = sum.kind === 'conv2d' && sum.terms.length === facts.shape[0] && sum.layer <= 2;
  const nameOf = (channel: number): string =>
    isFirst && facts.shape[0] === 3 ? see.colors[channel]! : see.mapName(channel + 1);
  if (sum.kind !== 'conv2d') {
    const { inputs, channel } = sum.terms[0]!;
    return (
      <>
        <p>{sum.kind === 'maxPool2d' ? see.sumPool : see.sumAverage}</p>
        <div class="term">
          <Grid
            title={see.inputOf(nameOf(channel))}
            values={inputs}
            columns={sum.kernel[1]}
            marked={sum.kind === 'maxPool2d' ? sum.value : undefined}
          />
          <span class="operator">→</span>
          <b class="value">{number(sum.value)}</b>
        </div>
      </>
    );
  }
  const ordered = isFirst ? sum.terms : sum.terms.toSorted((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const most = isFirst ? sum.terms.length : shownTerms;
  const rest = ordered.slice(most);
  const normalized =
    sum.relu && Math.abs(Math.max(0, sum.sum) - sum.value) > 1e-3 * Math.abs(sum.value) + 1e-4;
  return (
    <>
      <p>{see.sumConv}</p>
      {ordered.slice(0, most).map(({ channel, inputs, weights, sum: part }) => (
        <div key={channel} class="term">
          <Grid title={see.inputOf(nameOf(channel))} values={inputs} columns={sum.kernel[1]} />
          <span class="factor">
            <span class="operator">×</span>
            <Grid title={see.weights} values={weights!} columns={sum.kernel[1]} />
          </span>
          <span class="factor">
            <span class="operator">=</span>
            <Grid
              title={see.products}
              values={inputs.map((value, i) => value * weights![i]!)}
              columns={sum.kernel[1]}
            />
          </span>
          <span class="operator">→</span>
          <span class="part">
            <span class="note">{see.partSum}</span>
            <b class="value">{number(part)}</b>
          </span>
        </div>
      ))}
      {rest.length > 0 && (
        <p class="note">
          {see.others(rest.length, number(rest.reduce((total, term) => total + term.sum, 0)))}
        </p>
      )}
      <p class="equation">
        <span>
          {added([
            ...ordered.slice(0, most).map(({ sum: part }) => part),
            ...(rest.length > 0 ? [rest.reduce((total, term) => total + term.sum, 0)] : []),
            sum.bias,
          ])}
          {` (${see.bias}) = `}
          <b>{number(sum.sum)}</b>
        </span>
        {sum.relu && (
          <span>
            {' '}
            → <b class="value">{number(sum.value)}</b> {see.afterRelu}
          </span>
        )}
      </p>
      {sum.relu && <p class="note">{normalized ? see.normalized : see.reluWhy(sum.sum < 0)}</p>}
    </>
  );
}

/** Numbers in their window, colored by sign and size. */
function Grid(props: {
  readonly title: string;
  readonly values: Float32Array;
  readonly columns: number;
  readonly marked?: number | undefined;
}): JSX.Element {
  const { title, values, columns, marked } = props;
  const most = values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-9);
  const rows = Array.from({ length: values.length / columns }, (_, y) =>
    values.subarray(y * columns, (y + 1) * columns),
  );
  return (
    <table class="window">
      <caption>{title}</caption>
      <tbody>
        {rows.map((row, y) => (
          <tr key={String(y)}>
            {Array.from(row, (value, x) => (
              <td
                key={String(x)}
                class={`${value < 0 ? 'negative' : 'positive'} ${value === marked ? 'marked' : ''}`}
                style={{ '--v': (Math.abs(value) / most).toFixed(3) }}
              >
                {number(value)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
