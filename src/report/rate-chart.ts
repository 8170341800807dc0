/** The chart of a learning rate range test: loss by learning rate, drawn as SVG by Observable Plot. */
import type { FoundRates } from '../train/lr-find.ts';
import { dot, line, parseHTML, plot, ruleX } from './plot.ts';

export function rateChartSvg({ points, steepest, tenthOfLowest }: FoundRates, title: string): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const largest = Math.max(...points.map(({ smoothed }) => smoothed));
  const element = plot({
    document: document as unknown as NonNullable<Parameters<typeof plot>[0]>['document'],
    width: 720,
    height: 400,
    marginLeft: 56,
    marginBottom: 44,
    style: { background: 'white', color: '#222', fontFamily: 'system-ui, sans-serif' },
    x: { type: 'log', label: 'learning rate', labelArrow: 'none' },
    y: { label: 'loss', labelArrow: 'none', grid: true, domain: [0, largest * 1.05], clamp: true },
    marks: [
      dot(points, { x: 'lr', y: 'loss', r: 1.5, fill: '#999' }),
      line(points, { x: 'lr', y: 'smoothed', stroke: '#0a66a8', strokeWidth: 2.5 }),
      ...(steepest === undefined ? [] : [ruleX([steepest], { stroke: '#b34700', strokeDasharray: '6 4' })]),
      ruleX([tenthOfLowest], { stroke: '#6a3d9a', strokeDasharray: '2 4' }),
    ],
  });
  const words = `${title}: loss by learning rate; dashed where it falls fastest, dotted a tenth of the lowest`;
  return String((element as unknown as { readonly outerHTML: string }).outerHTML).replace(
    '<svg ',
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="${words}" `,
  );
}
