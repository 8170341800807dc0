/** Both languages say the same things: equally many paragraphs, choices and links, and a right choice that exists. */
import { describe, expect, test } from 'vitest';
import { steps as english } from './en/lecture-steps.ts';
import { steps as korean } from './ko/lecture-steps.ts';

const steps = Object.keys(english) as (keyof typeof english)[];

describe.each(steps)('the step %s', (name) => {
  const [en, ko] = [english[name], korean[name]];

  test('has the same parts in both languages', () => {
    for (const list of ['body', 'choices', 'links'] as const)
      expect(ko[list], list).toHaveLength(en[list].length);
    expect(new Set(ko.choices).size).toBe(ko.choices.length);
  });

  test('is translated', () => {
    for (const words of [...ko.body, ko.question, ko.answer, ...ko.links]) expect(words).toMatch(/[가-힣]/);
    for (const words of [...en.body, en.question, en.answer, ...en.links])
      expect(words).not.toMatch(/[가-힣]/);
  });
});
