/** What the network sees: the first filters, the feature maps of all layers, and Grad-CAM. */
import type { HeatMap } from '../../explain/explain.ts';
import { pngUri } from '../../images/png.ts';
import {
  featureRaster,
  filterRaster,
  firstFilters,
  heatRaster,
  sampleRaster,
  strongestChannels,
} from '../../images/rasters.ts';
import { formatShape } from '../../model/layers/arguments.ts';
import { type Section, scroller } from '../document.ts';
import { html, type Markup, spoken } from '../markup.ts';
import type { Explained, Insight, Measured } from '../measure.ts';

const shownChannels = 16;
const columns = 8;
const filterColumns = 16;
/** Pixels per weight in the drawing of the filters. */
const filterScale = 10;

export function explanationSection(measured: Measured, insight: Insight): Section {
  return {
    id: 'explanations',
    title: 'What the network sees',
    body: html`${filters(measured)}${featureMaps(measured, insight)}${heatMaps(measured, insight)}`,
  };
}

function filters({ network, run }: Measured): Markup | undefined {
  const first = firstFilters(network, run.weights);
  if (!first) return undefined;
  const { layer, weight } = first;
  const raster = filterRaster(weight, filterColumns);
  const [out = 0, channels = 0, height = 0, width = 0] = weight.shape;
  return html`<h3>Filters of the first layer</h3>
<p>All ${out} filters of ${layer}, ${height}×${width}${channels === 3 && ', drawn in color'}. Middle gray is 0. Each filter is scaled by its
largest weight.</p>
${scroller(
  'Filters of the first layer',
  html`<img class="pixels" alt="${out} filters of ${layer}" width="${raster.width * filterScale}" height="${raster.height * filterScale}" src="${pngUri(raster)}">`,
)}`;
}

function featureMaps({ run }: Measured, { sample, layers }: Insight): Markup | undefined {
  if (layers.length === 0) return undefined;
  const { test } = run.splits;
  const name = spoken(test.classes[test.labels[sample]!]!);
  return html`<h3>Feature maps</h3>
<p>A test image of class <strong>${name}</strong> as it passes through the layers: the ${shownChannels} channels with the
strongest activations, each scaled from its minimum (dark) to its maximum (bright).</p>
<figure class="sample-image"><img class="pixels" width="96" height="96" alt="test image of class ${name}" src="${pngUri(sampleRaster(test, sample))}"><figcaption>the image</figcaption></figure>
<ul class="gallery maps">${layers.map(({ name: layer, maps }) => {
    const raster = featureRaster(maps, strongestChannels(maps, shownChannels), columns);
    return html`<li><figure class="card"><img class="pixels sheet" width="${raster.width}" height="${raster.height}" alt="feature maps after ${layer}" src="${pngUri(raster)}"><figcaption>after ${layer}: ${formatShape(maps.shape.slice(1))}</figcaption></figure></li>`;
  })}</ul>`;
}

function heatMaps(measured: Measured, { right, wrong }: Insight): Markup | undefined {
  if (right.length + wrong.length === 0) return undefined;
  const list = (explained: readonly Explained[], kind: string): Markup =>
    html`<ul class="${kind}">${explained.map((one) => html`<li>${explainedCard(measured, one)}</li>`)}</ul>`;
  return html`<h3>Evidence for the answers</h3>
<p>Grad-CAM (<a href="https://arxiv.org/abs/1610.02391" rel="noreferrer">Selvaraju et al. 2017</a>): the last feature maps before the final pool,
weighted by how much they raise a class's score. Bright areas support the class.</p>
${right.length > 0 && html`<h4>Correct answers</h4>${list(right, 'gallery')}`}
${wrong.length > 0 && html`<h4>Wrong answers</h4>${list(wrong, 'gallery wide')}`}`;
}

function explainedCard({ run }: Measured, one: Explained): Markup {
  const { test } = run.splits;
  const name = (label: number): string => spoken(test.classes[label]!);
  const image = pngUri(sampleRaster(test, one.index));
  const plain = html`<img class="pixels" width="88" height="88" alt="test image ${one.index + 1} of class ${name(one.label)}" src="${image}">`;
  const overlaid = (heat: HeatMap, label: number): Markup =>
    html`<span class="stack"><img class="pixels" width="88" height="88" alt="" src="${image}"><img class="heat" alt="evidence for ${name(label)}" src="${pngUri(heatRaster(heat))}"></span>`;
  return html`<figure class="card"><span class="row">${plain}${overlaid(one.heatOfAnswer, one.answer)}${one.heatOfLabel && overlaid(one.heatOfLabel, one.label)}</span>
<figcaption>${one.heatOfLabel ? html`<strong>${name(one.label)}</strong>, answered as ${name(one.answer)}: evidence for the answer, then for the true class` : html`<strong>${name(one.label)}</strong>`}</figcaption></figure>`;
}
