/** Folders from which code is loaded: whoever else could change them is found on any way there. */
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isPrivateGroup, makePrivateFolder } from './private-folder.ts';

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'vggnet-private-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

const folder = (name: string, mode = 0o755): string => {
  const path = join(scratch, name);
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  return path;
};

describe('a group is private', () => {
  const users =
    'root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001:::\neve:x:1002:1001:::\n';
  const groups = 'root:x:0:\nann:x:1000:\nbob:x:1001:\nteam:x:2000:ann,bob\nself:x:2001:ann\n';
  test.each([
    [1000, true, 'of the same name, without members'],
    [2001, true, 'with this member only'],
    [2000, false, 'with another member'],
    [1001, false, 'that is the primary group of others'],
    [3000, false, 'that is not listed'],
    [0, false, 'of root'],
  ])('%i: %s, %s', (gid, expected) => {
    expect(isPrivateGroup(gid, 1000, users, groups)).toBe(expected);
  });

  test('only if it has no second user', () => {
    expect(isPrivateGroup(1001, 1001, users, groups)).toBe(false);
    expect(isPrivateGroup(1000, 7, users, groups)).toBe(false);
  });
});

describe.skipIf(!process.getuid)('a private folder', () => {
  test('is created for its user only, below a sticky one', () => {
    folder('sticky', 0o1777);
    const path = join(scratch, 'sticky/a/b');
    makePrivateFolder(path);
    expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  test.for([0o777, 0o775])(
    'is rejected below a folder that others can write to (mode %o)',
    (mode, { skip }) => {
      const open = folder('open', mode);
      if (mode === 0o775) {
        skip(process.getuid!() !== 0, 'only root can give a folder to another group');
        chownSync(open, 0, 4_000_000);
      }
      folder('open/safe/vggnet');
      const path = join(open, 'safe/vggnet/kernels');
      expect(() => makePrivateFolder(path)).toThrow(
        `${open} is writable by other users (mode ${mode.toString(8)})`,
      );
    },
  );

  test('is rejected if a link in its path lies in such a folder or leads through one', () => {
    folder('safe/vggnet');
    const open = folder('open', 0o777);
    symlinkSync(join(scratch, 'safe'), join(open, 'link'));
    // A link in a good folder, to one in a bad folder.
    symlinkSync('open/link', join(scratch, 'cache'));
    expect(() => makePrivateFolder(join(scratch, 'cache/vggnet/kernels'))).toThrow(
      `${open} is writable by other users`,
    );
    // Up and down again: the folder below it is good, and others can replace it.
    folder('open/inner');
    symlinkSync('open/inner/../../safe', join(scratch, 'winding'));
    expect(() => makePrivateFolder(join(scratch, 'winding/vggnet/kernels'))).toThrow(
      `${open} is writable by other users`,
    );
  });

  test('is accepted if only this user can change the links in its path', () => {
    folder('safe');
    symlinkSync('safe', join(scratch, 'one'));
    symlinkSync(join(scratch, 'one'), join(scratch, 'two'));
    makePrivateFolder(join(scratch, 'two/vggnet/kernels'));
    expect(statSync(join(scratch, 'safe/vggnet/kernels')).mode & 0o777).toBe(0o700);
  });

  test('is rejected if links form a loop', () => {
    symlinkSync('circle', join(scratch, 'circle'));
    expect(() => makePrivateFolder(join(scratch, 'circle/native'))).toThrow('too many symbolic links');
  });

  test.skipIf(process.getuid?.() !== 0)('is rejected below a folder or link of another user', () => {
    const other = folder('other');
    chownSync(other, 12_345, 12_345);
    const message = 'belongs to another user (12345)';
    expect(() => makePrivateFolder(join(other, 'a/native'))).toThrow(`${other} ${message}`);
    // In a sticky folder, whose entries their owners alone may replace.
    const sticky = folder('sticky', 0o1777);
    mkdirSync(join(sticky, 'theirs'));
    chownSync(join(sticky, 'theirs'), 12_345, 12_345);
    expect(() => makePrivateFolder(join(sticky, 'theirs/native'))).toThrow(message);
  });
});
