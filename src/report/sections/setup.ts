/** How to repeat the run: command, options, machine. */
import { localCommands } from '../../invocation-node.ts';
import { formatBytes } from '../../model/summary.ts';
import { computedBy } from '../../runs/records.ts';
import { usedOptions } from '../../train/config.ts';
import { type TrainConfig, trainOptions } from '../../train/config-table.ts';
import { changedOptions, shellWord, trainCommand } from '../command.ts';
import { commandText, type Section, scroller } from '../document.ts';
import { html } from '../markup.ts';
import type { ReportRun } from '../run.ts';
import { type Cell, table } from '../table.ts';

export function setupSection({ config, environment, epochs }: ReportRun): Section {
  const { git } = environment;
  const machine: readonly (readonly Cell[])[] = [
    ['vggnet', environment.vggnet],
    ['Device', computedBy(environment, epochs.at(-1)?.step ?? 0)],
    ['Threads', environment.threads],
    ...(environment.tiles ? [['Table of tiles', environment.tiles.name]] : []),
    ['Processor', environment.processor],
    ['Cores', environment.cores],
    ['Memory', formatBytes(environment.memoryBytes)],
    ['Platform', environment.platform],
    environment.browser === undefined
      ? ['Node', `${environment.node} (V8 ${environment.v8})`]
      : ['Browser', environment.browser],
    ['Host', environment.hostname],
    ...(git ? [['Commit', `${git.commit}${git.dirty ? ', with uncommitted changes' : ''}`]] : []),
    ['Started', environment.started],
    ['Folder', environment.folder],
    ['Original command', commandText(environment.command.map(shellWord).join(' '))],
    ...(environment.resumed ?? []).map((one): readonly Cell[] => [
      'Resumed',
      `${one.at}, epoch ${one.epoch}, step ${one.step}, on ${one.description}${one.differs ? ` (${one.differs})` : ''}` +
        (one.rates ? `; learning rate from ${one.rates.before} to ${one.rates.now}` : ''),
    ]),
  ];
  return {
    id: 'setup',
    title: 'Setup',
    body: html`<h3>Repeat this run</h3>
<p>All other options keep their defaults.</p>
<pre class="command" tabindex="0">${commandText(localCommands(trainCommand(config)))}</pre>
<h3>Options</h3>
${scroller('Options', optionTable(config))}
<h3>Machine</h3>
${scroller('Machine', table('Machine that trained this run', [{ title: 'What' }, { title: 'Value' }], machine))}`,
  };
}

/** An option's value as text. */
export function showValue(value: unknown): string {
  if (value === undefined) return '';
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.entries(value)
      .map(([name, one]) => `${name}=${[one].flat().join(',')}`)
      .join(' ');
  }
  return [value]
    .flat()
    .map((one) => (typeof one === 'object' && one !== null ? showValue(one) : one))
    .join(', ');
}

function optionTable(config: TrainConfig) {
  const changed = new Set(changedOptions(config));
  const used = usedOptions(config);
  const keys = (Object.keys(trainOptions) as (keyof TrainConfig)[]).filter((key) => used[key] !== undefined);
  const rows = keys.map((key): readonly Cell[] => {
    const value = showValue(config[key]);
    return [key, changed.has(key) ? html`<strong>${value}</strong>` : value, trainOptions[key].description];
  });
  return table(
    'All options with an effect. Bold values differ from the default.',
    [{ title: 'Option' }, { title: 'Value' }, { title: 'Meaning' }],
    rows,
  );
}
