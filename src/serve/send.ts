/** Sends a command to a training in any process, through the run's folder (`runs/live-files.ts`; Node only). */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { lockHolder } from '../files/lock.ts';
import { acceptedBy, appendCommand, readLive } from '../runs/live-files.ts';
import type { TrainingCommand } from '../train/commands.ts';
import { Refusal } from './access.ts';
import type { CommandAnswer } from './api.ts';

/** How long a confirmation is awaited. */
const patienceMilliseconds = 3000;
const lookMilliseconds = 50;

/** @throws Refusal if the run does not train, or refuses the command. */
export async function sendCommand(folder: string, command: TrainingCommand): Promise<CommandAnswer> {
  const accepts = await acceptedBy(folder);
  if (accepts === undefined || !(await lockHolder(folder)))
    throw new Refusal(409, 'this run is not being trained now, or by a program that takes no commands');
  if (accepts === 'watch')
    throw new Refusal(
      409,
      'this is a trial of a study, which is not steered: its result would not be that of its values',
    );
  const id = randomUUID();
  await appendCommand(folder, { id, ...command });
  const begun = performance.now();
  while (performance.now() - begun < patienceMilliseconds) {
    await sleep(lookMilliseconds);
    const answer = (await readLive(folder))?.answers.find((one) => one.id === id);
    if (answer?.problem !== undefined) throw new Refusal(409, answer.problem);
    if (answer) return { confirmed: true };
    // A training that stops answers by ending.
    if (command.command === 'stop' && (await acceptedBy(folder)) === undefined) return { confirmed: true };
  }
  return { confirmed: false };
}
