/**
 * The training's side of `live-files.ts` (Node only): reads commands, obeys them, and writes where the training is while
 * somebody watches. Reading costs one `stat` five times a second.
 */
import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VggError } from '../errors.ts';
import { openRegular, temporaryBeside } from '../files/files.ts';
import { type Change, settingsAt } from '../train/changes.ts';
import { obey, parseCommand } from '../train/commands.ts';
import type { Callback } from '../train/fit.ts';
import type { StepPoint } from '../train/live-state.ts';
import type { LoopState } from '../train/loop-state.ts';
import type { StepEvent } from '../train/reporters.ts';
import type { Listening, ListenOptions } from './conduct.ts';
import { type Accepts, type LiveRecord, liveFiles, mostControl, parsed } from './live-files.ts';
import type { Run } from './run.ts';

/** Between two looks at `control.jsonl`. */
const lookMilliseconds = 200;
/** Somebody watches for so long after the file was touched. */
const watchMilliseconds = 15_000;
/** Speeds are means over so many milliseconds. */
const speedMilliseconds = 3000;
/** The newest steps and answers in `live.json`. */
const keptPoints = 400;
const keptAnswers = 20;

export interface LiveOptions extends ListenOptions {
  readonly accepts: Accepts;
}

/** Starts to listen; closing removes the files. @throws the system's error if the file cannot be created. */
export async function openLive(run: Run, options: LiveOptions): Promise<Listening> {
  const live = new Live(run, options);
  await live.open();
  return { callback: live.callback, close: () => live.close() };
}

class Live {
  readonly callback: Callback;
  readonly #run: Run;
  readonly #options: LiveOptions;
  readonly #control: string;
  readonly #live: string;
  readonly #session = randomUUID();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  /** Bytes of `control.jsonl` that were read, and its time then. */
  #read = 0;
  #touched = 0;
  /** Until when somebody watches, in `performance.now()` milliseconds. */
  #watchedUntil = 0;
  #dirty = false;
  #wasMoving = false;
  #place: Pick<StepEvent, 'epoch' | 'step'>;
  #changes: readonly Change[];
  #resting = false;
  #stopping = false;
  #points: StepPoint[] = [];
  #answers: LiveRecord['answers'] = [];
  /** Times and numbers of steps of the last seconds. */
  #pace: readonly (readonly [time: number, done: number])[] = [];

  constructor(run: Run, options: LiveOptions) {
    this.#run = run;
    this.#options = options;
    this.#control = join(run.folder, liveFiles.control);
    this.#live = join(run.folder, liveFiles.live);
    const { epoch, step } = options.from ?? { epoch: 1, step: 0 };
    this.#place = { epoch, step };
    this.#changes = options.from?.changes ?? [];
    const note = (loop: LoopState): void => {
      this.#changes = loop.changes ?? [];
      this.#dirty = true;
    };
    this.callback = {
      step: (event) => this.#step(event),
      change: (_, loop) => note(loop),
      pause: (resting, loop) => {
        this.#resting = resting;
        note(loop);
      },
      epoch: () => {
        this.#dirty = true;
      },
    };
  }

