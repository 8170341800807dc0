/**
 * The progress of a study: a table on a terminal, a few lines elsewhere, one JSON object per line with --json. All of it is
 * read from the journal, so it does not matter who works on the study, or where.
 */
import type { StudyFolder } from '../tune/folder.ts';
import { shortValue, spokenName } from '../tune/importance.ts';
import { configurationCount, lastStep, parentOf, shownStates } from '../tune/lineage.ts';
import { isFinished, type TrialState } from '../tune/records.ts';
import type { FrozenTrial } from '../tune/replay.ts';
import type { Study } from '../tune/study.ts';
import type { WorkEvent } from '../tune/work.ts';
import { formatTable, percent } from '../words.ts';
import { print, printJson, secondsLeft, shorten, wrap } from './output.ts';
import { clock } from './progress.ts';

export interface StudyView {
  /** Shows what is new since the last call. */
  update(): void;
}

/** Shows a study's progress, without what happened before. */
export function viewOf(folder: StudyFolder, study: Study, json: boolean): StudyView {
  if (!json && process.stdout.isTTY) return liveTable(folder, study, process.stdout);
  const news = newsOf(study);
  return {
    update() {
      for (const event of news()) {
        if (json) printJson(event);
        else printEvent(event);
      }
    },
  };
}

interface Seen {
  state: TrialState;
  last: number;
}

/** A function that returns what happened since its last call. */
export function newsOf(study: Study): () => readonly WorkEvent[] {
  const seen = new Map<number, Seen>();
  for (const { number, state, intermediateValues } of study.trials) {
    seen.set(number, { state, last: lastStep({ intermediateValues }) ?? 0 });
  }
  return () => {
    const events: WorkEvent[] = [];
    for (const trial of study.trials) {
      if (trial.state === 'waiting') continue;
      const { number, state, intermediateValues, params } = trial;
      const parent = parentOf(trial);
      let known = seen.get(number);
      if (known === undefined || known.state === 'waiting') {
        // A parent's reports were shown with the parent.
        const inherited = parent === undefined ? undefined : study.trials[parent]?.intermediateValues;
        known = {
          state: 'running',
          last: inherited ? (lastStep({ intermediateValues: inherited }) ?? 0) : 0,
        };
        seen.set(number, known);
        events.push({ event: 'trial', trial: number, params, ...(parent !== undefined && { parent }) });
      }
      for (const [epoch, value] of intermediateValues) {
        if (epoch <= known.last) continue;
        known.last = epoch;
        events.push({ event: 'epoch', trial: number, epoch, value });
      }
      if (isFinished(known.state) || !isFinished(state)) continue;
      known.state = state;
      const reason = trial.userAttrs['vgg:reason'];
      events.push({
        event: 'told',
        trial: number,
        state: state as 'complete' | 'pruned' | 'fail',
        ...(trial.value !== undefined && { value: trial.value }),
        ...(typeof reason === 'string' && { reason }),
      });
    }
    return events;
  };
}

const paramText = (params: FrozenTrial['params']): string =>
  Object.entries(params)
    .map(([key, value]) => `${spokenName(key)}=${shortValue(value)}`)
    .join(' ');

function printEvent(event: WorkEvent): void {
  const name = `Trial ${event.trial}`;
  switch (event.event) {
    case 'trial':
      print(
        `${name}${event.parent === undefined ? '' : `, continuing trial ${event.parent}`}: ${paramText(event.params)}`,
      );
      break;
    case 'epoch':
      print(`${name}, epoch ${event.epoch}: ${percent(event.value)}`);
      break;
    case 'told': {
      const value = event.value === undefined ? '' : `: ${percent(event.value)}`;
      print(`${name} ${event.state}${value}${event.reason ? `: ${event.reason}` : ''}`);
      break;
    }
    default:
      event satisfies never;
  }
}

/** The parts of a terminal that the table uses. */
export interface TableTerminal {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): unknown;
}

/** A table that redraws in place: running trials, then the latest of the others. */
export function liveTable(
  folder: Pick<StudyFolder, 'settings'>,
  study: Study,
  terminal: TableTerminal,
  now: () => number = () => performance.now(),
): StudyView {
  const begun = now();
  const before = study.trials.filter(({ state }) => isFinished(state)).length;
  let drawn = 0;
  let last = '';
  return {
    update() {
      const { trials } = study;
      const elapsed = (now() - begun) / 1000;
      const wanted = folder.settings.trials;
      const done = trials.filter(({ state }) => isFinished(state)).length;
      const open = wanted - configurationCount(trials) + (trials.length - done);
      const seconds = open > 0 ? secondsLeft(done - before, open, 1000 * elapsed, 3) : undefined;
      const left = seconds === undefined ? '' : `, about ${clock(seconds)} left`;
      const best = study.bestTrial;
      const head = `${configurationCount(trials)} of ${wanted} configurations${
        best ? `; best: ${percent(best.value!)} (trial ${best.number})` : ''
      }; ${clock(elapsed)}${left}`;
      const most = Math.max(3, (terminal.rows ?? 24) - 5);
      const shown = trials
        .toSorted((a, b) => Number(isFinished(a.state)) - Number(isFinished(b.state)) || b.number - a.number)
        .slice(0, most);
      const columns = (terminal.columns ?? 80) - 1;
      const stateOf = shownStates(trials);
      const rows = [
        ['trial', 'state', 'epoch', 'accuracy', 'parameters'],
        ...shown.map((trial) => row(trial, stateOf(trial))),
      ];
      // The parameters take the columns that the others leave.
      const others = formatTable(
        rows.map((cells) => cells.slice(0, 4)),
        5,
      );
      const room = Math.max(...others.split('\n').map((line) => line.length)) + 2;
      const table = formatTable(
        rows.map((cells) => [...cells.slice(0, 4), shorten(cells[4]!, columns - room)]),
        5,
      );
      const lines = [...wrap(head, columns).split('\n'), ...table.split('\n')].map((line) =>
        shorten(line, columns),
      );
      const text = lines.join('\n');
      if (text === last) return;
      last = text;
      // Move up to the start of the table, and clear to the end of the screen.
      terminal.write(`${drawn > 0 ? `\x1b[${drawn}A` : ''}\r\x1b[J${text}\n`);
      drawn = lines.length;
    },
  };
}

function row({ number, value, params, intermediateValues }: FrozenTrial, state: string): readonly string[] {
  const epoch = lastStep({ intermediateValues }) ?? 0;
  const accuracy = value ?? intermediateValues.get(epoch);
  return [
    String(number),
    state,
    epoch === 0 ? '' : String(epoch),
    accuracy === undefined ? '' : percent(accuracy),
    paramText(params),
  ];
}
