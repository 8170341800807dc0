/** The network: a drawing, and its layers as a table. */
import { formatShape } from '../../model/layers/arguments.ts';
import { summarize } from '../../model/summary.ts';
import { architectureSvg } from '../architecture.ts';
import { type Section, scroller } from '../document.ts';
import { grouped, html, percent } from '../markup.ts';
import type { Measured } from '../measure.ts';
import type { TimeShare } from '../run.ts';
import { type Cell, table } from '../table.ts';

export function networkSection({ run, network }: Measured): Section {
  const { layers, total } = summarize(network);
  const shares = run.timeShares;
  const count = (value: number): Cell => ({ show: value === 0 ? '' : grouped(value), value });
  const rows: (readonly Cell[])[] = layers.map((row) => [
    row.name,
    `${row.kind}${row.settings === '' ? '' : ` ${row.settings}`}`,
    formatShape(row.output),
    count(row.parameters),
    count(row.multiplyAdds),
    ...(shares ? [timeOf(row.name, shares)] : []),
  ]);
  const rest = 1 - (shares ?? []).reduce((sum, { share }) => sum + share, 0);
  if (shares) rows.push(['images, loss', '', '', '', '', meter(rest)]);
  const columns = [
    { title: 'Layer' },
    { title: 'Kind' },
    { title: 'Output' },
    { title: 'Parameters', number: true },
    { title: 'Multiply-adds', number: true },
    ...(shares ? [{ title: 'Share of time', number: true }] : []),
  ];
  const totals = [
    'All',
    '',
    '',
    grouped(total.parameters),
    grouped(total.multiplyAdds),
    ...(shares ? [percent(1, 0)] : []),
  ];
  return {
    id: 'network',
    title: 'Network',
    body: html`${scroller('Drawing of the network', architectureSvg(network))}
<p class="key"><span><span class="swatch input"></span>image</span> <span><span class="swatch conv"></span>convolution and ReLU</span>
<span><span class="swatch pool"></span>pool</span> <span><span class="swatch linear"></span>linear</span></p>
<p class="note">Each box is a layer's output. Its height and depth grow with the square root of H and W, its length with the
square root of the number of channels.</p>
${scroller('Layers', table('Layers, with counts for one image', columns, rows, { totals }))}
${
  shares &&
  html`<p class="note">Share of a training step on one thread: forward pass, backward pass and optimizer. “with” another layer means
that its kernels compute both layers. Flatten takes no time. The last row covers reading the images and computing the loss.</p>`
}`,
  };
}

/** A layer's share of the time, or the layer whose share includes it. */
function timeOf(layer: string, shares: readonly TimeShare[]): Cell {
  const found = shares.find(({ layers }) => layers.includes(layer));
  if (!found) return '';
  const [first = layer] = found.layers;
  return first === layer ? meter(found.share) : `with ${first}`;
}

const meter = (share: number): Cell => ({
  show: html`<span class="meter" style="--v:${share.toFixed(3)}">${percent(share, 1)}</span>`,
  value: share,
});
