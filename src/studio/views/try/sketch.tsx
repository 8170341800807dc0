/** A canvas to draw on. The network answers while the line grows. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { text } from '../../state/settings.ts';
import { show } from './looked.ts';

const side = 256;
/** Like the images of `shapes`: bright on dark. */
const ground = '#1c2230';
const colors = ['#ffd23f', '#ff6b4a', '#4ade80', '#5cc8ff', '#ffffff', ground] as const;
const widths = [10, 22, 44] as const;

export function Sketch(): JSX.Element {
  const { trying } = text.value;
  const canvas = useRef<HTMLCanvasElement>(null);
  const color = useSignal<(typeof colors)[number]>(colors[0]);
  const width = useSignal<(typeof widths)[number]>(widths[1]);
  const last = useRef<readonly [x: number, y: number] | undefined>(undefined);
  const context = (): CanvasRenderingContext2D | null | undefined =>
    canvas.current?.getContext('2d', { willReadFrequently: true });
  const clear = (): void => {
    const pen = context();
    if (!pen) return;
    pen.fillStyle = ground;
    pen.fillRect(0, 0, side, side);
  };
  useEffect(clear, []);
  const look = (): void => {
    const image = context()?.getImageData(0, 0, side, side);
    if (image) show(image);
  };
  const draw = (event: PointerEvent): void => {
    const pen = context();
    if (!pen || !canvas.current) return;
    const { left, top, width: shown } = canvas.current.getBoundingClientRect();
    const place = [((event.clientX - left) * side) / shown, ((event.clientY - top) * side) / shown] as const;
    const [fromX, fromY] = last.current ?? place;
    pen.strokeStyle = color.value;
    pen.lineWidth = width.value;
    pen.lineCap = 'round';
    pen.lineJoin = 'round';
    pen.beginPath();
    pen.moveTo(fromX, fromY);
    pen.lineTo(...place);
    pen.stroke();
    last.current = place;
    look();
  };
  return (
    <div class="sketch">
      <canvas
        ref={canvas}
        class="stage"
        width={side}
        height={side}
        role="img"
        aria-label={trying.sketchCanvas}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          draw(event);
        }}
        onPointerMove={(event) => {
          if (last.current) draw(event);
        }}
        onPointerUp={() => {
          last.current = undefined;
        }}
        onPointerCancel={() => {
          last.current = undefined;
        }}
      />
      <div class="sketch-tools">
        <fieldset class="swatches" aria-label={trying.color}>
          {colors.map((one, i) => (
            <button
              key={one}
              type="button"
              aria-label={trying.colors[i] ?? ''}
              title={trying.colors[i] ?? ''}
              aria-pressed={one === color.value}
              style={{ '--ink': one }}
              onClick={() => {
                color.value = one;
              }}
            />
          ))}
        </fieldset>
        <fieldset class="segments" aria-label={trying.pen}>
          {widths.map((one, i) => (
            <button
              key={one}
              type="button"
              aria-pressed={one === width.value}
              onClick={() => {
                width.value = one;
              }}
            >
              {trying.pens[i]}
            </button>
          ))}
        </fieldset>
        <button type="button" onClick={clear}>
          {trying.clear}
        </button>
      </div>
    </div>
  );
}
