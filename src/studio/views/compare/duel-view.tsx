/** Two trainings side by side: common controls, common charts, and what each of them looks like. */
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { axisEnd, Chart, type Point, smooth } from '../../parts/chart.tsx';
import { Icon } from '../../parts/icons.tsx';
import { filterPixels } from '../../parts/pixels.ts';
import { Raster } from '../../parts/raster.tsx';
import { grouped, percent, short } from '../../parts/words.ts';
import type { Duel } from '../../state/duel.ts';
import { text } from '../../state/settings.ts';
import type { Trainer } from '../../state/trainer.ts';
import type { Phase } from '../../worker/protocol.ts';

export interface DuelViewProps {
  readonly duel: Duel;
  /** What each training is called: its value of the one difference. */
  readonly names: readonly [string, string];
  /** Shows how many ReLUs are dead. */
  readonly dead?: boolean;
  readonly children?: JSX.Element | undefined;
}

const over = (phase: Phase): boolean => phase === 'ended' || phase === 'diverged' || phase === 'failed';

export function DuelView({ duel, names, dead = false, children }: DuelViewProps): JSX.Element {
  useEffect(() => {
    duel.open();
    for (const trainer of duel.both) trainer.watch({ probe: true, filters: true, dead });
    // Two trainings that nobody watches must not slow down the others.
    return () => duel.pause();
  }, [duel, dead]);
  return (
    <>
      <DuelControls duel={duel} />
      {children}
      <DuelCurves duel={duel} names={names} />
      <div class="pair">
        {duel.both.map((trainer, i) => (
          <Side key={names[i]} trainer={trainer} letter={i === 0 ? 'A' : 'B'} name={names[i]!} dead={dead} />
        ))}
      </div>
    </>
  );
}

function DuelControls({ duel }: { readonly duel: Duel }): JSX.Element {
  const { shell, compare } = text.value;
  const phases = duel.both.map(({ phase }) => phase.value);
  const running = phases.includes('training');
  const ended = phases.every(over);
  const started = duel.both.some(({ last }) => last.value !== undefined);
  const restart = (): void => duel.set({ a: duel.a.spec.value, b: duel.b.spec.value });
  return (
    <div class="controls card">
      <div class="buttons">
        {ended ? (
          <button type="button" class="primary" onClick={restart}>
            <Icon name="restart" /> {shell.restart}
          </button>
        ) : (
          <button
            type="button"
            class="primary"
            id="run"
            disabled={phases.includes('preparing')}
            onClick={() => (running ? duel.pause() : duel.train())}
          >
            <Icon name={running ? 'pause' : 'play'} />{' '}
            {running ? shell.pause : started ? shell.resume : compare.startBoth}
          </button>
        )}
        {started && !ended && (
          <button type="button" onClick={restart}>
            <Icon name="restart" /> {shell.restart}
          </button>
        )}
      </div>
      <div class="progress">
        {duel.both.map((trainer, i) => {
          const facts = trainer.facts.value;
          return (
            <progress
              key={i === 0 ? 'a' : 'b'}
              class={i === 0 ? 'a' : 'b'}
              aria-label={`${i === 0 ? 'A' : 'B'}: ${text.value.learn.progress}`}
              value={trainer.last.value?.step ?? 0}
              max={facts ? facts.epochs * facts.stepsPerEpoch : 1}
            />
          );
        })}
      </div>
    </div>
  );
}

