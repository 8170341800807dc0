/** Start, pause, step and start anew, with progress, speed and time left. */
import type { JSX } from 'preact';
import { Icon } from '../../parts/icons.tsx';
import { grouped, percent, short } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import { secondsLeft, type Trainer } from '../../state/trainer.ts';

export function Controls({ trainer }: { readonly trainer: Trainer }): JSX.Element {
  const { shell, learn } = text.value;
  const phase = trainer.phase.value;
  const started = trainer.last.value !== undefined;
  const over = phase === 'ended' || phase === 'diverged' || phase === 'failed';
  const running = phase === 'training';
  return (
    <section class="controls card" aria-label={learn.progress}>
      <div class="buttons">
        {over ? (
          <button type="button" class="primary" onClick={() => trainer.open()}>
            <Icon name="restart" /> {shell.restart}
          </button>
        ) : (
          <button
            type="button"
            class="primary"
            id="run"
            disabled={phase === 'preparing'}
            onClick={() => (running ? trainer.pause() : trainer.train())}
          >
            <Icon name={running ? 'pause' : 'play'} />{' '}
            {running ? shell.pause : started ? shell.resume : shell.start}
          </button>
        )}
        <button
          type="button"
          id="step"
          disabled={over || phase === 'preparing' || running}
          title={learn.stepHelp}
          onClick={() => trainer.step()}
        >
          <Icon name="step" /> {shell.step}
        </button>
        {started && !over && (
          <button type="button" id="restart" onClick={() => trainer.open()}>
            <Icon name="restart" /> {shell.restart}
          </button>
        )}
      </div>
      <Progress trainer={trainer} />
    </section>
  );
}

function Progress({ trainer }: { readonly trainer: Trainer }): JSX.Element {
  const { shell, learn } = text.value;
  const facts = trainer.facts.value;
  const phase = trainer.phase.value;
  const last = trainer.last.value;
  const total = facts ? facts.epochs * facts.stepsPerEpoch : 1;
  const step = last?.step ?? 0;
  const epoch = facts
    ? Math.min(facts.epochs, Math.floor(Math.max(0, step - 1) / facts.stepsPerEpoch) + 1)
    : 1;
  const accuracy = trainer.epochs.value.at(-1)?.testAccuracy ?? trainer.probes.value.at(-1)?.accuracy;
  const left = secondsLeft(trainer);
  return (
    <div class="progress">
      <p class="figures">
        <span class={`phase ${phase}`}>{shell.phase[phase]}</span>
        {facts && <span>{learn.ofEpochs(epoch, facts.epochs)}</span>}
        <span>
          {shell.steps} <b id="step-count">{grouped(step)}</b>
        </span>
        <span>
          {shell.loss} <b>{last ? short(last.loss) : '–'}</b>
        </span>
        <span>
          {shell.accuracy} <b id="accuracy">{accuracy === undefined ? '–' : percent(accuracy)}</b>
        </span>
      </p>
      <progress value={step} max={total} aria-label={learn.progress} />
      <p class="note">
        {trainer.imagesPerSecond.value > 0 && learn.speed(grouped(trainer.imagesPerSecond.value))}
        {phase === 'training' && left !== undefined && left > 0 && ` · ${learn.left(shell.seconds(left))}`}
        {phase === 'preparing' && trainer.notice.value}
      </p>
    </div>
  );
}
