/** Share and continue: a link, the run as a zip, and the trained network as files. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { download } from '../../parts/download.ts';
import { grouped } from '../../parts/words.ts';
import { linkTo } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { type RunSpec, specToQuery } from '../../state/spec.ts';
import { KeptRuns, type Problem, RunCard } from './runs.tsx';

/** The training with the changes that were made so far, which a replay repeats. */
function replayed(): RunSpec {
  const spec = session.spec.value;
  const done = session.changes.value;
  const reached = session.last.value?.step ?? 0;
  // Changes of the config that the training has not reached yet stay.
  const planned = (spec.config.changes ?? []).filter(({ step }) => step > reached);
  const changes = [...done, ...planned];
  return changes.length === 0 ? spec : { ...spec, config: { ...spec.config, changes } };
}

export function Share(): JSX.Element {
  const { share } = text.value;
  const problem = useSignal('');
  const changes = useSignal(0);
  useEffect(() => session.watch({}), []);
  const tell = (error: unknown): void => {
    problem.value = share.failed(error instanceof Error ? error.message : String(error));
  };
  return (
    <div class="share">
      <div class="intro">
        <h1 tabIndex={-1}>{share.title}</h1>
        <p class="lead">{share.lead}</p>
      </div>
      {problem.value && (
        <p class="banner warning" role="alert">
          {problem.value}
        </p>
      )}
      <div class="pair">
        <LinkCard />
        <RunCard
          onProblem={tell}
          onChange={() => {
            changes.value += 1;
          }}
        />
        <WeightsCard onProblem={tell} />
        <KeptRuns onProblem={tell} changes={changes.value} />
      </div>
    </div>
  );
}

function LinkCard(): JSX.Element {
  const { share } = text.value;
  const copied = useSignal('');
  const changes = session.changes.value.length;
  const address = new URL(linkTo('learn', specToQuery(replayed())), location.href).href;
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(address);
      copied.value = share.copied;
    } catch {
      copied.value = share.copyFailed;
    }
  };
  return (
    <section class="card" aria-labelledby="link-title">
      <h2 id="link-title">{share.link}</h2>
      <p>{share.linkHelp}</p>
      {changes > 0 && <p>{share.linkChanges(changes)}</p>}
      {(session.spec.value.config.dataset ?? 'shapes') !== 'shapes' && <p>{share.linkOwn}</p>}
      <input
        id="link"
        class="mono"
        readOnly
        value={address}
        aria-label={share.link}
        onFocus={({ currentTarget }) => currentTarget.select()}
      />
      <p class="row">
        <button type="button" class="primary" onClick={() => void copy()}>
          {share.copy}
        </button>
        <span role="status">{copied.value}</span>
      </p>
      <Fingerprint />
    </section>
  );
}

/** The bits that a replay will have, too. */
function Fingerprint(): JSX.Element | null {
  const { share } = text.value;
  const found = useSignal('');
  const facts = session.facts.value;
  const step = session.last.value?.step ?? 0;
  const resting = session.phase.value !== 'training';
  useEffect(() => {
    if (!facts || !resting) return;
    session.ask({ kind: 'fingerprint' }).then(
      ({ step: at, hash }) => {
        found.value = share.fingerprint(grouped(at), hash);
      },
      () => undefined,
    );
  }, [facts, step, resting]);
  return found.value ? (
    <p class="note mono" id="fingerprint">
      {found.value}
    </p>
  ) : null;
}

function WeightsCard({ onProblem }: Problem): JSX.Element {
  const { share } = text.value;
  const save = (format: 'safetensors' | 'onnx'): void => {
    session.ask({ kind: 'weights', format }).then(({ blob, name }) => download(name, blob), onProblem);
  };
  const ready = session.facts.value !== undefined;
  return (
    <section class="card" aria-labelledby="weights-title">
      <h2 id="weights-title">{share.weights}</h2>
      <p>{share.weightsHelp}</p>
      <p class="row">
        <button type="button" disabled={!ready} onClick={() => save('safetensors')}>
          {share.safetensors}
        </button>
        <button type="button" disabled={!ready} onClick={() => save('onnx')}>
          {share.onnx}
        </button>
      </p>
      <pre class="command">npx vgg predict photo.jpg --weights simplified.safetensors</pre>
    </section>
  );
}
