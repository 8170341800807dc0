/** A small image, enlarged without smoothing by the style sheet. */
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import type { Pixels } from './pixels.ts';

export interface RasterProps {
  readonly pixels: Pixels;
  readonly width: number;
  readonly height: number;
  /** What it shows; without, it is decoration, and the text beside it says what it is. */
  readonly label?: string;
  readonly class?: string;
}

export function Raster({ pixels, width, height, label, class: name = '' }: RasterProps): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    canvas.current?.getContext('2d')?.putImageData(new ImageData(pixels, width, height), 0, 0);
  }, [pixels, width, height]);
  return (
    <canvas
      ref={canvas}
      width={width}
      height={height}
      class={`raster ${name}`}
      {...(label === undefined ? { 'aria-hidden': 'true' } : { role: 'img', 'aria-label': label })}
    />
  );
}
