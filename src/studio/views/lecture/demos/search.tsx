/** The small search of exercise 4: its trials as a table that fills. */
import type { JSX } from 'preact';
import { grouped, percent } from '../../../parts/words.ts';
import { text } from '../../../state/settings.ts';
import { isSearching, search, stopSearch, type Trial, trials } from '../search.ts';
import { stepTexts } from '../step-texts.ts';

export function SmallSearch(): JSX.Element {
  const words = stepTexts.value.exercise4;
  const all = trials.value;
  const done = all.filter(({ accuracy }) => accuracy !== undefined);
  const best = Math.max(...done.map(({ accuracy = 0 }) => accuracy));
  return (
    <>
      <div class="buttons">
        {isSearching.value ? (
          <button type="button" onClick={stopSearch}>
            {words.stop}
          </button>
        ) : (
          <button type="button" class="primary" id="search" onClick={() => void search()}>
            {words.start}
          </button>
        )}
        <span class="note" role="status">
          {done.length > 0 && words.progress(done.length, all.length)}
        </span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard */}
      <section class="scroll" tabIndex={0} aria-label={words.caption}>
        <table class="comparison trials">
          <caption class="note">{words.caption}</caption>
          <thead>
            <tr>
              <th scope="col">{words.channels}</th>
              <th scope="col">{words.strides}</th>
              <th scope="col">{words.parameters}</th>
              <th scope="col">{words.accuracy}</th>
              <th scope="col">{words.time}</th>
            </tr>
          </thead>
          <tbody>
            {all.map((trial) => (
              <Row
                key={`${trial.channels} ${trial.strides}`}
                trial={trial}
                isBest={trial.accuracy !== undefined && trial.accuracy === best}
              />
            ))}
          </tbody>
        </table>
      </section>
    </>
  );
}

function Row({ trial, isBest }: { readonly trial: Trial; readonly isBest: boolean }): JSX.Element {
  const words = stepTexts.value.exercise4;
  const { channels, strides, state, accuracy, parameters, seconds, problem } = trial;
  return (
    <tr class={`${state} ${isBest ? 'best' : ''}`}>
      <th scope="row">{channels.join(', ')}</th>
      <td>{strides.join(', ')}</td>
      <td class="number">{parameters === undefined ? '' : grouped(parameters)}</td>
      <td class="accuracy">
        {accuracy === undefined ? (
          <span class="note">
            {state === 'failed' ? words.failed(problem ?? '') : words[state === 'done' ? 'waiting' : state]}
          </span>
        ) : (
          <>
            <i class="accuracy-bar" style={{ '--v': accuracy.toFixed(4) }} /> <b>{percent(accuracy)}</b>{' '}
            {isBest && <span class="note">{words.best}</span>}
          </>
        )}
      </td>
      <td class="number">{seconds === undefined ? '' : text.value.shell.seconds(seconds)}</td>
    </tr>
  );
}
