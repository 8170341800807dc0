/** The runs that this browser keeps: export as zip, import, continue, remove. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { download } from '../../parts/download.ts';
import { percent } from '../../parts/words.ts';
import { goTo } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { Answers, KeptRun } from '../../worker/protocol.ts';

export interface Problem {
  readonly onProblem: (error: unknown) => void;
}

/** The present run as a zip, and the way back. */
export function RunCard({ onProblem, onChange }: Problem & { readonly onChange: () => void }): JSX.Element {
  const { share } = text.value;
  const imported = useSignal('');
  const run = session.facts.value?.run;
  const hasBegun = session.last.value !== undefined;
  const isExperiment =
    session.spec.value.shuffledLabels === true || session.spec.value.trainImages !== undefined;
  const save = (): void => {
    if (run === undefined) return;
    session.ask({ kind: 'exportRun', run }).then(({ zip }) => download(`${run}.zip`, zip), onProblem);
  };
  const open = (zip: File | undefined): void => {
    if (!zip) return;
    session.ask({ kind: 'importRun', zip }).then(({ run: name }) => {
      session.resume(name, { go: false });
      imported.value = name;
      onChange();
    }, onProblem);
  };
  const name = run ?? 'run';
  return (
    <section class="card" aria-labelledby="run-title">
      <h2 id="run-title">{share.run}</h2>
      <p>{share.runHelp}</p>
      <pre class="command">
        npx vgg train --resume {name}.zip{'\n'}npx vgg report {name}.zip
      </pre>
      <p class="row">
        <button type="button" id="export-run" disabled={run === undefined || !hasBegun} onClick={save}>
          {share.exportRun}
        </button>
        <label class="button">
          {share.importRun}
          <input
            id="import-run"
            class="hidden"
            type="file"
            accept=".zip,application/zip"
            onChange={({ currentTarget }) => open(currentTarget.files?.[0])}
          />
        </label>
      </p>
      <p class="note" role="status">
        {imported.value
          ? share.imported(imported.value)
          : isExperiment
            ? share.runShuffled
            : hasBegun
              ? share.importHelp
              : share.runNone}
      </p>
    </section>
  );
}

export function KeptRuns({ onProblem, changes }: Problem & { readonly changes: number }): JSX.Element {
  const { share } = text.value;
  const found = useSignal<Answers['runs'] | undefined>(undefined);
  const reason = useSignal('');
  const load = (): void => {
    session.ask({ kind: 'runs' }).then(
      (answer) => {
        found.value = answer;
      },
      (error: Error) => {
        reason.value = share.noStore(error.message);
      },
    );
  };
  useEffect(load, [changes, session.epochs.value.length]);
  const runs = found.value?.runs ?? [];
  return (
    <section class="card kept" aria-labelledby="runs-title">
      <h2 id="runs-title">{share.runs}</h2>
      <p class="note">
        {reason.value || share.runsHelp}{' '}
        {found.value && share.usage(size(found.value.bytes), size(found.value.quota))}
      </p>
      {found.value && runs.length === 0 && <p>{share.noRuns}</p>}
      <ul>
        {runs.map((run) => (
          <Row key={run.name} run={run} onProblem={onProblem} onRemoved={load} />
        ))}
      </ul>
    </section>
  );
}

function Row({ run, onProblem, onRemoved }: Problem & { run: KeptRun; onRemoved: () => void }): JSX.Element {
  const { share } = text.value;
  const { name, state, model, dataset, epochs, totalEpochs, accuracy } = run;
  const isOpen = session.facts.value?.run === name;
  const remove = (): void => {
    if (!confirm(share.removeSure(name))) return;
    session.ask({ kind: 'removeRun', run: name }).then(onRemoved, onProblem);
  };
  return (
    <li>
      <div>
        <b>{name}</b>{' '}
        <span class="note">
          {state === 'damaged'
            ? `${share.damaged}: ${dataset}`
            : `${share.runFacts(model, dataset, epochs, totalEpochs)} · ${share.state[state]}`}
          {accuracy !== undefined && ` · ${percent(accuracy)}`}
        </span>
      </div>
      <div class="row">
        <button
          type="button"
          class="plain"
          disabled={isOpen || state === 'damaged' || state === 'running'}
          aria-label={`${share.open}: ${name}`}
          onClick={() => {
            session.resume(name, { go: false });
            goTo('learn');
          }}
        >
          {share.open}
        </button>
        <button
          type="button"
          class="plain"
          disabled={isOpen || state === 'running'}
          aria-label={`${share.remove}: ${name}`}
          onClick={remove}
        >
          {share.remove}
        </button>
      </div>
    </li>
  );
}

/** `12 MB`. */
const size = (bytes: number): string =>
  bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(0)} GB`;
