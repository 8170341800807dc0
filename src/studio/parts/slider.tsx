/** A setting on a logarithmic or even scale, as a slider with its value beside it. */
import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';
import { short } from './words.ts';

export interface SliderProps {
  readonly label: string;
  readonly help: string;
  readonly value: number;
  /** All values that the slider stops at, in order. */
  readonly stops: readonly number[];
  readonly onChange: (value: number) => void;
  readonly disabled?: boolean;
}

/** Values from `low` to `high` in even ratios, about ten to a decade, each with two digits. */
export function logarithmicStops(low: number, high: number): readonly number[] {
  const digits = [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8];
  const stops: number[] = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
    for (const digit of digits) {
      const value = Number(`${digit}e${power}`);
      if (value >= low && value <= high) stops.push(value);
    }
  }
  return stops;
}

/** The place of the stop that is nearest to a value. */
function nearest(stops: readonly number[], value: number): number {
  let best = 0;
  for (const [i, stop] of stops.entries()) {
    if (Math.abs(stop - value) < Math.abs(stops[best]! - value)) best = i;
  }
  return best;
}

export function Slider({ label, help, value, stops, onChange, disabled = false }: SliderProps): JSX.Element {
  const id = useId();
  // While it is dragged, only the number beside it follows; the setting changes when it is let go.
  const [dragged, setDragged] = useState<number | undefined>(undefined);
  const shown = dragged ?? value;
  return (
    <div class="slider">
      <label for={id}>{label}</label>
      <output for={id}>{short(shown)}</output>
      <input
        id={id}
        type="range"
        min={0}
        max={stops.length - 1}
        step={1}
        value={nearest(stops, shown)}
        disabled={disabled}
        aria-valuetext={short(shown)}
        aria-describedby={`${id}-help`}
        onInput={({ currentTarget }) => setDragged(stops[Number(currentTarget.value)])}
        onChange={({ currentTarget }) => {
          setDragged(undefined);
          onChange(stops[Number(currentTarget.value)]!);
        }}
      />
      <span id={`${id}-help`} class="note">
        {help}
      </span>
    </div>
  );
}
