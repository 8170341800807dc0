import { expect, test } from 'vitest';
import { UsageError } from '../errors.ts';
import { obey, parseCommand } from './commands.ts';
import { TrainingControl } from './control.ts';

test('commands steer a control', () => {
  const control = new TrainingControl();
  let stopped = false;
  const send = (value: unknown): void =>
    obey(control, parseCommand(value), () => {
      stopped = true;
    });
  send({ command: 'pause' });
  expect(control.paused).toBe(true);
  send({ command: 'step', count: 2 });
  expect(control.paused).toBe(false);
  send({ command: 'pause' });
  send({ command: 'step' });
  expect(control.paused).toBe(false);
  send({ command: 'change', settings: { lr: 0.1 } });
  send({ command: 'resume' });
  expect(stopped).toBe(false);
  send({ command: 'stop' });
  expect(stopped).toBe(true);
});

test.each([
  [null, 'a command is null, not an object'],
  [[], 'a command is a list, not an object'],
  [{}, 'command undefined is not one of pause, resume, stop, step, change'],
  [{ command: 'stopp' }, 'there is no command "stopp"; did you mean "stop"?'],
  [{ command: 'constructor' }, 'there is no command "constructor"'],
  [{ command: 'pause', count: 1 }, 'pause: there is no "count" in this command'],
  [{ command: 'step', count: 0 }, 'step: count 0 is not a whole number from 1 to 1000000'],
  [{ command: 'step', count: 1e7 }, 'step: count 10000000 is not'],
  [{ command: 'step', count: '1' }, 'step: count "1" is not'],
  [{ command: 'change' }, 'change: the settings are undefined, not an object'],
  [{ command: 'change', settings: {} }, 'change: no setting is given'],
  [{ command: 'change', settings: { lr: '1' } }, 'change: lr "1" is not a finite number above 0'],
  [{ command: 'change', settings: { __proto__: null, toString: 1 } }, 'there is no setting "toString"'],
])('%j is refused', (value, message) => {
  expect(() => parseCommand(value)).toThrow(UsageError);
  expect(() => parseCommand(value)).toThrow(message);
});
