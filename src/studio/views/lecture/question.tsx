/** A step's question: a guess first, then the explanation. */
import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';
import { guess, guesses, type StepName } from '../../state/tour.ts';
import { stepTexts } from './step-texts.ts';
import { steps } from './steps.ts';

export function Question({ name }: { readonly name: StepName }): JSX.Element {
  const { lecture } = text.value;
  const { question, choices, answer } = stepTexts.value[name];
  const { right } = steps[name];
  const chosen = guesses.value[name];
  const known = chosen !== undefined;
  return (
    <section class="card question" aria-labelledby="question-title">
      <h3 id="question-title">{lecture.question}</h3>
      <p class="asked">{question}</p>
      <fieldset class="guesses">
        <legend class="hidden">{lecture.guess}</legend>
        {choices.map((choice, i) => (
          <button
            key={choice}
            type="button"
            class={known && (i === right || i === chosen) ? (i === right ? 'is-right' : 'is-wrong') : ''}
            aria-pressed={i === chosen}
            onClick={() => guess(name, i)}
          >
            <span class="letter" aria-hidden="true">
              {'ABC'[i]}
            </span>
            {choice}
          </button>
        ))}
      </fieldset>
      <div role="status">
        {known && (
          <p>
            <strong class={chosen === right ? 'verdict-right' : 'verdict-wrong'}>
              {chosen === right ? `✓ ${lecture.right}` : `✗ ${lecture.wrong}`}
            </strong>
          </p>
        )}
      </div>
      <details open={known}>
        <summary>{lecture.reveal}</summary>
        <p class="prose">{answer}</p>
      </details>
    </section>
  );
}
