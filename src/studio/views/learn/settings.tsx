/** Settings that change while training, and the device that computes. */
import type { JSX } from 'preact';
import type { LiveSettings } from '../../../train/changes.ts';
import { logarithmicStops, Slider } from '../../parts/slider.tsx';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { Trainer } from '../../state/trainer.ts';

const rates = logarithmicStops(1e-5, 10);
const momenta = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99];
const decays = [0, ...logarithmicStops(1e-6, 0.1)];

/** The settings that are in effect: the config's, and the changes since. */
export function settingsNow(trainer: Trainer): LiveSettings {
  return Object.assign(
    { ...trainer.facts.value?.settings },
    ...trainer.changes.value.map(({ step: _, ...settings }) => settings),
  ) as LiveSettings;
}

export function Settings({ trainer }: { readonly trainer: Trainer }): JSX.Element {
  const { learn } = text.value;
  const phase = trainer.phase.value;
  return (
    <section class="card">
      <h2>{learn.settings}</h2>
      <p class="note">{learn.settingsHelp}</p>
      <SettingSliders
        settings={settingsNow(trainer)}
        disabled={!(phase === 'ready' || phase === 'training' || phase === 'paused')}
        onChange={(settings) => trainer.change(settings)}
      />
    </section>
  );
}

/** A slider for each setting that the optimizer has. */
export function SettingSliders(props: {
  readonly settings: LiveSettings;
  readonly disabled: boolean;
  readonly onChange: (settings: LiveSettings) => void;
}): JSX.Element {
  const { learn } = text.value;
  const { settings, disabled, onChange } = props;
  const { lr = 0, momentum, weightDecay = 0 } = settings;
  return (
    <div class="sliders">
      <Slider
        label={learn.lr}
        help={learn.lrHelp}
        value={lr}
        stops={rates}
        disabled={disabled}
        onChange={(value) => onChange({ lr: value })}
      />
      {momentum !== undefined && (
        <Slider
          label={learn.momentum}
          help={learn.momentumHelp}
          value={momentum}
          stops={momenta}
          disabled={disabled}
          onChange={(value) => onChange({ momentum: value })}
        />
      )}
      <Slider
        label={learn.weightDecay}
        help={learn.weightDecayHelp}
        value={weightDecay}
        stops={decays}
        disabled={disabled}
        onChange={(value) => onChange({ weightDecay: value })}
      />
    </div>
  );
}

const devices = ['auto', 'webgpu', 'wasm'] as const;

/** Which device computes, why, and the choice of another. */
export function Device(): JSX.Element {
  const { learn } = text.value;
  const facts = session.facts.value;
  const { config } = session.spec.value;
  return (
    <section class="card">
      <h2>{learn.device}</h2>
      <p>
        <b id="device">{facts?.device ?? '…'}</b>
        {facts && <span class="note"> {learn.deviceReasons[facts.reason]}</span>}
      </p>
      <fieldset class="segments" aria-label={learn.device}>
        {devices.map((device) => (
          <button
            key={device}
            type="button"
            aria-pressed={(config.device ?? 'auto') === device}
            onClick={() => session.open({ ...session.spec.value, config: { ...config, device } })}
          >
            {learn.devices[device]}
          </button>
        ))}
      </fieldset>
      <p class="note">{learn.deviceChange}</p>
    </section>
  );
}
