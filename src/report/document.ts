/**
 * The page around a report's sections: head, policy, navigation, data. The policy allows the page's one script (by its
 * hash), WebAssembly where the page carries a network, inline styles, and images in the file. It loads and sends nothing.
 */
import { createHash } from 'node:crypto';
import { html, type Markup, raw, scriptJson } from './markup.ts';
import { dataId, type PageData, weightsId } from './page-data.ts';
import { styles } from './styles.ts';

export interface Section {
  readonly id: string;
  /** Its heading, and its name in the navigation. */
  readonly title: string;
  readonly body: Markup;
}

export interface PageContent {
  readonly title: string;
  /** The first section is the head of the page; its title is the page's heading. */
  readonly sections: readonly Section[];
  /** The page's script, see `bundle.ts`. */
  readonly script: string;
  /** What the script `main` works with. `weights` is base64. */
  readonly live?: { readonly data: PageData; readonly weights: string };
  /** The command that made the page. */
  readonly command?: string;
}

/** The whole document. */
export function page({ title, sections, script, live, command = 'vgg report' }: PageContent): string {
  const hash = createHash('sha256').update(script).digest('base64');
  const policy =
    `default-src 'none'; script-src 'sha256-${hash}'${live ? " 'wasm-unsafe-eval'" : ''}; style-src 'unsafe-inline'; ` +
    "img-src data: blob:; base-uri 'none'; form-action 'none'";
  const [head, ...rest] = sections;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="vggnet">
<title>${title}</title>
<link rel="icon" href="data:,">
<style>${raw(styles)}</style>
</head>
<body>
<a class="skip" href="#main">Skip to the report</a>
<header class="bar-top">
<nav aria-label="Sections"><ul>${rest.map(({ id, title: name }) => html`<li><a href="#${id}">${name}</a></li>`)}</ul></nav>
<button id="theme" type="button" hidden>Dark theme</button>
</header>
<main id="main" tabindex="-1">
${head && html`<section id="${head.id}" aria-labelledby="${head.id}-title"><h1 id="${head.id}-title">${head.title}</h1>${head.body}</section>`}
${rest.map(
  ({ id, title: name, body }) =>
    html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${name}</h2>${body}</section>\n`,
)}
</main>
<footer><p>Made by <code>${command}</code>. This page works offline and sends nothing.</p></footer>
${
  live &&
  html`<script type="application/json" id="${dataId}">${scriptJson(live.data)}</script>
<script type="application/octet-stream" id="${weightsId}">${raw(live.weights)}</script>
`
}<script>${raw(script)}</script>
</body>
</html>
`.text;
}

/** A command to copy. Lines break between its words, not at the hyphens inside them. */
export const commandText = (command: string): Markup =>
  html`<code class="words">${command.split(' ').map((word, i) => html`${i > 0 && ' '}<span>${word}</span>`)}</code>`;

/** Content that may be wider than a phone: it scrolls by itself, also by keyboard. Shadows show that there is more. */
export const scroller = (label: string, content: Markup): Markup =>
  html`<div class="scroll" role="group" tabindex="0" aria-label="${label}">${content}</div>`;
