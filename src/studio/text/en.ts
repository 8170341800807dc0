/** The page's texts in English. `Text` is their type: a translation that lacks one does not compile. */
import { breaking } from './en/break.ts';
import { build } from './en/build.ts';
import { compare } from './en/compare.ts';
import { learn } from './en/learn.ts';
import { lecture } from './en/lecture.ts';
import type { steps } from './en/lecture-steps.ts';
import { see } from './en/see.ts';
import { share } from './en/share.ts';
import { shell } from './en/shell.ts';
import { trying } from './en/try.ts';
import { watch } from './en/watch.ts';

export const en: Text = { shell, learn, see, build, trying, compare, breaking, lecture, share, watch };

/** Texts are words, or functions of what they name. */
type Worded<T> = T extends string
  ? string
  : T extends (...args: infer Args) => string
    ? (...args: Args) => string
    : { readonly [Key in keyof T]: Worded<T[Key]> };

export interface Text {
  readonly shell: Worded<typeof shell>;
  readonly learn: Worded<typeof learn>;
  readonly see: Worded<typeof see>;
  readonly build: Worded<typeof build>;
  readonly trying: Worded<typeof trying>;
  readonly compare: Worded<typeof compare>;
  readonly breaking: Worded<typeof breaking>;
  readonly lecture: Worded<typeof lecture>;
  readonly share: Worded<typeof share>;
  readonly watch: Worded<typeof watch>;
}

export type StepTexts = Worded<typeof steps>;
