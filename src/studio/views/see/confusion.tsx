/** Which classes the network takes for which others: a matrix whose cells open their images. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { imagePixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { className, grouped, percent } from '../../parts/words.ts';
import { chosenImage } from '../../state/chosen.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { Confusion, RunFacts } from '../../worker/protocol.ts';

/** With more classes, the matrix would be too small to read: the most frequent confusions are listed. */
const largestMatrix = 24;
const listedConfusions = 24;
/** Images of a cell that are shown. */
const shownImages = 40;

interface Cell {
  readonly truth: number;
  readonly answer: number;
}

export function ConfusionMatrix({ facts }: { readonly facts: RunFacts }): JSX.Element {
  const { see } = text.value;
  const found = useSignal<Confusion | undefined>(undefined);
  const busy = useSignal(false);
  const cell = useSignal<Cell | undefined>(undefined);
  const test = (): void => {
    if (busy.value) return;
    busy.value = true;
    session
      .ask({ kind: 'confusion' })
      .then(
        (answer) => {
          found.value = answer;
        },
        () => undefined,
      )
      .finally(() => {
        busy.value = false;
      });
  };
  // When the view opens, after each epoch, and when the training comes to rest.
  const isTraining = session.phase.value === 'training';
  useEffect(test, [facts, session.epochs.value.length, isTraining]);
  const classes = facts.classes.length;
  const confusion = found.value;
  const counts = confusion && countsOf(confusion, classes);
  return (
    <section class="card confusion" aria-labelledby="confusion-title">
      <div class="confusion-head">
        <div>
          <h2 id="confusion-title">{see.confusion}</h2>
          <p class="note">{see.confusionHelp}</p>
        </div>
        <button type="button" disabled={busy.value} onClick={test}>
          {see.confusionNow}
        </button>
      </div>
      {confusion && counts && (
        <>
          <p>{see.confusionAt(grouped(confusion.step), percent(rightShare(confusion)))}</p>
          <div class="confusion-columns">
            {classes <= largestMatrix ? (
              <Matrix facts={facts} counts={counts} cell={cell.value} onOpen={(to) => (cell.value = to)} />
            ) : (
              <List facts={facts} counts={counts} onOpen={(to) => (cell.value = to)} />
            )}
            {cell.value && <CellImages facts={facts} confusion={confusion} cell={cell.value} />}
          </div>
        </>
      )}
    </section>
  );
}

/** [truth, answer]. */
function countsOf({ labels, predicted }: Confusion, classes: number): Uint32Array {
  const counts = new Uint32Array(classes * classes);
  for (const [i, label] of labels.entries()) counts[label * classes + predicted[i]!]!++;
  return counts;
}

const rightShare = ({ labels, predicted }: Confusion): number =>
  labels.filter((label, i) => label === predicted[i]).length / labels.length;

const moves: Readonly<Record<string, readonly [row: number, column: number]>> = {
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
};

