/** The maps after one layer, as tiles to press. */
import { useSignal } from '@preact/signals';
import type { JSX, TargetedMouseEvent } from 'preact';
import { mapPixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { short } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import type { LayerFacts, LayerMaps } from '../../worker/protocol.ts';
import type { Place } from './see.tsx';

/** Tiles that are shown at first. */
const few = 16;

export function LayerRow(props: {
  readonly facts: LayerFacts;
  readonly made: LayerFacts;
  readonly map: LayerMaps;
  readonly picked: Place | undefined;
  readonly onPick: (place: Place) => void;
}): JSX.Element {
  const { see } = text.value;
  const { facts, made, map, picked, onPick } = props;
  const all = useSignal(false);
  const [channels = 0, height = 1, width = 1] = map.shape;
  const shown = all.value ? channels : Math.min(channels, few);
  const area = height * width;
  return (
    <div class="layer">
      <h3>
        {facts.name} <span class="note">{described(made, channels, `${height}×${width}`)}</span>
      </h3>
      <div class="tiles">
        {Array.from({ length: shown }, (_, channel) => {
          const values = map.values.subarray(channel * area, (channel + 1) * area);
          const largest = largestOf(values);
          const at = (place: number): Place => ({
            layer: map.layer,
            channel,
            y: Math.floor(place / width),
            x: place % width,
          });
          return (
            <button
              key={`${map.layer}-${channel}`}
              type="button"
              class="tile"
              aria-pressed={picked?.channel === channel}
              aria-label={see.map(channel + 1, facts.name, short(values[largest]!))}
              onClick={(event) => onPick(pressed(event, height, width, map.layer, channel) ?? at(largest))}
            >
              <Raster pixels={mapPixels(values, area)} width={width} height={height} />
              {picked?.channel === channel && <Frame place={picked} height={height} width={width} />}
            </button>
          );
        })}
      </div>
      {channels > few && (
        <button
          type="button"
          class="plain"
          onClick={() => {
            all.value = !all.value;
          }}
        >
          {all.value ? see.fewer : see.more(channels)}
        </button>
      )}
    </div>
  );
}

/** The pixel under the pointer; undefined if the keyboard pressed the tile. */
function pressed(
  event: TargetedMouseEvent<HTMLButtonElement>,
  height: number,
  width: number,
  layer: number,
  channel: number,
): Place | undefined {
  if (event.detail === 0) return undefined;
  const box = event.currentTarget.querySelector('canvas')!.getBoundingClientRect();
  const clamp = (share: number, side: number): number =>
    Math.min(side - 1, Math.max(0, Math.floor(share * side)));
  return {
    layer,
    channel,
    y: clamp((event.clientY - box.top) / box.height, height),
    x: clamp((event.clientX - box.left) / box.width, width),
  };
}

function largestOf(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** Marks the picked pixel. */
const Frame = ({ place, height, width }: { place: Place; height: number; width: number }): JSX.Element => (
  <span
    class="pixel-frame"
    style={{
      left: `${(100 * place.x) / width}%`,
      top: `${(100 * place.y) / height}%`,
      width: `${100 / width}%`,
      height: `${100 / height}%`,
    }}
  />
);

function described({ kind, input, output, parameters }: LayerFacts, maps: number, side: string): string {
  const { see } = text.value;
  const kernel = ((): string => {
    if (kind !== 'conv2d')
      return `${Math.round((input[1] ?? 1) / (output[1] ?? 1))}×${Math.round((input[2] ?? 1) / (output[2] ?? 1))}`;
    const size = Math.round(Math.sqrt(parameters / ((input[0] ?? 1) * (output[0] ?? 1))));
    return `${size}×${size}`;
  })();
  if (kind === 'conv2d') return see.conv(kernel, maps, side);
  return kind === 'maxPool2d' ? see.pool(kernel, maps, side) : see.other(kind, maps, side);
}
