/** Live pictures of a training: its answers for the same test images, and its first filters. */
import { useComputed, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { filterPixels, imagePixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { className, percent } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import type { Trainer } from '../../state/trainer.ts';
import type { RunFacts } from '../../worker/protocol.ts';

/** Images that are shown; the probe has more, for a steadier accuracy. */
const shownImages = 30;

export function ProbeSheet({ trainer }: { readonly trainer: Trainer }): JSX.Element {
  const { learn } = text.value;
  const images = useSignal<
    { readonly facts: RunFacts; readonly pixels: Uint8Array; readonly labels: readonly number[] } | undefined
  >(undefined);
  const facts = trainer.facts.value;
  useEffect(() => {
    if (!facts) return;
    const indices = facts.probe.slice(0, shownImages);
    trainer.ask({ kind: 'images', split: 'test', indices }).then(
      (answer) => {
        images.value = { facts, ...answer };
      },
      () => undefined,
    );
  }, [facts]);
  const probe = trainer.view.value?.probe;
  const shown = images.value;
  const right = probe
    ? Array.from(probe.labels.subarray(0, shownImages)).filter((label, i) => probe.predicted[i] === label)
        .length
    : 0;
  return (
    <section class="card">
      <h2>{learn.probe}</h2>
      <p class="note">
        {learn.probeHelp}{' '}
        {probe && <b>{learn.probeState(right, Math.min(shownImages, probe.labels.length))}</b>}
      </p>
      <ul class="probe">
        {shown?.labels.map((label, i) => {
          const answer = probe?.predicted[i];
          const truth = className(shown.facts.classes[label]!);
          const state = answer === undefined ? '' : answer === label ? 'right' : 'wrong';
          const words =
            answer === undefined
              ? learn.probeWaiting(truth)
              : learn.probeImage(
                  truth,
                  className(shown.facts.classes[answer]!),
                  percent(probe!.confidence[i]!, 0),
                );
          return (
            // The places of the images never change.
            <li key={i} class={state} title={words}>
              <ProbeImage pixels={shown.pixels} facts={shown.facts} index={i} label={words} />
              <span class="answer" aria-hidden="true">
                {answer === undefined ? '?' : className(shown.facts.classes[answer]!)}
              </span>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function ProbeImage(props: {
  readonly pixels: Uint8Array;
  readonly facts: RunFacts;
  readonly index: number;
  readonly label: string;
}): JSX.Element {
  const { pixels, facts, index, label } = props;
  const [channels = 1, height = 1, width = 1] = facts.shape;
  const colored = useComputed(() => imagePixels(pixels, facts.shape, index * channels * height * width));
  return <Raster pixels={colored.value} width={width} height={height} label={label} />;
}

export function FilterSheet({ trainer }: { readonly trainer: Trainer }): JSX.Element | null {
  const { learn } = text.value;
  const filters = trainer.view.value?.filters;
  const [out = 0, , height = 1, width = 1] = filters?.shape ?? [];
  return (
    <section class="card">
      <h2>{learn.filters}</h2>
      <p class="note">{learn.filtersHelp(filters?.layer ?? '', out)}</p>
      <div class="filters">
        {filters &&
          Array.from({ length: Math.min(out, 64) }, (_, i) => (
            <Raster
              key={i}
              pixels={filterPixels(filters.values, filters.shape, i)}
              width={width}
              height={height}
            />
          ))}
      </div>
    </section>
  );
}