function DuelCurves({ duel, names }: Pick<DuelViewProps, 'duel' | 'names'>): JSX.Element {
  const { learn, shell } = text.value;
  const perEpoch = (trainer: Trainer): number => trainer.facts.value?.stepsPerEpoch ?? 100;
  const labels = names.map((name, i) => `${i === 0 ? 'A' : 'B'}: ${name}`);
  const losses = duel.both.map((trainer): readonly Point[] =>
    smooth(
      trainer.steps.value
        .filter(({ loss }) => Number.isFinite(loss))
        .map(({ step, loss }) => ({ x: step / perEpoch(trainer), y: loss })),
    ),
  );
  const accuracies = duel.both.map((trainer): readonly Point[] =>
    trainer.probes.value.map(({ step, accuracy }) => ({ x: step / perEpoch(trainer), y: accuracy })),
  );
  const xEnd = Math.max(
    ...duel.both.map((trainer) =>
      axisEnd((trainer.last.value?.step ?? 0) / perEpoch(trainer), trainer.facts.value?.epochs ?? 1),
    ),
  );
  const curves = (points: readonly (readonly Point[])[]) =>
    points.map((own, i) => ({
      name: labels[i]!,
      points: own,
      color: i + 1,
      ...(i === 1 && { dash: '7 4' }),
    }));
  const dots = duel.both.map((trainer, i) => ({
    name: `${labels[i]}, ${shell.test}`,
    points: trainer.epochs.value.map(({ step, testAccuracy }) => ({
      x: step / perEpoch(trainer),
      y: testAccuracy,
    })),
    color: i + 1,
    dash: '0 9999',
    dots: true,
    unnamed: true,
  }));
  return (
    <div class="pair">
      <section class="card">
        <Chart
          title={learn.lossChart}
          help={learn.smoothed}
          xLabel={shell.epoch}
          xEnd={xEnd}
          curves={curves(losses)}
        />
      </section>
      <section class="card">
        <Chart
          percent
          title={learn.accuracyChart}
          help={learn.accuracyHelp}
          xLabel={shell.epoch}
          xEnd={xEnd}
          curves={[...curves(accuracies), ...dots]}
        />
      </section>
    </div>
  );
}

function Side(props: {
  readonly trainer: Trainer;
  readonly letter: 'A' | 'B';
  readonly name: string;
  readonly dead: boolean;
}): JSX.Element {
  const { shell, compare, learn } = text.value;
  const { trainer, letter, name, dead } = props;
  const phase = trainer.phase.value;
  const last = trainer.epochs.value.at(-1);
  const view = trainer.view.value;
  const [out = 0, , height = 1, width = 1] = view?.filters?.shape ?? [];
  return (
    <section class={`card side ${letter.toLowerCase()}`} aria-labelledby={`side-${letter}`}>
      <h2 id={`side-${letter}`}>
        <span class="letter">{letter}</span> {name}
      </h2>
      <dl class="facts">
        <div>
          <dt>{shell.phase[phase]}</dt>
          <dd>{grouped(trainer.last.value?.step ?? 0)}</dd>
        </div>
        <div>
          <dt>
            {shell.loss} ({shell.training})
          </dt>
          <dd>{trainer.last.value ? short(trainer.last.value.loss) : '–'}</dd>
        </div>
        <div>
          <dt>
            {shell.accuracy} ({shell.training})
          </dt>
          <dd>{last ? percent(last.trainAccuracy) : '–'}</dd>
        </div>
        <div>
          <dt>
            {shell.accuracy} ({shell.test})
          </dt>
          <dd>{last ? percent(last.testAccuracy) : view?.probe ? percent(view.probe.accuracy) : '–'}</dd>
        </div>
      </dl>
      {phase === 'diverged' && (
        <p class="banner warning">
          <strong>{learn.diverged}</strong> {compare.divergedAt(trainer.last.value?.step ?? 0)}
        </p>
      )}
      {phase === 'failed' && <p class="banner warning">{learn.failed(trainer.message.value)}</p>}
      {dead && view?.dead && (
        <>
          <h3>{compare.dead}</h3>
          <ul class="dead">
            {view.dead.map(({ layer, dead: count, units }) => (
              <li key={layer}>
                <span>{layer}</span>
                <meter min={0} max={units} value={count} aria-label={compare.deadOf(layer, count, units)} />
                <span>
                  {count}/{units}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      <div class="filters" aria-hidden="true">
        {view?.filters &&
          Array.from({ length: Math.min(out, 32) }, (_, i) => (
            <Raster
              key={`filter-${i}`}
              pixels={filterPixels(view.filters!.values, view.filters!.shape, i)}
              width={width}
              height={height}
            />
          ))}
      </div>
    </section>
  );
}
