import { expect, test } from 'vitest';
import { parseConfig } from '../train/config.ts';
import { shellWord, trainCommand } from './command.ts';

test('the command names model, data set and what differs from the defaults', () => {
  expect(trainCommand(parseConfig({}, 'test'))).toBe('vgg train --model simplified --dataset shapes');
  const config = parseConfig(
    {
      model: 'vgg7',
      modelOptions: { channels: [32, 64], hidden: 128 },
      dataset: 'cifar100',
      data: "/home/student's files",
      normalize: true,
      augment: false,
      schedule: 'multiStep',
      milestones: [30, 60],
      changes: [
        { step: 200, lr: 0.5, weightDecay: 0.1 },
        { step: 500, lr: 0.02 },
      ],
      weightDecay: 5e-4,
      epochs: 80,
    },
    'test',
  );
  expect(trainCommand(config)).toBe(
    'vgg train --model vgg7 --model-option channels=32,64 --model-option hidden=128 --dataset cifar100 ' +
      "--data '/home/student'\\''s files' --normalize --no-augment --weight-decay 0.0005 --schedule multiStep " +
      '--milestones 30,60 --change 200:lr=0.5,weightDecay=0.1 --change 500:lr=0.02',
  );
});

test('words are quoted where a shell would change them', () => {
  expect(['a/b.c', '', 'a b', '$x'].map(shellWord)).toEqual(['a/b.c', "''", "'a b'", "'$x'"]);
});
