import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quickVgg, vgg } from './run-vgg.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vggnet-network-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const layers = [
  { kind: 'conv2d', out: 4, kernel: 3, padding: 1 },
  { kind: 'relu' },
  { kind: 'maxPool2d', kernel: 8 },
  { kind: 'flatten' },
  { kind: 'linear', out: 'classes' },
];
const written = (name: string, content: unknown): string => {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};

describe('a network from a file', () => {
  test('is trained, kept in the run, and resumed and evaluated without the file', async () => {
    const file = written('mine.json', { layers });
    const run = join(folder, 'run');
    const common = ['--dataset', 'shapes', '--device', 'wasm', '--batch-size', '100'];
    const trained = await vgg([
      'train',
      '--model',
      file,
      '--steps',
      '2',
      '--run',
      run,
      '--no-report',
      ...common,
    ]);
    expect(trained.stderr).not.toContain('error');
    expect(trained.code).toBe(0);
    expect(JSON.parse(readFileSync(join(run, 'config.json'), 'utf8'))).toMatchObject({
      model: { name: 'mine', layers },
    });
    rmSync(file);
    expect((await vgg(['train', '--resume', run, '--steps', '3', '--no-report'])).code).toBe(0);
    const evaluated = await vgg(['evaluate', run, '--json']);
    expect(JSON.parse(evaluated.stdout)).toMatchObject({ images: 2000 });
  });

  test('may be a program, with a name', async () => {
    const file = written('net.ts', `export default { name: 'own', layers: ${JSON.stringify(layers)} };`);
    const { stdout } = await vgg(['summary', file, '--classes', '7', '--json', '--threads', '1']);
    expect(JSON.parse(stdout)).toMatchObject({ model: 'own', layers: [{}, {}, {}, {}, { output: [7] }] });
  });

  test.each([
    ['without layers', { leyers: [] }, 'layers: is missing', 2],
    ['with an unknown layer', { layers: [{ kind: 'conv3d' }] }, 'kind "conv3d" is not a layer', 2],
    ['with a wrong option', { layers: [{ kind: 'conv2d', out: 4, kernal: 3 }] }, 'kernal', 2],
    ['that is no JSON', 'layers: 3', 'is not', 2],
  ])('%s is refused', async (_, content, message, code) => {
    const run = await quickVgg(['summary', written('bad.json', content)]);
    expect(run.stderr).toContain(message);
    expect(run.code).toBe(code);
  });

  test('that is missing is named, with both forms', async () => {
    const { code, stderr } = await quickVgg(['train', '--model', join(folder, 'none.json')]);
    expect(stderr).toContain(`--model ${join(folder, 'none.json')} cannot be read: no such file`);
    expect(stderr).toContain('or a TypeScript file');
    expect(code).toBe(2);
  });

  test('takes no model options', async () => {
    const file = written('mine.json', { layers });
    const { code, stderr } = await quickVgg(['summary', file, '--model-option', 'hidden=5']);
    expect(stderr).toContain('mine: a network from a file takes no option hidden; change its layers');
    expect(code).toBe(2);
  });
});
