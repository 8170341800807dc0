/** Watch: runs on this machine, live, as `vgg studio` serves them. Each training can be paused, stopped and changed. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import type { LiveState, RunSummary } from '../../../serve/api.ts';
import type { TrainingCommand } from '../../../train/commands.ts';
import { axisEnd, Chart, type Mark, type Point, smooth } from '../../parts/chart.tsx';
import { Icon } from '../../parts/icons.tsx';
import { grouped, percent } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import { type Followed, mostFollowed, type Watched, watched } from '../../state/watched.ts';
import { changeWords } from '../learn/curves.tsx';
import { SettingSliders } from '../learn/settings.tsx';

export function Watch(): JSX.Element {
  const { watch } = text.value;
  if (!watched) {
    return (
      <>
        <h1 tabIndex={-1}>{watch.title}</h1>
        <p class="lead">{watch.how}</p>
        <pre class="command">npx vgg studio{'\n'}npx vgg train --open</pre>
      </>
    );
  }
  return (
    <div class="watch">
      <div class="intro">
        <h1 tabIndex={-1}>{watch.title}</h1>
        <p class="lead">{watch.lead}</p>
      </div>
      {watched.problem.value && (
        <p class="banner warning" role="status">
          {watch.lost(watched.problem.value)}
        </p>
      )}
      <div class="watch-columns">
        <RunList watched={watched} />
        <div class="stack">
          {watched.followed.value.map((run, i) => (
            <Live key={run.id} watched={watched!} run={run} color={i + 1} />
          ))}
          <FollowedCurves runs={watched.followed.value} />
        </div>
      </div>
    </div>
  );
}

function RunList({ watched: from }: { readonly watched: Watched }): JSX.Element {
  const { watch } = text.value;
  const chosen = from.followed.value.map(({ id }) => id);
  const runs = from.runs.value;
  const toggle = (id: string): void =>
    from.follow(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id]);
  return (
    <section class="card" aria-labelledby="watched-runs">
      <h2 id="watched-runs">{watch.runs}</h2>
      {runs.length === 0 && <p class="note">{watch.none}</p>}
      <ul class="run-list">
        {runs.map((run) => (
          <li key={run.id}>
            <label>
              <input
                type="checkbox"
                checked={chosen.includes(run.id)}
                disabled={
                  run.state === 'damaged' || (!chosen.includes(run.id) && chosen.length >= mostFollowed)
                }
                onChange={() => toggle(run.id)}
              />
              <span>
                <b>{run.name}</b>
                {run.group && <span class="note"> {run.group.name}</span>}
                <br />
                <span class="note">{describe(run)}</span>
              </span>
            </label>
          </li>
        ))}
      </ul>
    </section>
  );
}

function describe(run: RunSummary): string {
  const { watch, share } = text.value;
  const { state, model, dataset, epochs, totalEpochs, testAccuracy, reason } = run;
  const words = [
    watch.state[state],
    state === 'damaged' ? reason : share.runFacts(model, dataset, epochs, totalEpochs),
    testAccuracy !== undefined && percent(testAccuracy),
  ];
  return words.filter(Boolean).join(' · ');
}

/** What a running training does, and its controls. */
function Live(props: {
  readonly watched: Watched;
  readonly run: Followed;
  readonly color: number;
}): JSX.Element {
  const { shell, watch, learn } = text.value;
  const { watched: from, run, color } = props;
  const problem = useSignal('');
  const summary = from.runs.value.find(({ id }) => id === run.id);
  const live = summary?.live === undefined ? undefined : run.live;
  const send = (command: TrainingCommand): void => {
    from.send(run.id, command).then(
      () => {
        problem.value = '';
      },
      (error: Error) => {
        problem.value = error.message;
      },
    );
  };
  const last = run.epochs.at(-1);
  return (
    <section class="card" aria-label={run.name}>
      <h2>
        <span class="key" style={{ background: `var(--series-${color})` }} /> {run.name}
      </h2>
      <p class="figures">
        <span class={`phase ${live && !live.resting ? 'training' : ''}`}>
          {live
            ? live.stopping
              ? watch.stopping
              : live.resting
                ? shell.phase.paused
                : shell.phase.training
            : watch.state[summary?.state ?? 'finished']}
        </span>
        <span>{learn.ofEpochs(live?.epoch ?? last?.epoch ?? 0, run.epochCount)}</span>
        <span>
          {shell.steps} <b>{grouped(live?.done ?? last?.step ?? 0)}</b>
        </span>
        {last && (
          <span>
            {shell.accuracy} <b>{percent(last.testAccuracy)}</b>
          </span>
        )}
        {live && live.imagesPerSecond > 0 && <span>{learn.speed(grouped(live.imagesPerSecond))}</span>}
      </p>
      {live && (
        <progress value={live.done} max={live.totalSteps} aria-label={`${run.name}: ${learn.progress}`} />
      )}
      {live && summary?.live === 'steer' && <Steering live={live} onSend={send} />}
      {summary?.live === 'watch' && <p class="note">{watch.ofStudy}</p>}
      {problem.value && <p role="alert">{problem.value}</p>}
    </section>
  );
}

