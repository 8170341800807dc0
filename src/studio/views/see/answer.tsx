/** The image, the network's answer for it, and the evidence of a class as a heat map over the image. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef } from 'preact/hooks';
import { heatPixels } from '../../../explain/colors.ts';
import { Icon } from '../../parts/icons.tsx';
import { imagePixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { className, percent } from '../../parts/words.ts';
import { chosenImage } from '../../state/chosen.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { Heat, ImageMaps, RunFacts } from '../../worker/protocol.ts';

/** Classes that are listed. */
const listed = 5;

export function Answer({ facts, maps }: { readonly facts: RunFacts; readonly maps: ImageMaps }): JSX.Element {
  const { see } = text.value;
  const heat = useSignal<Heat | undefined>(undefined);
  /** The class whose evidence is shown; the answer by default. */
  const asked = useSignal<number | undefined>(undefined);
  const image = chosenImage.value;
  const order = Array.from(maps.probabilities.keys())
    .sort((a, b) => maps.probabilities[b]! - maps.probabilities[a]! || a - b)
    .slice(0, listed);
  const best = order[0]!;
  const label = asked.value ?? best;
  const step = session.view.value?.step;
  useEffect(() => {
    asked.value = undefined;
  }, [image, facts]);
  useEffect(() => {
    let current = true;
    session.ask({ kind: 'heat', image, label }).then(
      (answer) => {
        if (current) heat.value = answer;
      },
      () => undefined,
    );
    return () => {
      current = false;
    };
  }, [image, label, step]);
  const [, height = 1, width = 1] = facts.shape;
  const name =
    'pixels' in image
      ? see.ownImage
      : see.imageOf(String(image.index + 1), className(facts.classes[maps.label ?? 0]!));
  return (
    <section class="card answer-card" aria-labelledby="answer-title">
      <h2 id="answer-title">{see.image}</h2>
      <ImageButtons facts={facts} />
      <div class="stacked">
        <Raster pixels={imagePixels(maps.pixels, facts.shape)} width={width} height={height} label={name} />
        {heat.value && <HeatLayer heat={heat.value} />}
      </div>
      <p class="note">
        {name} · {see.heatFor(className(facts.classes[label]!))}
      </p>
      <h3>{see.answer}</h3>
      <ol class="scores">
        {order.map((one) => (
          <li key={one}>
            <button
              type="button"
              aria-pressed={one === label}
              class={one === maps.label ? 'true-class' : ''}
              style={{ '--v': maps.probabilities[one]!.toFixed(4) }}
              onClick={() => {
                asked.value = one;
              }}
            >
              <span>{className(facts.classes[one]!)}</span>
              <span>{percent(maps.probabilities[one]!)}</span>
            </button>
          </li>
        ))}
      </ol>
      <p class="note">
        {maps.label !== undefined && (
          <>
            {see.truth(className(facts.classes[maps.label]!))} — {maps.label === best ? see.right : see.wrong}
            .{' '}
          </>
        )}
        {see.heatHelp}
      </p>
    </section>
  );
}

function ImageButtons({ facts }: { readonly facts: RunFacts }): JSX.Element {
  const { see } = text.value;
  const image = chosenImage.value;
  const index = 'pixels' in image ? 0 : image.index;
  const choose = (to: number): void => {
    chosenImage.value = { split: 'test', index: (to + facts.testImages) % facts.testImages };
  };
  return (
    <div class="image-buttons">
      <button type="button" aria-label={see.previous} onClick={() => choose(index - 1)}>
        <Icon name="left" />
      </button>
      <button type="button" onClick={() => choose(Math.floor(Math.random() * facts.testImages))}>
        {see.another}
      </button>
      <button type="button" aria-label={see.next} onClick={() => choose(index + 1)}>
        <Icon name="right" />
      </button>
    </div>
  );
}

/** A heat map, smooth, over its image. */
function HeatLayer({ heat }: { readonly heat: Heat }): JSX.Element {
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
