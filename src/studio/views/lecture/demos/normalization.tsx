/** Exercise 2 on the images of the training: mean and deviation of each channel, and histograms before and after. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { fromArrays, type ImageShape } from '../../../../data/dataset.ts';
import { type ChannelStatistics, channelHistograms, channelStatistics } from '../../../../data/statistics.ts';
import { grouped } from '../../../parts/words.ts';
import { session } from '../../../state/session.ts';
import { stepTexts } from '../step-texts.ts';

const mostImages = 1000;
/** Values of a byte that are one bin. */
const binSize = 8;
/** Channels in colors that stay apart, with dashes. */
const lines = [
  { color: 'var(--series-2)', dash: undefined },
  { color: 'var(--series-3)', dash: '6 3' },
  { color: 'var(--series-1)', dash: '2 3' },
] as const;

interface Found extends ChannelStatistics {
  /** For each channel, the share of pixels in each bin. */
  readonly bins: readonly (readonly number[])[];
  readonly count: number;
  readonly dataset: string;
}

function statisticsOf(pixels: Uint8Array, shape: ImageShape, dataset: string): Found {
  const count = pixels.length / (shape[0] * shape[1] * shape[2]);
  const images = fromArrays(pixels, new Uint16Array(count), shape);
  const values = count * shape[1] * shape[2];
  const bins = channelHistograms(images).map((histogram) =>
    Array.from({ length: 256 / binSize }, (_, bin) => {
      const from = bin * binSize;
      return histogram.subarray(from, from + binSize).reduce((sum, one) => sum + one, 0) / values;
    }),
  );
  return { ...channelStatistics(images), bins, count, dataset };
}

export function Normalization(): JSX.Element {
  const words = stepTexts.value.exercise2;
  const facts = session.facts.value;
  const found = useSignal<Found | undefined>(undefined);
  useEffect(() => {
    if (!facts) return;
    const indices = Array.from({ length: Math.min(mostImages, facts.trainImages) }, (_, i) => i);
    session.ask({ kind: 'images', split: 'train', indices }).then(
      ({ pixels }) => {
        found.value = statisticsOf(pixels, facts.shape, facts.dataset);
      },
      () => undefined,
    );
  }, [facts]);
  if (!found.value) return <p class="note">{words.waiting}</p>;
  const { mean, std, count, dataset, bins } = found.value;
  return (
    <>
      <p class="note">{words.histograms(grouped(count), dataset)}</p>
      <div class="histograms">
        <Histogram title={words.before} bins={bins} at={(value) => value} from={0} to={1} />
        <Histogram
          title={words.after}
          bins={bins}
          at={(value, channel) => (value - mean[channel]!) / std[channel]!}
          from={-3}
          to={4}
        />
      </div>
      <table class="comparison statistics">
        <thead>
          <tr>
            <th scope="col">
              <span class="hidden">RGB</span>
            </th>
            <th scope="col">{words.mean}</th>
            <th scope="col">{words.std}</th>
          </tr>
        </thead>
        <tbody>
          {mean.map((value, channel) => (
            <tr key={words.channels[channel]}>
              <th scope="row">
                <svg width="26" height="8" aria-hidden="true">
                  <line
                    x1="0"
                    x2="26"
                    y1="4"
                    y2="4"
                    stroke={lines[channel]?.color}
                    stroke-dasharray={lines[channel]?.dash}
                    stroke-width="2.5"
                  />
                </svg>{' '}
                {words.channels[channel]}
              </th>
              <td class="number">{value.toFixed(3)}</td>
              <td class="number">{std[channel]!.toFixed(3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

const width = 340;
const height = 150;
const foot = 22;

function Histogram(props: {
  readonly title: string;
  readonly bins: Found['bins'];
  /** Where a pixel of value 0–1 is on the axis. */
  readonly at: (value: number, channel: number) => number;
  readonly from: number;
  readonly to: number;
}): JSX.Element {
  const { title, bins, at, from, to } = props;
  const x = (value: number): number => ((value - from) / (to - from)) * width;
  // Bright and dark extremes may be clipped: they would flatten the rest.
  const sorted = bins.flat().sort((a, b) => b - a);
  const most = (sorted[Math.floor(sorted.length * 0.03)] ?? 1) * 1.1 || 1;
  const y = (share: number): number => (height - foot) * (1 - Math.min(1, share / most));
  const ticks = from === 0 ? [0, 0.25, 0.5, 0.75, 1] : [-3, -2, -1, 0, 1, 2, 3, 4];
  return (
    <figure>
      <figcaption>
        <b>{title}</b>
      </figcaption>
      <svg class="histogram" viewBox={`-6 -4 ${width + 12} ${height + 4}`} role="img" aria-label={title}>
        {ticks.map((tick) => (
          <g key={tick}>
            <line class={tick === 0 ? 'zero' : 'tick'} x1={x(tick)} x2={x(tick)} y1="0" y2={height - foot} />
            <text x={x(tick)} y={height - 5} text-anchor="middle">
              {tick}
            </text>
          </g>
        ))}
        {bins.map((shares, channel) => {
          const points = shares.map((share, bin) => {
            const value = ((bin + 0.5) * binSize) / 256;
            return `${x(at(value, channel)).toFixed(1)},${y(share).toFixed(1)}`;
          });
          const line = lines[channel];
          return (
            <polyline
              key={line?.color ?? channel}
              points={points.join(' ')}
              fill="none"
              stroke={line?.color ?? 'var(--series-6)'}
              stroke-width="2"
              stroke-dasharray={line?.dash}
            />
          );
        })}
      </svg>
    </figure>
  );
}
