/** The lecture's table of VGG-16, computed by the library: `vgg summary vgg16`. */
import type { JSX } from 'preact';
import { blockCells } from '../../../../model/block-table.ts';
import { createModel } from '../../../../model/models.ts';
import { buildNetwork } from '../../../../model/network.ts';
import { text } from '../../../state/settings.ts';

const cells = blockCells(buildNetwork(createModel('vgg16', { classes: 1000 }), [3, 224, 224]));

export function ArchitectureTable(): JSX.Element {
  const { lecture } = text.value;
  const [header = [], ...rows] = cells;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
    <section class="scroll" tabIndex={0} aria-label={lecture.demo.tableCaption}>
      <table class="architecture-table" lang="en">
        <caption class="note">{lecture.demo.tableCaption}</caption>
        <thead>
          <tr>
            {header.map((name, i) => (
              <th key={name} scope="col">
                {i === 0 ? '#' : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.join()}>
              {row.map((cell, i) => (
                <td key={header[i]} class={i >= 7 ? 'number' : ''}>
                  {cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
