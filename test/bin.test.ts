/** `bin/vgg.js` on a Node that is too old: it says which one is needed and how to get it. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Script } from 'node:vm';
import { expect, test } from 'vitest';

test.each(['18.20.8', '20.20.2', '23.11.1'])('Node %s is told what is needed', (version) => {
  const pretend = `Object.defineProperty(process, 'versions', { value: { node: '${version}' } });`;
  const preload = `data:text/javascript,${encodeURIComponent(pretend)}`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', preload, 'bin/vgg.js', '--version'],
    {
      encoding: 'utf8',
    },
  );
  expect(stderr).toContain(`vgg needs Node 24 or newer; this is Node ${version}`);
  expect(stderr).toContain('npm install --save-dev node@26');
  expect(stdout).toBe('');
  expect(status).toBe(1);
});

test('it is a plain script, which an old Node can read at all', () => {
  const source = readFileSync('bin/vgg.js', 'utf8').replace(/^#!.*/, '');
  expect(() => new Script(source)).not.toThrow();
  // Syntax that came after ES2018, but for import(), would stop it before its message.
  expect(source).not.toMatch(/\?\.|\?\?|#[a-z]|\bawait\b/);
});
