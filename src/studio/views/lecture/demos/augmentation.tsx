/** The lecture's transforms, one after the other, on an image of the training; the library's own, with its draws. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';
import type { ImageShape } from '../../../../data/dataset.ts';
import { random } from '../../../../data/random.ts';
import { applyTransform, imageFromBytes } from '../../../../data/transforms/apply.ts';
import { compose, type Image, pad, randomCrop, randomHorizontalFlip } from '../../../../data/transforms.ts';
import { imagePixels } from '../../../parts/pixels.ts';
import { Raster } from '../../../parts/raster.tsx';
import { session } from '../../../state/session.ts';
import { text } from '../../../state/settings.ts';

const padding = 4;
const shownEpochs = 12;

interface Stages {
  readonly padded: Image;
  readonly flipped: Image;
  readonly cropped: Image;
  readonly isFlipped: boolean;
  readonly top: number;
  readonly left: number;
}

/** The stages of one draw. */
function stagesOf(bytes: Uint8Array, shape: ImageShape, draw: number): Stages {
  const [, height, width] = shape;
  const source = random(draw, 0);
  const padded = applyTransform(pad(padding), imageFromBytes(bytes, shape), source);
  const flipped = applyTransform(randomHorizontalFlip(), padded, source);
  const cropped = applyTransform(randomCrop([height, width]), flipped, source);
  // The same numbers once more, to show them: a flip draws one, a crop two.
  const again = random(draw, 0);
  const isFlipped = again.uniform() < 0.5;
  const top = again.integer(2 * padding + 1);
  const left = again.integer(2 * padding + 1);
  return { padded, flipped, cropped, isFlipped, top, left };
}

export function Augmentation(): JSX.Element {
  const { demo } = text.value.lecture;
  const facts = session.facts.value;
  const bytes = useSignal<Uint8Array | undefined>(undefined);
  const index = useSignal(5);
  const draw = useSignal(1);
  const at = index.value;
  useEffect(() => {
    bytes.value = undefined;
    if (!facts) return;
    session.ask({ kind: 'images', split: 'train', indices: [at % facts.trainImages] }).then(
      ({ pixels }) => {
        bytes.value = pixels;
      },
      () => undefined,
    );
  }, [facts, at]);
  if (!facts || !bytes.value) return <p class="note">{demo.waiting}</p>;
  const { shape } = facts;
  const stages = stagesOf(bytes.value, shape, draw.value);
  const original = imageFromBytes(bytes.value, shape);
  const { padded, flipped, cropped, isFlipped, top, left } = stages;
  const side = padded.shape[1];
  return (
    <>
      <div class="buttons">
        <button type="button" id="draw-again" onClick={() => draw.value++}>
          {demo.again}
        </button>
        <button type="button" onClick={() => index.value++}>
          {demo.another}
        </button>
      </div>
      <ol class="stages">
        <Stage name={demo.image} note={demo.size(shape[1])} image={original} side={side} />
        <Stage name={demo.padded} note={demo.size(side)} image={padded} side={side} />
        <Stage
          name={demo.flipped}
          note={isFlipped ? demo.wasFlipped : demo.notFlipped}
          image={flipped}
          side={side}
          frame={[top, left, shape[1]]}
        />
        <Stage name={demo.cropped} note={demo.cropAt(top, left)} image={cropped} side={side} />
      </ol>
      <h3>{demo.epochs}</h3>
      <Epochs bytes={bytes.value} shape={shape} draw={draw.value} />
    </>
  );
}

function Stage(props: {
  readonly name: string;
  readonly note: string;
  readonly image: Image;
  /** Pixels that the full width stands for. */
  readonly side: number;
  readonly frame?: readonly [top: number, left: number, side: number];
}): JSX.Element {
  const { name, note, image, side, frame } = props;
  const share = (part: number): string => `${(100 * part) / side}%`;
  return (
    <li>
      <code>{name}</code>
      <div class="stage-area">
        <div class="stage-image" style={{ width: share(image.shape[2]) }}>
          <ImageRaster image={image} label={`${name}: ${note}`} />
          {frame && (
            <i
              class="crop-frame"
              style={{
                top: share(frame[0]),
                left: share(frame[1]),
                width: share(frame[2]),
                height: share(frame[2]),
              }}
            />
          )}
        </div>
      </div>
      <span class="note">{note}</span>
    </li>
  );
}

function Epochs(props: {
  readonly bytes: Uint8Array;
  readonly shape: ImageShape;
  readonly draw: number;
}): JSX.Element {
  const { bytes, shape, draw } = props;
  const { demo } = text.value.lecture;
  const chain = compose([pad(padding), randomHorizontalFlip(), randomCrop([shape[1], shape[2]])]);
  return (
    <ul class="epoch-images">
      {Array.from({ length: shownEpochs }, (_, epoch) => (
        <li key={epoch}>
          <ImageRaster
            image={applyTransform(chain, imageFromBytes(bytes, shape), random(draw, 1, epoch))}
            label={demo.epochImage(epoch + 1)}
          />
        </li>
      ))}
    </ul>
  );
}

const ImageRaster = ({ image, label }: { readonly image: Image; readonly label: string }): JSX.Element => (
  <Raster
    pixels={imagePixels(Uint8Array.from(image.values), image.shape)}
    width={image.shape[2]}
    height={image.shape[1]}
    label={label}
  />
);
