/** Where a picture comes from: a file that is chosen, dropped or pasted, a drawing, or the webcam. */
import { type Signal, signal, useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import { text } from '../../state/settings.ts';
import { Camera } from './camera.tsx';
import { picture, show } from './looked.ts';
import { Sketch } from './sketch.tsx';

const sources = ['file', 'sketch', 'camera'] as const;
type Source = (typeof sources)[number];

const chosen: Signal<Source> = signal('file');

export function SourceCard(): JSX.Element {
  const { trying } = text.value;
  // A pasted image counts wherever the focus is.
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => {
      const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith('image/'));
      if (!file) return;
      event.preventDefault();
      chosen.value = 'file';
      show(file);
    };
    addEventListener('paste', paste);
    return () => removeEventListener('paste', paste);
  }, []);
  return (
    <section class="card source" aria-labelledby="source-title">
      <h2 id="source-title">{trying.source}</h2>
      <fieldset class="segments" aria-label={trying.source}>
        {sources.map((one) => (
          <button
            key={one}
            type="button"
            id={`source-${one}`}
            aria-pressed={one === chosen.value}
            onClick={() => {
              chosen.value = one;
            }}
          >
            {trying.sources[one]}
          </button>
        ))}
      </fieldset>
      {chosen.value === 'file' && <FileArea />}
      {chosen.value === 'sketch' && <Sketch />}
      {chosen.value === 'camera' && <Camera />}
      <p class="note">{trying.stays}</p>
    </section>
  );
}

function FileArea(): JSX.Element {
  const { trying } = text.value;
  const isOver = useSignal(false);
  const url = useSignal('');
  const file = picture.value instanceof Blob ? picture.value : undefined;
  useEffect(() => {
    if (!file) return undefined;
    const made = URL.createObjectURL(file);
    url.value = made;
    return () => {
      URL.revokeObjectURL(made);
      url.value = '';
    };
  }, [file]);
  const take = (files: FileList | null | undefined): void => {
    const [first] = files ?? [];
    if (first) show(first);
  };
  return (
    <label
      class={`stage drop ${isOver.value ? 'over' : ''}`}
      onDragOver={(event) => {
        event.preventDefault();
        isOver.value = true;
      }}
      onDragLeave={() => {
        isOver.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        isOver.value = false;
        take(event.dataTransfer?.files);
      }}
    >
      {url.value ? <img src={url.value} alt={trying.yours} /> : <span class="drop-words">{trying.drop}</span>}
      <span class="button">{trying.choose}</span>
      <input
        id="picture-file"
        class="hidden"
        type="file"
        accept="image/*"
        onChange={({ currentTarget }) => {
          take(currentTarget.files);
          // The same file may be chosen again.
          currentTarget.value = '';
        }}
      />
    </label>
  );
}
