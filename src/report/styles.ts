/**
 * The look of a report: one style sheet for screen, phone and paper, light and dark. Colors are Okabe and Ito's, which
 * stay apart without color vision, made darker or brighter until they stand out against their paper.
 */

const light = `
  --paper: #f6f7f9; --card: #ffffff; --text: #1b2027; --soft: #535c69; --rule: #d5dae1; --accent: #0b5cad;
  --on-accent: #ffffff; --right: #2b7bc4; --wrong: #d0661c; --focus: #0b5cad; --meter: #bcd8f2; --shadow: #1b202759;
  --series-1: #0067a8; --series-2: #c24e00; --series-3: #00805c; --series-4: #9a4384; --series-5: #7a6200; --series-6: #4d5663;
  --box-input: #8a93a0; --box-conv: #4c8fc7; --box-pool: #d98a4a; --box-linear: #3fa27e;`;
const dark = `
  --paper: #0e1116; --card: #171b22; --text: #e8ecf1; --soft: #a4adb9; --rule: #333b47; --accent: #6cb2f5;
  --on-accent: #0b1622; --right: #3f8fd6; --wrong: #d4702c; --focus: #8cc4fa; --meter: #22476b; --shadow: #000000d0;
  --series-1: #5cb0f0; --series-2: #f39a4c; --series-3: #3ec79a; --series-4: #dd8fc8; --series-5: #d9c04a; --series-6: #b4bcc8;
  --box-input: #737d8c; --box-conv: #3b7db8; --box-pool: #b8703a; --box-linear: #2f8a69;`;