  async open(): Promise<void> {
    const head = `${JSON.stringify({ accepts: this.#options.accepts })}\n`;
    // Those of a process that was killed.
    await this.#remove();
    await writeFile(this.#control, head, { flag: 'wx' });
    this.#read = Buffer.byteLength(head);
    this.#touched = (await stat(this.#control)).mtimeMs;
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look()).catch(() => undefined);
    }, lookMilliseconds).unref();
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
    await this.#run.requireOwn().then(
      () => this.#remove(),
      () => undefined,
    );
  }

  async #remove(): Promise<void> {
    await rm(this.#control, { force: true });
    await rm(this.#live, { force: true });
  }

  #step({ epoch, step, steps, loss, lr }: StepEvent): void {
    this.#place = { epoch, step };
    this.#dirty = true;
    if (performance.now() > this.#watchedUntil) return;
    this.#points.push([(epoch - 1) * steps + step, Number.isFinite(loss) ? loss : null, lr]);
    if (this.#points.length > 2 * keptPoints) this.#points = this.#points.slice(-keptPoints);
  }

  get #done(): number {
    return (this.#place.epoch - 1) * this.#options.stepsPerEpoch + this.#place.step;
  }

  /** One look: commands that came, and where the training is if somebody watches. */
  async #look(): Promise<void> {
    const { mtimeMs, size } = await stat(this.#control);
    const now = performance.now();
    const done = this.#done;
    this.#pace = [...this.#pace.filter(([time]) => now - time < speedMilliseconds), [now, done]];
    if (mtimeMs !== this.#touched) {
      this.#touched = mtimeMs;
      // A new watcher learns at once where the training is.
      this.#dirty ||= now > this.#watchedUntil;
      this.#watchedUntil = now + watchMilliseconds;
    }
    if (size > this.#read) await this.#readCommands(Math.min(size, mostControl));
    const isMoving = this.#pace.some(([, other]) => other !== done);
    // Its speed falls to 0 after the last step.
    this.#dirty ||= isMoving || this.#wasMoving;
    this.#wasMoving = isMoving;
    if (now > this.#watchedUntil || !this.#dirty) return;
    this.#dirty = false;
    try {
      await this.#write();
    } catch (error) {
      this.#dirty = true;
      throw error;
    }
  }

  async #readCommands(end: number): Promise<void> {
    const file: FileHandle = await openRegular(
      this.#control,
      constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0),
    );
    let text: string;
    try {
      const bytes = Buffer.alloc(end - this.#read);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, this.#read);
      // A line may still be incomplete.
      const whole = bytes.subarray(0, bytes.subarray(0, bytesRead).lastIndexOf(10) + 1);
      this.#read += whole.length;
      text = whole.toString('utf8');
    } finally {
      await file.close();
    }
    for (const line of text.split('\n')) if (line.trim() !== '') this.#handle(line);
  }

  #handle(line: string): void {
    const { id, ...command } = (parsed(line) ?? {}) as { readonly id?: unknown };
    const problem = this.#obey(command);
    if (typeof id === 'string' && id.length <= 64) {
      const answer = { id, ...(problem !== undefined && { problem: problem.slice(0, 1000) }) };
      this.#answers = [...this.#answers, answer].slice(-keptAnswers);
    }
    this.#dirty = true;
  }

  /** Returns why a command was refused. */
  #obey(command: unknown): string | undefined {
    const { accepts, control, stop } = this.#options;
    if (accepts === 'watch') {
      return 'this is a trial of a study, which is not steered: its result would not be that of its values';
    }
    try {
      obey(control, parseCommand(command), () => {
        this.#stopping = true;
        stop();
      });
      return undefined;
    } catch (error) {
      if (error instanceof VggError) return error.message;
      throw error;
    }
  }

  async #write(): Promise<void> {
    const { control, batchSize, epochs, stepsPerEpoch, totalSteps, settings } = this.#options;
    const [[first, before], [last, done]] = [this.#pace[0]!, this.#pace.at(-1)!];
    const stepsPerSecond = last > first ? (1000 * (done - before)) / (last - first) : 0;
    const record: LiveRecord = {
      session: this.#session,
      paused: control.paused,
      resting: this.#resting,
      stopping: this.#stopping,
      ...this.#place,
      epochs,
      stepsPerEpoch,
      done,
      totalSteps,
      stepsPerSecond,
      imagesPerSecond: stepsPerSecond * batchSize,
      settings: { ...settings, ...settingsAt(this.#changes, done) },
      changes: this.#changes,
      points: this.#points.slice(-keptPoints),
      answers: this.#answers,
    };
    // The path may lead to another folder by now.
    await this.#run.requireOwn();
    const temporary = temporaryBeside(this.#live);
    try {
      await writeFile(temporary, JSON.stringify(record), { flag: 'wx' });
      await rename(temporary, this.#live);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}
