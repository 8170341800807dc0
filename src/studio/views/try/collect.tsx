/** Classes of the user's own: named, filled with images, trained on, exported and imported. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { download } from '../../parts/download.ts';
import { Icon } from '../../parts/icons.tsx';
import { grouped } from '../../parts/words.ts';
import { text } from '../../state/settings.ts';
import {
  addClass,
  addPictures,
  classes,
  exported,
  imageCount,
  importZip,
  isKept,
  leastImages,
  mostClasses,
  mostImages,
  type OwnClass,
  obstacle,
  openCollection,
  removeClass,
  removeImage,
  renameClass,
  trainOnClasses,
} from './collection.ts';
import { picture } from './looked.ts';

/** Milliseconds between two pictures while the button is held. */
const burstEvery = 250;
/** Milliseconds after which a press counts as held. */
const burstAfter = 500;

export function Collect(): JSX.Element {
  const { trying } = text.value;
  const trouble = useSignal('');
  const said = useSignal('');
  const isWorking = useSignal(false);
  useEffect(() => {
    void openCollection().then(() => {
      while (classes.value.length < 2) addClass(text.peek().trying.newClass(classes.value.length + 1));
    });
  }, []);
  /** Runs an action, one at a time, and says what went wrong. */
  const attempt = async (action: () => Promise<string | undefined>): Promise<void> => {
    trouble.value = '';
    isWorking.value = true;
    try {
      said.value = (await action()) ?? '';
    } catch (error) {
      trouble.value = error instanceof Error ? error.message : String(error);
    }
    isWorking.value = false;
  };
  const add = (id: number, pictures: readonly (Blob | ImageData)[]): void =>
    void attempt(async () => {
      await addPictures(id, pictures);
      return undefined;
    });
  return (
    <section class="card collect" id="collect" aria-labelledby="collect-title">
      <h2 id="collect-title">{trying.collect}</h2>
      <p class="note">{trying.collectHelp(leastImages)}</p>
      {trouble.value && (
        <p class="problem" role="alert">
          {trouble.value}
        </p>
      )}
      <ul class="own-classes">
        {classes.value.map((one, i) => (
          <ClassCard key={one.id} one={one} place={i + 1} onAdd={(pictures) => add(one.id, pictures)} />
        ))}
      </ul>
      <div class="collect-buttons">
        <button
          type="button"
          id="add-class"
          disabled={classes.value.length >= mostClasses}
          onClick={() => addClass(trying.newClass(classes.value.length + 1))}
        >
          + {trying.addClass}
        </button>
        <button
          type="button"
          class="primary"
          id="train-classes"
          disabled={obstacle.value !== undefined || isWorking.value}
          onClick={() =>
            void attempt(async () => {
              await trainOnClasses();
              return trying.training;
            })
          }
        >
          {trying.train}
        </button>
        <button
          type="button"
          id="export-images"
          disabled={imageCount.value === 0 || isWorking.value}
          onClick={() =>
            void attempt(async () => {
              download('my-images.zip', await exported());
              return undefined;
            })
          }
        >
          {trying.exportZip}
        </button>
        <label class="button">
          {trying.importZip}
          <input
            id="import-images"
            class="hidden"
            type="file"
            accept=".zip,application/zip"
            onChange={({ currentTarget }) => {
              const [zip] = currentTarget.files ?? [];
              currentTarget.value = '';
              if (zip) void attempt(async () => trying.imported(await importZip(zip)));
            }}
          />
        </label>
      </div>
      <p class="note" role="status" id="collect-status">
        {isWorking.value
          ? trying.working
          : said.value || (obstacle.value ? trying.obstacles[obstacle.value](leastImages) : '')}
      </p>
      <details>
        <summary>{trying.elsewhere}</summary>
        <p class="note">{trying.elsewhereHelp}</p>
        <pre class="code">
          <code>
            unzip my-images.zip -d my-images{'\n'}npx vgg train --dataset folder:my-images --size 32
          </code>
        </pre>
        <p class="note">{isKept.value === false ? trying.notKept : trying.kept}</p>
      </details>
    </section>
  );
}

interface ClassCardProps {
  readonly one: OwnClass;
  readonly place: number;
  readonly onAdd: (pictures: readonly (Blob | ImageData)[]) => void;
}

function ClassCard({ one, place, onAdd }: ClassCardProps): JSX.Element {
  const { trying } = text.value;
  const { id, name, images } = one;
  const isOver = useSignal(false);
  const isFull = images.length >= mostImages;
  return (
    <li
      class={`own-class ${isOver.value ? 'over' : ''}`}
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
        onAdd([...(event.dataTransfer?.files ?? [])]);
      }}
    >
      <div class="own-head">
        <input
          type="text"
          maxLength={60}
          value={name}
          aria-label={trying.className(place)}
          onInput={({ currentTarget }) => renameClass(id, currentTarget.value)}
        />
        <button
          type="button"
          class="quiet"
          aria-label={trying.removeClass(name)}
          onClick={() => removeClass(id)}
        >
          <Icon name="close" />
        </button>
      </div>
      <div class="own-buttons">
        <label class="button">
          {trying.addFiles}
          <input
            class="hidden"
            type="file"
            multiple
            accept="image/*"
            disabled={isFull}
            onChange={({ currentTarget }) => {
              onAdd([...(currentTarget.files ?? [])]);
              currentTarget.value = '';
            }}
          />
        </label>
        <AddPicture disabled={isFull || picture.value === undefined} onAdd={onAdd} />
      </div>
      <p class="note">{trying.count(grouped(images.length))}</p>
      <ul class="thumbnails">
        {images.map((image, i) => (
          <li key={image.id}>
            <button
              type="button"
              aria-label={trying.removeImage(i + 1, name)}
              title={trying.removeImage(i + 1, name)}
              onClick={() => removeImage(id, image.id)}
            >
              <img src={image.url} alt="" loading="lazy" />
            </button>
          </li>
        ))}
      </ul>
    </li>
  );
}

/** Adds the picture above; held, one after the other, as the camera sees them. */
function AddPicture(props: {
  readonly disabled: boolean;
  readonly onAdd: ClassCardProps['onAdd'];
}): JSX.Element {
  const { trying } = text.value;
  const { disabled, onAdd } = props;
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const isBurst = useRef(false);
  const add = (): void => {
    if (picture.value) onAdd([picture.value]);
  };
  const end = (): void => clearTimeout(timer.current);
  useEffect(() => end, []);
  const next = (): void => {
    isBurst.current = true;
    add();
    timer.current = setTimeout(next, burstEvery);
  };
  return (
    <button
      type="button"
      class="add-picture"
      disabled={disabled}
      title={trying.addPictureHelp}
      onPointerDown={() => {
        isBurst.current = false;
        timer.current = setTimeout(next, burstAfter);
      }}
      onPointerUp={end}
      onPointerLeave={end}
      onPointerCancel={end}
      onClick={() => {
        if (!isBurst.current) add();
        isBurst.current = false;
      }}
    >
      {trying.addPicture}
    </button>
  );
}