function Matrix(props: {
  readonly facts: RunFacts;
  readonly counts: Uint32Array;
  readonly cell: Cell | undefined;
  readonly onOpen: (cell: Cell) => void;
}): JSX.Element {
  const { see } = text.value;
  const { facts, counts, cell, onOpen } = props;
  const table = useRef<HTMLTableElement>(null);
  const names = facts.classes.map(className);
  const focused = useSignal<Cell>({ truth: 0, answer: 0 });
  const onKey = (event: KeyboardEvent): void => {
    const step = moves[event.key];
    if (!step) return;
    const last = names.length - 1;
    const truth = Math.min(last, Math.max(0, focused.value.truth + step[0]));
    const answer = Math.min(last, Math.max(0, focused.value.answer + step[1]));
    focused.value = { truth, answer };
    table.current
      ?.querySelectorAll<HTMLElement>('tbody tr')
      [truth]?.querySelectorAll('button')
      [answer]?.focus();
    event.preventDefault();
  };
  return (
    <div class="scroll">
      <table class="matrix" ref={table} onKeyDown={onKey}>
        <thead>
          <tr>
            <th scope="col">{see.truthAxis}</th>
            {names.map((name) => (
              <th key={name} scope="col">
                <span>{name}</span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {names.map((name, truth) => {
            const row = counts.subarray(truth * names.length, (truth + 1) * names.length);
            const total = row.reduce((a, b) => a + b, 0) || 1;
            return (
              <tr key={name}>
                <th scope="row">{name}</th>
                {names.map((other, answer) => {
                  const count = row[answer]!;
                  const right = truth === answer;
                  const share = right ? count / total : Math.sqrt(count / total);
                  const isFocused = focused.value.truth === truth && focused.value.answer === answer;
                  return (
                    <td key={other} class={right ? 'right' : 'wrong'} style={{ '--v': share.toFixed(3) }}>
                      <button
                        type="button"
                        tabIndex={isFocused ? 0 : -1}
                        aria-label={see.cell(name, other, count)}
                        aria-pressed={cell?.truth === truth && cell.answer === answer}
                        onFocus={() => {
                          focused.value = { truth, answer };
                        }}
                        onClick={() => onOpen({ truth, answer })}
                      >
                        {count > 0 ? count : ''}
                      </button>
                    </td>
                  );
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function List(props: {
  readonly facts: RunFacts;
  readonly counts: Uint32Array;
  readonly onOpen: (cell: Cell) => void;
}): JSX.Element {
  const { see } = text.value;
  const { facts, counts, onOpen } = props;
  const { classes } = facts;
  const worst = Array.from(counts, (count, i) => ({
    count,
    truth: Math.floor(i / classes.length),
    answer: i % classes.length,
  }))
    .filter(({ count, truth, answer }) => count > 0 && truth !== answer)
    .sort((a, b) => b.count - a.count)
    .slice(0, listedConfusions);
  return (
    <div>
      <h3>{see.confusions}</h3>
      <ol class="confusion-list">
        {worst.map(({ count, truth, answer }) => (
          <li key={`${truth}-${answer}`}>
            <button type="button" onClick={() => onOpen({ truth, answer })}>
              {see.cell(className(classes[truth]!), className(classes[answer]!), count)}
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** The images of a cell, the most confident answers first. Pressing one shows it in the layers above. */
function CellImages(props: {
  readonly facts: RunFacts;
  readonly confusion: Confusion;
  readonly cell: Cell;
}): JSX.Element {
  const { see } = text.value;
  const { facts, confusion, cell } = props;
  const { truth, answer } = cell;
  const { labels, predicted, confidence } = confusion;
  const indices = Array.from(labels.keys())
    .filter((i) => labels[i] === truth && predicted[i] === answer)
    .sort((a, b) => confidence[b]! - confidence[a]!);
  const shown = indices.slice(0, shownImages);
  const pixels = useSignal<{ readonly of: string; readonly bytes: Uint8Array } | undefined>(undefined);
  const key = shown.join();
  useEffect(() => {
    if (shown.length === 0) return;
    session.ask({ kind: 'images', split: 'test', indices: shown }).then(
      ({ pixels: bytes }) => {
        pixels.value = { of: key, bytes };
      },
      () => undefined,
    );
  }, [key]);
  const [channels = 1, height = 1, width = 1] = facts.shape;
  const names = [className(facts.classes[truth]!), className(facts.classes[answer]!)] as const;
  const loaded = pixels.value?.of === key ? pixels.value.bytes : undefined;
  return (
    <div class="cell-images" role="status">
      <h3>{see.cellImages(...names, indices.length)}</h3>
      <p class="note">{shown.length > 0 ? see.cellShown(shown.length) : see.cellEmpty}</p>
      <ul>
        {loaded &&
          shown.map((index, i) => (
            <li key={index}>
              <button
                type="button"
                class="tile"
                aria-label={`${see.imageOf(String(index + 1), names[0])}, ${percent(confidence[index]!, 0)}`}
                onClick={() => {
                  chosenImage.value = { split: 'test', index };
                  document.getElementById('answer-title')?.scrollIntoView({ block: 'center' });
                }}
              >
                <Raster
                  pixels={imagePixels(loaded, facts.shape, i * channels * height * width)}
                  width={width}
                  height={height}
                />
              </button>
            </li>
          ))}
      </ul>
    </div>
  );
}
