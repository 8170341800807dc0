/** Blocks to add. */
import type { JSX } from 'preact';
import { text } from '../../state/settings.ts';
import { fresh, mostBlocks } from './blocks.ts';
import { kindName } from './names.ts';
import { addBlock, draft, selected } from './state.ts';

const kinds = ['conv', 'pool', 'average', 'flatten', 'linear', 'dropout', 'output'] as const;

export function Palette({ announce }: { readonly announce: (words: string) => void }): JSX.Element {
  const { build } = text.value;
  const { blocks } = draft.value;
  const chosen = blocks.find(({ id }) => id === selected.value);
  return (
    <fieldset class="palette">
      <legend class="hidden">{build.add}</legend>
      <div class="palette-buttons">
        {kinds.map((kind) => (
          <button
            key={kind}
            type="button"
            class={kind}
            disabled={blocks.length >= mostBlocks}
            onClick={() => {
              addBlock(fresh[kind]);
              const at = draft.value.blocks.findIndex(({ id }) => id === selected.value);
              announce(build.added(build.kinds[kind], at + 1));
            }}
          >
            + {build.kinds[kind]}
          </button>
        ))}
      </div>
      <p class="note">{chosen ? build.addAfter(kindName(chosen)) : build.addHome}</p>
    </fieldset>
  );
}
