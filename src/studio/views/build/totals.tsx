/** What the network costs as a whole, and the way to train it. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { Network } from '../../../model/layer.ts';
import { createModel } from '../../../model/models.ts';
import { buildNetwork } from '../../../model/network.ts';
import { formatBytes } from '../../../model/summary.ts';
import { compact, grouped } from '../../parts/words.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import type { Needed } from './memory.ts';
import { type ImagesName, images, learn, measured, specOfDraft } from './state.ts';

/** Memory is planned when no block has changed for so many milliseconds. */
const rest = 150;

/** Threads of the CPU engine here: one, if memory cannot be shared. */
const threads = (): number => (globalThis.crossOriginIsolated ? (navigator.hardwareConcurrency ?? 1) : 1);

export function Totals(): JSX.Element {
  const { build } = text.value;
  const { network, figures } = measured.value;
  const { name, classes, batchSize } = images.value;
  const needed = useMemory(network, batchSize);
  const sum = (of: 'parameters' | 'multiplyAdds'): number =>
    figures.reduce((total, row) => total + row[of], 0);
  const [parameters, multiplyAdds] = [sum('parameters'), sum('multiplyAdds')];
  const weightLayers =
    network?.layers.filter(({ spec }) => spec.kind === 'conv2d' || spec.kind === 'linear').length ?? 0;
  const seconds = network ? epochSeconds(network) : undefined;
  return (
    <section class="card totals" aria-labelledby="totals-title">
      <h2 id="totals-title">{build.totals}</h2>
      <dl class="totals-list">
        <Total name={build.weightLayers} value={network ? String(weightLayers) : '–'} id="weight-layers" />
        <Total
          name={build.parameters}
          value={compact(parameters)}
          help={parametersHelp(parameters, classes, name)}
          id="parameters"
        />
        <Total name={build.multiplyAdds} value={compact(multiplyAdds)} help={build.perImage} />
        <Total
          name={build.memory}
          value={needed ? formatBytes(needed.bytes) : '–'}
          help={build.memoryFor(batchSize, threads())}
          id="memory"
        />
        {seconds !== undefined && name === 'data' && (
          <Total name={build.epochTime} value={text.value.shell.seconds(seconds)} help={build.epochHelp} />
        )}
      </dl>
      {needed && <MemoryBar needed={needed} />}
      {needed?.problem && (
        <div class="problem" role="status">
          <p>
            <strong>{build.tooLarge}</strong>
          </p>
          <p class="note">
            {build.reason}{' '}
            <q lang="en" class="mono">
              {needed.problem}
            </q>
          </p>
        </div>
      )}
      <button
        type="button"
        class="primary train"
        id="train"
        disabled={!network || name === 'imagenet'}
        onClick={() => learn(specOfDraft())}
      >
        {build.train}
      </button>
      <p class="note">{name === 'imagenet' ? build.noTrain : build.trainHelp}</p>
    </section>
  );
}

function Total(props: {
  readonly name: string;
  readonly value: string;
  readonly help?: string;
  readonly id?: string;
}): JSX.Element {
  const { name, value, help, id } = props;
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <b id={id}>{value}</b>
        {help && <span class="note">{help}</span>}
      </dd>
    </div>
  );
}

const memoryParts = ['weights', 'gradients', 'optimizer', 'maps', 'threads'] as const;

function MemoryBar({ needed }: { readonly needed: Needed }): JSX.Element {
  const { build } = text.value;
  const words = memoryParts.map((part) => `${build.memoryParts[part]} ${formatBytes(needed[part])}`);
  return (
    <figure class="memory">
      <div class="memory-bar" role="img" aria-label={words.join(', ')}>
        {memoryParts.map((part, i) => (
          <i key={part} class={`part-${i + 1}`} style={{ 'flex-grow': needed[part] }} />
        ))}
      </div>
      <ul class="legend">
        {memoryParts.map((part, i) => (
          <li key={part}>
            <i class={`swatch part-${i + 1}`} />
            {words[i]}
          </li>
        ))}
      </ul>
    </figure>
  );
}

/** The memory of a training, planned in a chunk of its own; undefined while it is not known. */
function useMemory(network: Network | undefined, batch: number): Needed | undefined {
  const needed = useSignal<Needed | undefined>(undefined);
  const optimizer = session.spec.value.config.optimizer ?? 'adam';
  useEffect(() => {
    if (!network) {
      needed.value = undefined;
      return undefined;
    }
    let current = true;
    const timer = setTimeout(async () => {
      const { trainingMemory } = await import('./memory.ts');
      const found = await trainingMemory(network, batch, threads(), optimizer);
      if (current) needed.value = found;
    }, rest);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [network, batch, optimizer]);
  return needed.value;
}

const macsOf = (layers: readonly { readonly multiplyAdds: number }[]): number =>
  layers.reduce((sum, { multiplyAdds }) => sum + multiplyAdds, 0);

/** Seconds of an epoch, from the speed of the last training and both networks' multiply-adds. */
function epochSeconds(network: Network): number | undefined {
  const facts = session.facts.value;
  const rate = session.imagesPerSecond.value;
  if (!facts || rate === 0) return undefined;
  return (facts.trainImages / rate) * (macsOf(network.layers) / macsOf(facts.layers));
}

/** All digits, and how often the lecture's network would fit in. */
function parametersHelp(parameters: number, classes: number, images: ImagesName): string {
  const factor = parameters / simplifiedParameters(classes);
  const exact = parameters < 10_000 ? '' : grouped(parameters);
  if (images === 'imagenet' || factor < 1.05) return exact;
  return [exact, text.value.build.against(factorText(factor))].filter(Boolean).join(' · ');
}

const simplifiedParameters = (classes: number): number =>
  buildNetwork(createModel('simplified', { classes }), [3, 32, 32]).parameterCount;

const factorText = (factor: number): string =>
  factor >= 10 ? grouped(factor) : String(Number(factor.toPrecision(2)));
