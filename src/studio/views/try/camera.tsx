/** The webcam: asked for only by a press, shown mirrored like a mirror, looked at several times a second, ended when left. */
import { useSignal } from '@preact/signals';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { text } from '../../state/settings.ts';
import { show } from './looked.ts';

/** Pixels along a side of a frame. */
const side = 224;
/** Milliseconds between two looks. */
const lookEvery = 250;

export function Camera(): JSX.Element {
  const { trying } = text.value;
  const video = useRef<HTMLVideoElement>(null);
  const stream = useSignal<MediaStream | undefined>(undefined);
  const isAsking = useSignal(false);
  const reason = useSignal('');
  const stop = (): void => {
    for (const track of stream.value?.getTracks() ?? []) track.stop();
    stream.value = undefined;
  };
  // Left, the camera is off at once.
  const left = useRef(false);
  useEffect(
    () => () => {
      left.current = true;
      stop();
    },
    [],
  );
  const start = async (): Promise<void> => {
    isAsking.value = true;
    reason.value = '';
    try {
      const found = await openCamera();
      stream.value = found;
      if (left.current) stop();
    } catch (error) {
      const { name } = error as DOMException;
      reason.value =
        name === 'NotAllowedError'
          ? trying.denied
          : name === 'NotFoundError'
            ? trying.noCamera
            : String(error);
    }
    isAsking.value = false;
  };
  const open = stream.value;
  useEffect(() => {
    if (!open || !video.current) return undefined;
    video.current.srcObject = open;
    void video.current.play().catch(() => undefined);
    const timer = setInterval(() => {
      const frame = video.current && frameOf(video.current);
      if (frame) show(frame);
    }, lookEvery);
    return () => clearInterval(timer);
  }, [open]);
  return (
    <div class="camera">
      {open ? (
        <>
          <video ref={video} class="stage" muted playsInline aria-label={trying.cameraImage} />
          <button type="button" id="stop-camera" onClick={stop}>
            {trying.stopCamera}
          </button>
        </>
      ) : (
        <div class="stage idle">
          <p>{trying.cameraHelp}</p>
          <button
            type="button"
            class="primary"
            id="start-camera"
            disabled={isAsking.value}
            onClick={() => void start()}
          >
            {trying.startCamera}
          </button>
          {reason.value && (
            <p class="note" role="alert">
              {reason.value}
            </p>
          )}
        </div>
      )}
    </div>
  );
}

/** @throws DOMException if the user or the system says no. */
async function openCamera(): Promise<MediaStream> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new DOMException('', 'NotAllowedError');
  return devices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: 'environment' }, audio: false });
}

/** The middle of the present frame; undefined before there is one. */
function frameOf(video: HTMLVideoElement): ImageData | undefined {
  const { videoWidth: width, videoHeight: height } = video;
  const size = Math.min(width, height);
  if (size === 0) return undefined;
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext('2d');
  context?.drawImage(video, (width - size) / 2, (height - size) / 2, size, size, 0, 0, side, side);
  return context?.getImageData(0, 0, side, side);
}
