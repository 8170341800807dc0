/** What a value behind several 3×3 layers sees, and what one large layer would cost instead (section 2.3 of the paper). */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { Slider } from '../../../parts/slider.tsx';
import { grouped } from '../../../parts/words.ts';
import { text } from '../../../state/settings.ts';

const layerStops = [1, 2, 3, 4, 5];
const mapStops = [16, 32, 64, 128, 256, 512];
/** Pixels along a side of the drawing. */
const pixels = 13;
const cell = 20;

export function ReceptiveField(): JSX.Element {
  const { demo } = text.value.lecture;
  const layers = useSignal(3);
  const maps = useSignal(64);
  const side = 2 * layers.value + 1;
  const square = maps.value ** 2;
  const weights = { stack: layers.value * 9 * square, single: side * side * square };
  return (
    <div class="field-demo">
      <Field layers={layers.value} />
      <div>
        <div class="sliders">
          <Slider
            label={demo.layers}
            help={demo.fieldOf(layers.value, side)}
            value={layers.value}
            stops={layerStops}
            onChange={(value) => {
              layers.value = value;
            }}
          />
          <Slider
            label={demo.maps}
            help=""
            value={maps.value}
            stops={mapStops}
            onChange={(value) => {
              maps.value = value;
            }}
          />
        </div>
        <table class="comparison wide">
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden">{demo.formula}</span>
              </th>
              <th scope="col">{demo.formula}</th>
              <th scope="col">{demo.weights}</th>
              <th scope="col">{demo.relus}</th>
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">{demo.stack(layers.value)}</th>
              <td>
                {layers.value} · 3² · C² = {9 * layers.value} C²
              </td>
              <td class="number" id="stack-weights">
                {grouped(weights.stack)}
              </td>
              <td class="number">{layers.value}</td>
            </tr>
            <tr>
              <th scope="row">{demo.single(side)}</th>
              <td>
                {side}² · C² = {side * side} C²
              </td>
              <td class="number" id="single-weights">
                {grouped(weights.single)}
              </td>
              <td class="number">1</td>
            </tr>
          </tbody>
        </table>
        <div class="weight-bars" aria-hidden="true">
          <i style={{ width: `${(100 * weights.stack) / Math.max(weights.stack, weights.single)}%` }} />
          <i
            class="single"
            style={{ width: `${(100 * weights.single) / Math.max(weights.stack, weights.single)}%` }}
          />
        </div>
        <p>
          <b>{demo.factor((weights.single / weights.stack).toFixed(2))}</b>
        </p>
      </div>
    </div>
  );
}

/** The pixels that a value sees, layer by layer outwards. */
function Field({ layers }: { readonly layers: number }): JSX.Element {
  const { demo } = text.value.lecture;
  const middle = (pixels - 1) / 2;
  const size = pixels * cell;
  const places = Array.from(
    { length: pixels * pixels },
    (_, i) => [i % pixels, Math.floor(i / pixels)] as const,
  );
  return (
    <svg
      class="field-drawing"
      viewBox={`0 0 ${size} ${size}`}
      role="img"
      aria-label={demo.fieldOf(layers, 2 * layers + 1)}
    >
      {places.map(([x, y]) => {
        const distance = Math.max(Math.abs(x - middle), Math.abs(y - middle));
        return (
          <rect
            key={`${x} ${y}`}
            x={x * cell + 1}
            y={y * cell + 1}
            width={cell - 2}
            height={cell - 2}
            rx="3"
            class={distance <= layers ? 'seen' : 'unseen'}
            style={{ '--v': String(1 - distance / (layers + 1)) }}
          />
        );
      })}
      {Array.from({ length: layers }, (_, i) => {
        const from = (middle - i - 1) * cell;
        const width = (2 * i + 3) * cell;
        return <rect key={i} x={from} y={from} width={width} height={width} rx="5" class="ring" />;
      })}
    </svg>
  );
}
