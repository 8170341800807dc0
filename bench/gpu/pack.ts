/**
 * An archive of everything that the benchmark needs on a machine with a GPU and Linux, and nothing else: this Node, Dawn,
 * koffi, Vulkan's loader and the sources. There, `./run` in its folder starts it.
 */
import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { chmod, copyFile, cp, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { UsageError, VggError } from '../../src/errors.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const folderName = 'vggnet-bench';
const mostBytes = 64 * 2 ** 20;

/** Of packages, what Linux on x64 needs. */
const packageFiles = [
  'node_modules/webgpu/package.json',
  'node_modules/webgpu/index.js',
  'node_modules/webgpu/dist/linux-x64',
  'node_modules/koffi/package.json',
  'node_modules/koffi/index.cjs',
  'node_modules/koffi/indirect.cjs',
  'node_modules/koffi/src',
  'node_modules/koffi/lib',
  'node_modules/@koromix/koffi-linux-x64/package.json',
  'node_modules/@koromix/koffi-linux-x64/index.js',
  'node_modules/@koromix/koffi-linux-x64/linux_x64',
  'node_modules/zod',
  'node_modules/fastest-levenshtein',
];

const sources = ['package.json', 'src', 'bench', 'test/cases.ts', 'test/compare.ts', 'test/expected.ts'];
const comparisons = ['test/allclose.ts', 'test/margin.ts', 'test/plain-expect.ts'];

/** Vulkan's loader, and what NVIDIA's driver loads: containers often have the driver and none of these. */
const libraries = [
  ...['libvulkan.so.1', 'libGLdispatch.so.0', 'libEGL.so.1', 'libGLX.so.0', 'libX11.so.6', 'libXext.so.6'],
  ...['libxcb.so.1', 'libXau.so.6', 'libXdmcp.so.6', 'libbsd.so.0', 'libmd.so.0'],
];
const libraryFolders = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib/chromium'];

const runScript = `#!/bin/sh
# Runs the benchmark: ./run [options]
cd "$(dirname "$0")" || exit 1
# Libraries that the system lacks.
export PATH="$PATH:/sbin:/usr/sbin"
mkdir -p lacking
for file in lib/*; do
  name=\${file#lib/}
  ldconfig -p 2>/dev/null | grep -q "$name " || ln -sf "../$file" "lacking/$name"
done
export LD_LIBRARY_PATH="$PWD/lacking\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# Containers keep NVIDIA's description of its driver where the loader does not look.
own=/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json
[ -e "$own" ] && [ -z "$VK_DRIVER_FILES$VK_ICD_FILENAMES" ] && export VK_DRIVER_FILES="$own"
exec ./node bench/gpu/bench.ts "$@"
`;

/** `file` is a .tar.xz, or a .tar. @throws UsageError for another name, VggError if something is missing or too large. */
export async function pack(file: string): Promise<void> {
  if (!/\.tar(\.xz)?$/.test(file))
    throw new UsageError(`--pack ${file}: the name must end in .tar.xz or .tar`);
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new VggError('--pack: the archive is for Linux on x64, and is made there');
  const place = await mkdtemp(join(tmpdir(), 'vggnet-pack-'));
  const folder = join(place, folderName);
  try {
    for (const path of [...packageFiles, ...sources, ...comparisons]) {
      const from = join(root, path);
      if (!existsSync(from)) throw new VggError(`--pack: ${path} is missing; npm ci installs it`);
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await cp(from, join(folder, path), {
        recursive: true,
        filter: (name) => !/\.test\.ts$|\.built|\/golden\/|\/report\/page\//.test(name),
      });
    }
    await copyFile(process.execPath, join(folder, 'node'));
    await mkdir(join(folder, 'lib'));
    for (const name of libraries) {
      const from = libraryFolders.map((own) => join(own, name)).find((own) => existsSync(own));
      if (from) await copyFile(realpathSync(from), join(folder, 'lib', name));
      else console.error(`without ${name}, which was not found here: the other machine may have it`);
    }
    await writeFile(join(folder, 'run'), runScript);
    await chmod(join(folder, 'run'), 0o755);
    const target = resolve(file);
    const isCompressed = file.endsWith('.xz');
    await promisify(execFile)('tar', ['-C', place, isCompressed ? '-cJf' : '-cf', target, folderName], {
      env: { ...process.env, XZ_OPT: '-6 -T0' },
    });
    const { size } = await stat(target);
    console.log(
      `${file}: ${(size / 2 ** 20).toFixed(1)} MiB. On the other machine: tar xf ${file} && ${folderName}/run`,
    );
    if (isCompressed && size > mostBytes)
      throw new VggError(`--pack: the archive has more than ${mostBytes} bytes`);
  } finally {
    await rm(place, { recursive: true });
  }
}