export const styles: string = `
:root { color-scheme: light; ${light} }
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { color-scheme: dark; ${dark} } }
:root[data-theme="dark"] { color-scheme: dark; ${dark} }
*, ::before, ::after { box-sizing: border-box }
html { scroll-padding-top: 4rem; -webkit-text-size-adjust: 100% }
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth } }
body { margin: 0; background: var(--paper); color: var(--text); font: 1rem/1.55 system-ui, sans-serif }
a { color: var(--accent) }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 4px }
main:focus { outline: none }
.skip { position: absolute; left: -999rem; padding: .5rem 1rem; background: var(--card); z-index: 3 }
.skip:focus { left: 1rem; top: 1rem }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.bar-top { position: sticky; top: 0; z-index: 2; display: flex; gap: 1rem; align-items: center; padding: .5rem clamp(1rem, 4vw, 2rem);
  background: var(--card); border-bottom: 1px solid var(--rule) }
.bar-top nav { flex: 1; min-width: 0 }
.bar-top ul { display: flex; gap: 1.1rem; margin: 0; padding: .3rem .2rem; list-style: none; white-space: nowrap; font-size: .92rem }
.bar-top a { color: var(--text); text-decoration: none }
.bar-top a:hover { text-decoration: underline }
main, footer { max-width: 76rem; margin: 0 auto; padding: 0 clamp(1rem, 4vw, 2rem) }
section { margin: 2.2rem 0; padding: clamp(1rem, 3vw, 2rem); background: var(--card); border: 1px solid var(--rule); border-radius: 14px; min-width: 0 }
section#summary { background: none; border: 0; padding: 0 }
h1 { font-size: clamp(1.8rem, 5vw, 2.7rem); line-height: 1.15; margin: 0 0 .6rem; letter-spacing: -.02em; overflow-wrap: anywhere }
h2 { font-size: 1.5rem; margin: 0 0 1rem; letter-spacing: -.01em }
h3 { font-size: 1.13rem; margin: 2rem 0 .5rem }
h2 + h3 { margin-top: 0 }
h4 { font-size: 1rem; margin: 1.2rem 0 .4rem }
p { max-width: 70ch; margin: .5rem 0 1rem }
.lead { font-size: 1.17rem; max-width: 62ch }
.note, figcaption { color: var(--soft); font-size: .9rem }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .8rem; margin: 1.4rem 0 }
.facts div { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: .8rem 1rem }
.facts dt { color: var(--soft); font-size: .87rem }
.facts dd { margin: .1rem 0 0; font-size: 1.3rem; font-weight: 650; font-variant-numeric: tabular-nums }
/* Shadows at the edges show that there is more to scroll to; at an end, a cover in the card's color hides them. */
.scroll, .bar-top nav { overflow-x: auto; max-width: 100%; background:
  linear-gradient(to right, var(--card) 40%, transparent) left / 3rem 100% no-repeat local,
  linear-gradient(to left, var(--card) 40%, transparent) right / 3rem 100% no-repeat local,
  linear-gradient(to right, var(--shadow), transparent) left / 1rem 100% no-repeat scroll,
  linear-gradient(to left, var(--shadow), transparent) right / 1rem 100% no-repeat scroll var(--card) }
.scroll { padding: 2px }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.6rem }
p, dd, li, figcaption, caption { overflow-wrap: anywhere }
.gallery > li, .charts > figure { min-width: 0 }
figure { margin: 0 }
.chart figcaption { color: var(--text); font-weight: 600; font-size: 1rem; margin-bottom: .3rem }
.chart > svg { display: block; width: 100%; max-width: 38rem; height: auto; font-size: 12px; overflow: visible }
.scroll > .chart > svg { max-width: none; min-width: 48rem }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .2rem 0 0; padding: 0; list-style: none; font-size: .9rem }
.legend svg { margin-right: .4rem; vertical-align: middle }
table { border-collapse: collapse; min-width: min(100%, 26rem); font-size: .92rem; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .4rem }
th, td { padding: .34rem .8rem .34rem 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top }
thead th { border-bottom: 2px solid var(--rule); white-space: nowrap }
tbody th { font-weight: 500 }
tfoot th, tfoot td { font-weight: 650; border-bottom: 0 }
.number { text-align: right; white-space: nowrap }
details { margin: 1rem 0 }
summary { cursor: pointer; color: var(--accent); padding: .3rem 0 }
.sort { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
.sort::after { content: " ↕"; content: " ↕" / ""; color: var(--soft) }
[aria-sort="ascending"] .sort::after { content: " ↑"; content: " ↑" / "" }
[aria-sort="descending"] .sort::after { content: " ↓"; content: " ↓" / "" }
#results .scroll:has([data-sortable]) { max-height: 30rem; overflow: auto; border: 1px solid var(--rule); border-radius: 10px; padding: .6rem }
.meter { display: inline-block; min-width: 6.5rem; padding: 0 .4rem; border-radius: 4px;
  background: linear-gradient(to right, var(--meter) calc(var(--v) * 100%), transparent 0) }
.matrices { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start }
.matrices > * { min-width: 0; max-width: 100% }
.matrix { min-width: 0; font-size: .8rem; border-collapse: separate; border-spacing: 1px }
.matrix th, .matrix td { border: 0; padding: 0 .2rem }
.matrix thead th { vertical-align: bottom; text-align: left; font-weight: 500 }
.matrix thead th span { display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg); padding: .3rem 0 }
.matrix tbody th { text-align: right; vertical-align: middle; white-space: nowrap; padding-right: .5rem }
.matrix td { width: 2.1rem; min-width: 2.1rem; height: 1.9rem; text-align: center; vertical-align: middle; border-radius: 3px;
  background: color-mix(in oklab, var(--shade) calc(var(--v) * 62%), var(--cell)) }
.matrix td { --cell: color-mix(in oklab, var(--rule) 30%, var(--card)) }
.matrix td.right { --shade: var(--right) } .matrix td.wrong { --shade: var(--wrong) }
.matrix td[tabindex] { cursor: pointer }
.matrix td[aria-selected="true"] { outline: 2px solid var(--text); outline-offset: -1px }
.matrix td:focus-visible { outline: 3px solid var(--focus); outline-offset: 0; position: relative }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, var(--card-width, 12.8rem)), 1fr)); gap: 1rem;
  list-style: none; margin: .6rem 0; padding: 0 }
.gallery.wide { --card-width: 18.5rem } .gallery.maps { --card-width: 24rem }
.card { border: 1px solid var(--rule); border-radius: 10px; padding: .7rem; height: 100% }
.card figcaption { margin-top: .35rem }
.card .row { display: flex; gap: .4rem; flex-wrap: wrap }
.pixels { image-rendering: pixelated; border-radius: 4px; max-width: none }
.sheet { width: 100%; height: auto }
.stack { position: relative; display: inline-block; line-height: 0 }
.stack .heat { position: absolute; inset: 0; width: 100%; height: 100%; border-radius: 4px }
.stack.large canvas { width: min(18rem, 70vw); height: auto; aspect-ratio: 1 }
.stack.large .heat { height: 100% }
.bars { list-style: none; margin: .5rem 0 0; padding: 0; display: grid; gap: .3rem }
.bar { display: flex; justify-content: space-between; gap: 1rem; width: 100%; padding: .15rem .5rem; border-radius: 6px; font: inherit; font-size: .9rem;
  color: var(--text); text-align: left; border: 1px solid var(--rule);
  background: linear-gradient(to right, var(--meter) calc(var(--v) * 100%), transparent 0) }
button.bar { cursor: pointer; padding: .45rem .7rem; font-size: 1rem }
button.bar[aria-pressed="true"] { border-color: var(--accent); box-shadow: inset 4px 0 var(--accent) }
.value { font-variant-numeric: tabular-nums; white-space: nowrap }
.sample-image { display: flex; gap: 1rem; align-items: center; margin: .6rem 0 1rem }
.panel { border: 2px dashed var(--rule); border-radius: 12px; padding: 1.2rem }
.panel.dragging { border-color: var(--accent) }
.samples { display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; margin: 0; padding: 0 }
.sample { padding: 3px; background: none; border: 1px solid var(--rule); border-radius: 8px; cursor: pointer; line-height: 0 }
.sample:hover, button.bar:hover { border-color: var(--accent) }
.primary, #theme { font: inherit; cursor: pointer; border-radius: 8px; padding: .55rem 1rem; border: 1px solid var(--accent) }
.primary { background: var(--accent); color: var(--on-accent) }
#theme { background: none; color: var(--text); border-color: var(--rule); padding: .25rem .7rem; font-size: .9rem; white-space: nowrap }
#try-status { min-height: 1.6em; font-weight: 600 }
#try-result { display: flex; flex-wrap: wrap; gap: 2rem }
#try-result > div { flex: 1 1 18rem; min-width: 0; max-width: 34rem }
#try-result h3 { margin-top: 0 }
pre.command { background: var(--paper); border: 1px solid var(--rule); border-radius: 8px; padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere }
.words span { display: inline-block; max-width: 100%; overflow-wrap: anywhere; white-space: normal }
.architecture { display: block; max-width: none }
.architecture text { font-size: 11px; fill: var(--text) }
.architecture .box path { stroke: var(--card); stroke-width: .8; stroke-linejoin: round }
.box.input { --c: var(--box-input) } .box.conv { --c: var(--box-conv) } .box.pool { --c: var(--box-pool) } .box.linear, .box.other { --c: var(--box-linear) }
.box .front { fill: var(--c) } .box .lid { fill: color-mix(in oklab, var(--c) 65%, white) } .box .side { fill: color-mix(in oklab, var(--c) 72%, black) }
.key { font-size: .9rem }
.key span { white-space: nowrap }
.swatch { display: inline-block; width: .9em; height: .9em; border-radius: 3px; vertical-align: -.08em; margin: 0 .35em 0 .9em }
.swatch.input { background: var(--box-input); margin-left: 0 } .swatch.conv { background: var(--box-conv) } .swatch.pool { background: var(--box-pool) } .swatch.linear { background: var(--box-linear) }
main svg.vgg-histograms { --ink: var(--text); --muted: var(--soft); --line: var(--rule); --paper: var(--card) }
footer { color: var(--soft); font-size: .9rem; padding-bottom: 2rem }
@media (max-width: 34rem) {
  section { border-radius: 10px }
  .chart > svg { font-size: 16px }
  .gallery { --card-width: 9.2rem; gap: .6rem }
  .card { padding: .5rem } .card .bar { font-size: .78rem; gap: .3rem; padding: .15rem .35rem }
  .matrix { font-size: .74rem }
}
@media print {
  :root:root:root { color-scheme: light; ${light} --paper: #fff }
  .scroll { background: none }
  .bar-top, .skip, .actions, .samples, #try-samples-label, #try-status:empty { display: none }
  body { font-size: 10pt } table { font-size: 8.5pt } th, td { padding-right: .35rem }
  .meter { min-width: 4.2rem }
  section { border: 0; padding: 0; margin: 1.5rem 0 }
  .charts { grid-template-columns: 1fr 1fr } .gallery.maps { --card-width: 18rem }
  :is(th, td):not(.matrix *, .number) { overflow-wrap: anywhere }
  thead th, .number, .matrix tbody th { white-space: normal }
  img:not(.heat, .stack *), table { max-width: 100%; min-width: 0; height: auto }
  .scroll > .chart > svg { min-width: 0 }
  .architecture, main svg.vgg-histograms { width: 100%; max-width: 100%; height: auto }
  figure, tr, .card, pre { break-inside: avoid }
  h2, h3 { break-after: avoid }
  .scroll, #results .scroll:has([data-sortable]) { overflow: visible; max-height: none; border: 0 }
  .matrix { font-size: 5.5pt } .matrix td { min-width: 0; width: auto; height: auto; padding: 0 1px }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
`;
