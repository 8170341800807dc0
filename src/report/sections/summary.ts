/** The head of a report: what was trained, and how well, in one sentence and a few figures. */
import { computedBy } from '../../runs/records.ts';
import { counted } from '../../words.ts';
import type { Section } from '../document.ts';
import { duration, grouped, html, percent } from '../markup.ts';
import type { Measured } from '../measure.ts';

export function summarySection({ run, network, full, insight }: Measured, runs: number): Section {
  const { config, environment, epochs, splits } = run;
  const seconds = epochs.reduce((sum, { trainSeconds }) => sum + trainSeconds, 0);
  const { test } = splits;
  const n = test.length;
  const five = test.classes.length > 5;
  const count = epochs.at(-1)?.epoch ?? 0;
  const facts: readonly (readonly [string, string])[] = [
    ['Test accuracy', percent(full.correct / n)],
    ...(five ? ([['Among the five likeliest', percent(full.topFive / n)]] as const) : []),
    ['Test loss', full.loss.toFixed(4)],
    ...(insight ? ([['Half-precision weights', percent(insight.half.correct / n)]] as const) : []),
    ['Parameters', grouped(network.parameterCount)],
    ['Training', `${counted(count, 'epoch')}, ${duration(seconds)}`],
  ];
  return {
    id: 'summary',
    title: `${config.model} on ${config.dataset}`,
    body: html`<p class="lead">${runs > 1 && `The best of ${runs} runs, ${run.name}: `}${config.model}, a network of
${grouped(network.parameterCount)} parameters, was trained for ${counted(count, 'epoch')} in ${duration(seconds)}
on ${computedBy(environment, epochs.at(-1)?.step ?? 0)}, and classifies ${percent(full.correct / n)} of ${grouped(n)} test pictures of
${config.dataset} rightly${
      five &&
      html`; for ${percent(full.topFive / n)} the right one of
${test.classes.length} classes is among its five likeliest`
    }.</p>
<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
<p class="note">Measured when this report was made, on the weights of the best epoch, ${
      config.validation > 0
        ? 'which pictures kept apart from the training chose'
        : 'which these same test pictures chose: that flatters the figures a little (--validation keeps others apart)'
    }. ${
      insight
        ? html`The file carries them in half precision (IEEE
binary16); tested in the same way, these classify ${percent(insight.half.correct / n)} rightly, with a loss of ${insight.half.loss.toFixed(4)}.`
        : html`It is a brief one: <code>vgg report</code> without <code>--brief</code>
adds the network itself, which classifies pictures in the page, and what it sees.`
    }
Run: ${run.name}, started ${environment.started.slice(0, 16).replace('T', ' ')} UTC.</p>`,
  };
}
