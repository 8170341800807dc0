/** The data set: the built-in one, or the user's files, which stay in this browser. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { type ChosenFiles, droppedFiles } from '../../../browser/chosen-files.ts';
import type { KeptDataset } from '../../../browser/store.ts';
import type { TrainConfigInput } from '../../../train/config-table.ts';
import { grouped } from '../../parts/words.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';

/** `photos` for `folder:photos`. */
const shown = (dataset: string): string => dataset.replace(/^folder:/, '');

export function DataCard(): JSX.Element {
  const { learn } = text.value;
  const kept = useSignal<readonly KeptDataset[]>([]);
  const reading = useSignal(false);
  const problem = useSignal('');
  const notices = useSignal<readonly string[]>([]);
  const present = session.spec.value.config.dataset ?? 'shapes';
  useEffect(() => {
    session.ask({ kind: 'datasets' }).then(
      ({ datasets }) => {
        kept.value = datasets;
      },
      () => undefined,
    );
  }, []);
  const choose = (dataset: string): void => {
    if (dataset !== present) session.open({ config: configFor(session.spec.value.config, dataset) });
  };
  const add = async (files: ChosenFiles): Promise<void> => {
    reading.value = true;
    problem.value = '';
    try {
      const { dataset, notices: told } = await session.ask({ kind: 'addDataset', files });
      notices.value = told;
      kept.value = [...kept.value.filter((one) => one.dataset !== dataset.dataset), dataset];
      session.open({ config: configFor(session.spec.value.config, dataset.dataset) });
    } catch (error) {
      problem.value = (error as Error).message;
    } finally {
      reading.value = false;
    }
  };
  // A file may be dropped anywhere in the view: the browser must not replace the page with it.
  useEffect(() => {
    const over = (event: DragEvent): void => event.preventDefault();
    const drop = (event: DragEvent): void => {
      event.preventDefault();
      if (event.dataTransfer) void droppedFiles(event.dataTransfer).then(add);
    };
    addEventListener('dragover', over);
    addEventListener('drop', drop);
    return () => {
      removeEventListener('dragover', over);
      removeEventListener('drop', drop);
    };
  }, []);
  const names = ['shapes', ...kept.value.map(({ dataset }) => dataset)];
  const facts = session.facts.value;
  return (
    <section class="card" aria-labelledby="data-title">
      <h2 id="data-title">{learn.data}</h2>
      {facts && (
        <p class="note">
          {learn.dataFacts(grouped(facts.trainImages), grouped(facts.testImages), facts.classes.length)}
        </p>
      )}
      <fieldset class="segments" aria-label={learn.data}>
        {names.map((name) => (
          <button key={name} type="button" aria-pressed={name === present} onClick={() => choose(name)}>
            {shown(name)}
          </button>
        ))}
      </fieldset>
      <p class="row">
        <FileButton label={learn.addArchive} onFiles={add} disabled={reading.value} />
        <FileButton label={learn.addFolder} onFiles={add} disabled={reading.value} isFolder />
      </p>
      <p class="note">{learn.dataHelp}</p>
      <p role="status">{reading.value ? learn.reading : notices.value.join(' ')}</p>
      {problem.value && (
        <p class="banner warning" role="alert">
          {problem.value}
        </p>
      )}
    </section>
  );
}

function FileButton(props: {
  readonly label: string;
  readonly onFiles: (files: ChosenFiles) => void;
  readonly disabled: boolean;
  readonly isFolder?: boolean;
}): JSX.Element {
  const { label, onFiles, disabled, isFolder = false } = props;
  return (
    <label class="button">
      {label}
      <input
        class="hidden"
        type="file"
        disabled={disabled}
        {...(isFolder ? { webkitdirectory: true } : { accept: '.gz,.zip,.bin', multiple: true })}
        onChange={({ currentTarget }) => {
          const files = [...(currentTarget.files ?? [])];
          // The same files may be chosen again after they were corrected.
          currentTarget.value = '';
          if (files.length > 0) onFiles(files);
        }}
      />
    </label>
  );
}

/** The present options with another data set. Photos and CIFAR need normalization and augmentation, `shapes` does not. */
function configFor(config: TrainConfigInput, dataset: string): TrainConfigInput {
  const { changes: _, labels: __, size: ___, ...rest } = config;
  const isBuiltIn = dataset === 'shapes';
  return {
    ...rest,
    dataset: dataset as NonNullable<TrainConfigInput['dataset']>,
    augment: !isBuiltIn,
    normalize: !isBuiltIn,
    // The studio's networks are for small images.
    ...(dataset.startsWith('folder:') && { size: 32, batchSize: Math.min(config.batchSize ?? 100, 20) }),
  };
}
