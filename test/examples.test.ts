/** Each example runs to its end on its small budget. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const examples = readdirSync('examples').filter((name) => /^\d\d-.*\.ts$/.test(name));

const run = async (name: string): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, [`examples/${name}`, '--small']);
  return stdout;
};

test('the lecture, its four exercises, prediction and fine-tuning have an example each', () => {
  expect(examples.map((name) => name.slice(0, 2))).toEqual(
    expect.arrayContaining(['01', '02', '03', '04', '05', '06', '07']),
  );
});

test('examples/08-style-transfer.ts', async () => {
  const output = await run('08-style-transfer.ts');
  const losses = [...output.matchAll(/^Step \[\d+\/20\] loss: (\d+\.\d{4}) /gm)].map((match) =>
    Number(match[1]),
  );
  expect(losses).toHaveLength(3);
  expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
});

test.for(examples.filter((name) => !name.startsWith('08')))('examples/%s', async (name) => {
  const output = await run(name);
  expect(output).toMatch(/^Epoch \[1\/\d+\], step \[100\/100\] Loss: \d\.\d{4}$/m);
  const accuracies = [...output.matchAll(/(\d+(?:\.\d+)?) %/g)].map((match) => Number(match[1]));
  // Guessing gives 10 %.
  expect(accuracies.at(-1)).toBeGreaterThan(50);
});
