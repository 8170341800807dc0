/** Build: a network as blocks, with what each costs. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { formatShape } from '../../../model/layers/arguments.ts';
import { route } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { BlockList } from './block-list.tsx';
import { Drawing } from './drawing.tsx';
import { isPreset, presetGroups } from './presets.ts';
import { chooseImages, choosePreset, draft, type ImagesName, imagesName, widenAll } from './state.ts';
import { Totals } from './totals.tsx';

export function Build(): JSX.Element {
  const { build } = text.value;
  const said = useSignal('');
  const announce = (words: string): void => {
    said.value = words;
  };
  const { place } = route.value;
  useEffect(() => session.watch({}), []);
  // `#/build/vgg16` and `#/build/vgg16/imagenet` open a preset.
  useEffect(() => {
    const [preset = '', of] = place.split('/');
    if (isPreset(preset)) choosePreset(preset, of === 'imagenet' ? 'imagenet' : 'data');
  }, [place]);
  return (
    <div class="build">
      <div class="intro">
        <h1 tabIndex={-1}>{build.title}</h1>
        <p class="lead">{build.lead}</p>
      </div>
      <Toolbar />
      <Drawing />
      <div class="columns">
        <div class="wide stack">
          <BlockList announce={announce} />
        </div>
        <div class="narrow stack sticky">
          <Totals />
        </div>
      </div>
      <p class="hidden" role="status">
        {said.value}
      </p>
    </div>
  );
}

function Toolbar(): JSX.Element {
  const { build } = text.value;
  const { preset } = draft.value;
  const facts = session.facts.value;
  const ofData = build.ofData(
    facts?.dataset ?? 'shapes',
    formatShape(facts?.shape ?? [3, 32, 32]),
    facts?.classes.length ?? 10,
  );
  return (
    <section class="card toolbar" aria-label={build.start}>
      <label class="field">
        <span>{build.start}</span>
        <select
          id="preset"
          value={preset ?? ''}
          onChange={({ currentTarget }) => {
            if (isPreset(currentTarget.value)) choosePreset(currentTarget.value);
          }}
        >
          {preset === undefined && <option value="">{build.own}</option>}
          {(['lecture', 'paper'] as const).map((group) => (
            <optgroup key={group} label={build.groups[group]}>
              {presetGroups[group].map((name) => (
                <option key={name} value={name}>
                  {build.presets[name]}
                </option>
              ))}
            </optgroup>
          ))}
        </select>
      </label>
      <label class="field">
        <span>{build.images}</span>
        <select
          id="images"
          value={imagesName.value}
          onChange={({ currentTarget }) => chooseImages(currentTarget.value as ImagesName)}
        >
          <option value="data">{ofData}</option>
          <option value="imagenet">{build.ofData('ImageNet', '3×224×224', 1000)}</option>
        </select>
      </label>
      <span class="toolbar-buttons">
        <button type="button" onClick={() => widenAll(0.5)}>
          {build.half}
        </button>
        <button type="button" onClick={() => widenAll(2)}>
          {build.double}
        </button>
      </span>
    </section>
  );
}
