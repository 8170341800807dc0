import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { localCommands, programAt } from './invocation-node.ts';

const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'vggnet-invocation-')));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** A package with its program, in a folder of this path. */
function installed(...path: readonly string[]): string {
  const root = join(scratch, ...path);
  mkdirSync(join(root, 'bin'), { recursive: true });
  writeFileSync(join(root, 'bin', 'vgg.js'), '');
  return root;
}
const folder = (...path: readonly string[]): string => {
  mkdirSync(join(scratch, ...path), { recursive: true });
  return join(scratch, ...path);
};

describe('the command that works', () => {
  const repository = installed('repository');
  const local = installed('project', 'node_modules', 'vggnet');
  const global = installed('lib', 'node_modules', 'vggnet');
  const cached = installed('.npm', '_npx', '0a1b', 'node_modules', 'vggnet');
  symlinkSync(join(global, 'bin', 'vgg.js'), join(folder('path'), 'vgg'));
  const elsewhere = folder('elsewhere');
  const PATH = ['/usr/bin', join(scratch, 'path')].join(':');

  test.for<[string, string, string, Record<string, string>, string]>([
    ['in the repository', repository, repository, {}, 'npx vgg'],
    ['in a folder of the repository', folder('repository', 'docs'), repository, {}, 'npx vgg'],
    ['in a project that has the package', folder('project', 'src'), local, {}, 'npx vgg'],
    ['with pnpm', folder('project'), local, { npm_config_user_agent: 'pnpm/10.1.0' }, 'pnpm exec vgg'],
    ['installed globally', elsewhere, global, { PATH }, 'vgg'],
    ['installed globally, in a project with another copy', folder('project'), global, { PATH }, 'vgg'],
    ['from the cache of npx', elsewhere, cached, { PATH: '/usr/bin' }, 'npx vggnet'],
    [
      'called by its path from elsewhere',
      elsewhere,
      repository,
      { PATH },
      `node ${join(repository, 'bin', 'vgg.js')}`,
    ],
  ])('%s', ([, at, root, environment, program]) => {
    const script = join(root, 'bin', 'vgg.js');
    expect(programAt({ folder: at, root, script, environment })).toBe(program);
  });

  test('in a program that bundles the library, far from it', () => {
    const script = join(elsewhere, 'app.js');
    expect(programAt({ folder: elsewhere, root: join(scratch, 'gone'), script, environment: {} })).toBe(
      'npx vggnet',
    );
  });
});

test.for<[string, string]>([
  ['vgg train --resume runs/a continues', 'npx vgg train --resume runs/a continues'],
  ['get them with: vgg download cifar10', 'get them with: npx vgg download cifar10'],
  ['  $ vgg runs\n  $ vgg tune status x', '  $ npx vgg runs\n  $ npx vgg tune status x'],
  ['npx vgg train', 'npx vgg train'],
  ['runs/vgg train', 'runs/vgg train'],
  ['vgg networks, and vgg7 trains', 'vgg networks, and vgg7 trains'],
])('%s', ([text, local]) => {
  expect(localCommands(text, 'npx vgg')).toBe(local);
});
