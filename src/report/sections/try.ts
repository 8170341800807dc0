/** The network itself: a place to choose, drop or pick a picture, which the page's script brings to life. */
import type { Section } from '../document.ts';
import { html, spoken } from '../markup.ts';
import { type Measured, ofDifferentClasses } from '../measure.ts';
import { sampleRaster } from '../pictures.ts';
import { pngUri } from '../png.ts';

const samples = 10;

export function trySection({ run, full }: Measured): Section {
  const { test } = run.splits;
  const [, height, width] = test.shape;
  const chosen = ofDifferentClasses(
    full,
    Array.from({ length: test.length }, (_, i) => i),
    samples,
  );
  return {
    id: 'try',
    title: 'Try the network',
    body: html`<div id="try-panel" class="panel">
<p>The trained network is in this file and runs in this page, by the kernels it was trained with. Choose a picture of
your own, or drop one here: its middle is scaled to ${width}×${height} pixels. It does not leave your computer.</p>
<div class="actions"><button id="try-choose" type="button" class="primary">Choose a picture …</button>
<label class="hidden" for="try-file">Picture file</label><input id="try-file" class="hidden" type="file" accept="image/*" tabindex="-1"></div>
<p id="try-samples-label">Or take a test picture:</p>
<ul class="samples" aria-labelledby="try-samples-label">${chosen.map(
      (index) =>
        html`<li><button type="button" class="sample" data-index="${index}"><img class="pixels" width="56" height="56" alt="${spoken(test.classes[test.labels[index]!]!)}" src="${pngUri(sampleRaster(test, index))}"></button></li>`,
    )}</ul>
<p id="try-status" role="status"></p>
<div id="try-result"></div>
<noscript><p>Scripts are off in this browser, so the network cannot run here.</p></noscript>
</div>`,
  };
}
