/** The page's texts in Korean. */
import type { Text } from './en.ts';
import { breaking } from './ko/break.ts';
import { build } from './ko/build.ts';
import { compare } from './ko/compare.ts';
import { learn } from './ko/learn.ts';
import { lecture } from './ko/lecture.ts';
import { see } from './ko/see.ts';
import { share } from './ko/share.ts';
import { shell } from './ko/shell.ts';
import { trying } from './ko/try.ts';
import { watch } from './ko/watch.ts';

export const ko: Text = { shell, learn, see, build, trying, compare, breaking, lecture, share, watch };
