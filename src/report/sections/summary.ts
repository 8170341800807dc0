/** The head of a report: what was trained and how accurate it is, in one sentence and a few figures. */
import { shortName } from '../../data/named.ts';
import { modelName } from '../../model/models.ts';
import { computedBy } from '../../runs/records.ts';
import { counted } from '../../words.ts';
import type { Section } from '../document.ts';
import { duration, fixed, grouped, html, percent } from '../markup.ts';
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
    ...(five ? ([['Top-5 accuracy', percent(full.topFive / n)]] as const) : []),
    ['Test loss', fixed(full.loss)],
    ...(insight ? ([['Half-precision weights', percent(insight.half.correct / n)]] as const) : []),
    ['Parameters', grouped(network.parameterCount)],
    ['Training', `${counted(count, 'epoch')}, ${duration(seconds)}`],
  ];
  return {
    id: 'summary',
    title: `${modelName(config.model)} on ${shortName(config.dataset)}`,
    body: html`<p class="lead">${runs > 1 && `The best of ${runs} runs, ${run.name}: `}${modelName(config.model)}, a network with
${grouped(network.parameterCount)} parameters, trained for ${counted(count, 'epoch')} in ${duration(seconds)}
on ${computedBy(environment, epochs.at(-1)?.step ?? 0)}. It classifies ${percent(full.correct / n)} of ${grouped(n)} test images of
${shortName(config.dataset)} correctly${five && html` (top-5 accuracy ${percent(full.topFive / n)})`}.</p>
<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
<p class="note">Measured for this report with the weights of the best epoch, ${
      config.validation > 0
        ? 'selected on the validation images'
        : 'selected on these test images, so the figures are slightly optimistic (--validation holds out other images)'
    }. ${
      insight
        ? html`This file contains the weights in half precision (IEEE
binary16), with a test accuracy of ${percent(insight.half.correct / n)} and a test loss of ${fixed(insight.half.loss)}.`
        : html`This is a brief report. <code>vgg report</code> without <code>--brief</code>
adds the network itself, which classifies images in the page, and explanations.`
    }
Run: ${run.name}, started ${environment.started.slice(0, 16).replace('T', ' ')} UTC.</p>`,
  };
}
