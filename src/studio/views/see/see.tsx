/** See: an image on its way through all layers, the sum behind each value, the evidence, and the confusions. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { chosenImage } from '../../state/chosen.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { Controls } from '../learn/controls.tsx';
import { Answer } from './answer.tsx';
import { ConfusionMatrix } from './confusion.tsx';
import { LayerRow } from './layer-row.tsx';
import { SumPanel } from './sum-panel.tsx';

/** A value of a map. */
export interface Place {
  readonly layer: number;
  readonly channel: number;
  readonly y: number;
  readonly x: number;
}

export function See(): JSX.Element {
  const { see } = text.value;
  const image = chosenImage.value;
  const facts = session.facts.value;
  const picked = useSignal<Place | undefined>(undefined);
  useEffect(() => session.watch({ maps: image }), [image]);
  // Another network has other layers.
  useEffect(() => {
    picked.value = undefined;
  }, [facts]);
  const maps = session.view.value?.maps;
  return (
    <div class="see">
      <div class="intro">
        <h1 tabIndex={-1}>{see.title}</h1>
        <p class="lead">{see.lead}</p>
      </div>
      <Controls trainer={session} />
      {facts && maps ? (
        <div class="see-columns">
          <Answer facts={facts} maps={maps} />
          <section class="card layers" aria-labelledby="layers-title">
            <h2 id="layers-title">{see.layers}</h2>
            <p class="note">
              {see.pick} {session.phase.value === 'training' && see.live}
            </p>
            {maps.maps.map((map) => (
              <div key={map.layer}>
                <LayerRow
                  facts={facts.layers[map.layer]!}
                  made={madeBy(facts.layers, map.layer)}
                  map={map}
                  picked={picked.value?.layer === map.layer ? picked.value : undefined}
                  onPick={(place) => {
                    picked.value = place;
                  }}
                />
                {picked.value?.layer === map.layer && (
                  <SumPanel
                    facts={facts}
                    place={picked.value}
                    onMove={(place) => {
                      picked.value = place;
                    }}
                  />
                )}
              </div>
            ))}
          </section>
        </div>
      ) : (
        <p class="note">{session.message.value || see.waiting}</p>
      )}
      {facts && <ConfusionMatrix facts={facts} />}
    </div>
  );
}

/** The layer that makes a map: ReLUs and normalizations after it only change its values. */
function madeBy<T extends { readonly kind: string }>(layers: readonly T[], shown: number): T {
  const makers = ['conv2d', 'maxPool2d', 'avgPool2d', 'adaptiveAvgPool2d'];
  return layers.slice(0, shown + 1).findLast(({ kind }) => makers.includes(kind)) ?? layers[shown]!;
}
