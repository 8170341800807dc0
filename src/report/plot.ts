/**
 * What charts are drawn with: Observable Plot and a document to draw into. A build bundles both into this one file, so
 * that nobody who installs the package has to install the sixty packages that they come in.
 */
export { barX, dot, line, plot, ruleX, ruleY } from '@observablehq/plot';
export { parseHTML } from 'linkedom';
