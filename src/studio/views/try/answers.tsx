/** The network's answer for the picture: what it sees, where it looks, and its five best classes. */
import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { heatPixels } from '../../../explain/colors.ts';
import { imagePixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { className, percent } from '../../parts/words.ts';
import { chosenImage } from '../../state/chosen.ts';
import { linkTo } from '../../state/route.ts';
import { text } from '../../state/settings.ts';
import type { Heat } from '../../worker/protocol.ts';
import { looked, problem } from './looked.ts';

const listed = 5;

export function Answers(): JSX.Element {
  const { trying } = text.value;
  return (
    <section class="card answers" aria-labelledby="answers-title">
      <h2 id="answers-title">{trying.answer}</h2>
      {problem.value && (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      )}
      {looked.value ? <Found /> : <p class="note">{trying.nothing}</p>}
    </section>
  );
}

function Found(): JSX.Element {
  const { trying } = text.value;
  const { facts, pixels, probabilities, heat } = looked.value!;
  const [, height = 1, width = 1] = facts.shape;
  const order = Array.from(probabilities.keys())
    .sort((a, b) => probabilities[b]! - probabilities[a]! || a - b)
    .slice(0, listed);
  const nameOf = (label: number): string => className(facts.classes[label] ?? '');
  const best = nameOf(order[0] ?? 0);
  const image = imagePixels(pixels, facts.shape);
  return (
    <>
      <p class="best" id="best" role="status">
        {trying.best(best, percent(probabilities[order[0] ?? 0] ?? 0, 0))}
      </p>
      <div class="seen-images">
        <figure>
          <Raster pixels={image} width={width} height={height} label={trying.seen} />
          <figcaption class="note">{trying.seenAs(`${width}×${height}`)}</figcaption>
        </figure>
        {heat && (
          <figure>
            <div class="stacked">
              <Raster pixels={image} width={width} height={height} label={trying.heat(best)} />
              <HeatMap heat={heat} />
            </div>
            <figcaption class="note">{trying.heat(best)}</figcaption>
          </figure>
        )}
      </div>
      <ol class="bars" aria-label={trying.classes}>
        {order.map((label) => (
          <li key={label}>
            <span>{nameOf(label)}</span>
            <i style={{ '--v': probabilities[label]!.toFixed(4) }} />
            <span class="number">{percent(probabilities[label]!)}</span>
          </li>
        ))}
      </ol>
      <p>
        <a
          href={linkTo('see')}
          onClick={() => {
            chosenImage.value = { pixels };
          }}
        >
          {trying.inside}
        </a>
      </p>
    </>
  );
}

function HeatMap({ heat }: { readonly heat: Heat }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const pixels = new ImageData(heatPixels(heat), heat.width, heat.height);
    canvas.current?.getContext('2d')?.putImageData(pixels, 0, 0);
  }, [heat]);
  return (
    <div class="heat" aria-hidden="true">
      <canvas ref={canvas} width={heat.width} height={heat.height} />
    </div>
  );
}
