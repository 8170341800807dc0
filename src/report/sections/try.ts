/** Try the network: choose, drop or pick an image; the page's script classifies it. */

import { inputShape } from '../../data/facts.ts';
import { pngUri } from '../../images/png.ts';
import { sampleRaster } from '../../images/rasters.ts';
import type { Section } from '../document.ts';
import { html, spoken } from '../markup.ts';
import { type Measured, ofDifferentClasses } from '../measure.ts';

const samples = 10;

export function trySection({ run, full }: Measured): Section {
  const { test } = run.splits;
  const [, height, width] = inputShape(run.config, test);
  const chosen = ofDifferentClasses(
    full,
    Array.from({ length: test.length }, (_, i) => i),
    samples,
  );
  return {
    id: 'try',
    title: 'Try the network',
    body: html`<div id="try-panel" class="panel">
<p>This file contains the trained network and runs it in this page. Choose an image, or drop one here. Its center is
scaled to ${width}×${height} pixels. The image does not leave your computer.</p>
<div class="actions"><button id="try-choose" type="button" class="primary">Choose an image …</button>
<label class="hidden" for="try-file">Image file</label><input id="try-file" class="hidden" type="file" accept="image/*" tabindex="-1"></div>
<p id="try-samples-label">Or pick a test image:</p>
<ul class="samples" aria-labelledby="try-samples-label">${chosen.map(
      (index) =>
        html`<li><button type="button" class="sample" data-index="${index}"><img class="pixels" width="56" height="56" alt="${spoken(test.classes[test.labels[index]!]!)}" src="${pngUri(sampleRaster(test, index))}"></button></li>`,
    )}</ul>
<p id="try-status" role="status"></p>
<div id="try-result"></div>
<noscript><p>Scripts are turned off in this browser, so the network cannot run here.</p></noscript>
</div>`,
  };
}