function Steering(props: {
  readonly live: LiveState;
  readonly onSend: (command: TrainingCommand) => void;
}): JSX.Element {
  const { shell, watch, learn } = text.value;
  const { live, onSend } = props;
  return (
    <>
      <div class="buttons steering">
        <button
          type="button"
          class="primary"
          disabled={live.stopping}
          onClick={() => onSend({ command: live.paused ? 'resume' : 'pause' })}
        >
          <Icon name={live.paused ? 'play' : 'pause'} /> {live.paused ? shell.resume : shell.pause}
        </button>
        <button
          type="button"
          disabled={!live.resting || live.stopping}
          onClick={() => onSend({ command: 'step', count: 1 })}
        >
          <Icon name="step" /> {shell.step}
        </button>
        <button type="button" disabled={live.stopping} onClick={() => onSend({ command: 'stop' })}>
          {watch.stop}
        </button>
      </div>
      <details>
        <summary>{learn.settings}</summary>
        <p class="note">{watch.recorded}</p>
        <SettingSliders
          settings={live.settings}
          disabled={live.stopping}
          onChange={(settings) => onSend({ command: 'change', settings })}
        />
      </details>
    </>
  );
}

function FollowedCurves({ runs }: { readonly runs: readonly Followed[] }): JSX.Element {
  const { learn, shell } = text.value;
  const at = (run: Followed, step: number): number => step / run.stepsPerEpoch;
  const reached = (run: Followed): number =>
    at(run, Math.max(run.live?.done ?? 0, run.steps.at(-1)?.step ?? 0, run.epochs.at(-1)?.step ?? 0));
  const xEnd = Math.max(1, ...runs.map((run) => axisEnd(reached(run), run.epochCount)));
  const one = runs.length === 1 ? runs[0] : undefined;
  const marks: readonly Mark[] = one
    ? one.changes.map((change) => ({ x: at(one, change.step), label: changeWords(change) }))
    : [];
  const losses = runs.map((run, i) => ({
    name: run.name,
    color: i + 1,
    points: smooth(
      run.steps
        .filter(({ loss }) => Number.isFinite(loss))
        .map(({ step, loss }): Point => ({ x: at(run, step), y: loss })),
    ),
  }));
  const accuracies = runs.map((run, i) => ({
    name: run.name,
    color: i + 1,
    dots: run.epochs.length < 40,
    points: run.epochs.map((epoch): Point => ({ x: at(run, epoch.step), y: epoch.testAccuracy })),
  }));
  return (
    <>
      <section class="card">
        <Chart
          title={learn.lossChart}
          help={learn.smoothed}
          xLabel={shell.epoch}
          xEnd={xEnd}
          marks={marks}
          curves={losses}
        />
      </section>
      <section class="card">
        <Chart
          percent
          title={learn.accuracyChart}
          help={text.value.watch.accuracyHelp}
          xLabel={shell.epoch}
          xEnd={xEnd}
          marks={marks}
          curves={accuracies}
        />
      </section>
    </>
  );
}
