/**
 * `vgg predict` as a user calls it: one JPEG, VGG-16's weights in a file of PyTorch (safetensors without PyTorch), from
 * the start of the command to its end, with its largest memory.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { type Bar, mostVgg16Command } from '../bars.ts';
import { summarize } from '../contest.ts';
import { fixed, log } from '../print.ts';
import type { Ours } from './contestants.ts';
import { fileNames } from './job.ts';

const program = fileURLToPath(new URL('../../bin/vgg.js', import.meta.url));

/** Tells the process's peak memory at its end, in kilobytes. */
const tellMemory =
  'data:text/javascript,process.on("exit",()=>console.error("peak "+process.resourceUsage().maxRSS))';

/** Converts safetensors of float32 without metadata to the format in which torchvision publishes weights. */
const conversion = `
import json, struct, sys, numpy, torch
source, target = sys.argv[1:]
data = open(source, "rb").read()
(length,) = struct.unpack("<Q", data[:8])
header = json.loads(data[8 : 8 + length])
header.pop("__metadata__", None)
state = {}
for name, entry in header.items():
    start, end = (8 + length + offset for offset in entry["data_offsets"])
    values = numpy.frombuffer(data, numpy.float32, (end - start) // 4, start)
    state[name] = torch.from_numpy(values.copy()).reshape(entry["shape"])
torch.save(state, target, _use_new_zipfile_serialization=False)
`;

/** A weight file for the command: of PyTorch if it is installed. */
function weightFile(folder: string, torch: boolean): string {
  const weights = join(folder, fileNames.weights);
  const target = join(folder, 'vgg16.pth');
  const python = process.env.PYTHON ?? '/usr/bin/python3';
  if (torch && spawnSync(python, ['-c', conversion, weights, target]).status === 0) return target;
  return weights;
}

/** A drawn photo of usual size. */
async function writePhoto(file: string): Promise<void> {
  const [width, height] = [500, 375];
  const pixels = Uint8Array.from({ length: 3 * width * height }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)];
    return Math.round(127.5 * (1 + Math.sin(x / 40 + (i % 3)) * Math.cos(y / 30)));
  });
  await sharp(pixels, { raw: { width, height, channels: 3 } })
    .jpeg({ quality: 90 })
    .toFile(file);
}

interface Call {
  readonly seconds: number;
  readonly bytes: number;
}

async function callOnce(args: readonly string[]): Promise<Call> {
  const before = performance.now();
  const child = spawn(process.execPath, ['--import', tellMemory, program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (text: Buffer) => {
    errors += text.toString();
  });
  const [code] = (await once(child, 'close')) as [number];
  const seconds = (performance.now() - before) / 1000;
  const kilobytes = Number(/^peak (\d+)$/m.exec(errors)?.[1]);
  if (code !== 0 || !(kilobytes > 0)) throw new Error(`vgg predict failed: ${errors.trim()}`);
  return { seconds, bytes: 1024 * kilobytes };
}

/** Measures `n` calls of the command. */
export async function benchCommand(
  device: Ours,
  folder: string,
  torch: boolean,
  n: number,
): Promise<{ results: object[]; bars: Bar[] }> {
  const photo = join(folder, 'photo.jpg');
  await writePhoto(photo);
  const weights = weightFile(folder, torch);
  const args = ['predict', photo, '--weights', weights, '--device', device];
  // Compiles kernels and fills the caches.
  await callOnce(args);
  const calls: Call[] = [];
  while (calls.length < n) calls.push(await callOnce(args));
  const { median, lower, upper } = summarize(calls.map(({ seconds }) => seconds));
  const megabytes = Math.max(...calls.map(({ bytes }) => bytes)) / 1e6;
  log(
    `${device}: vgg predict on one JPEG, weights ${weights.endsWith('.pth') ? '.pth' : 'safetensors'}: ` +
      `${fixed(median, 2)} s (${fixed(lower, 2)}–${fixed(upper, 2)}, n = ${n}), at most ${fixed(megabytes, 0)} MB`,
  );
  const what = `${device}: vgg predict with VGG-16`;
  return {
    results: [{ device, calls }],
    bars: [
      { what, value: median, unit: ' s', most: mostVgg16Command.seconds },
      { what: `${what}, memory`, value: megabytes, unit: ' MB', most: mostVgg16Command.megabytes },
    ],
  };
}
