/** Batches whose gradients are accumulated make one step of the optimizer; the last group of an epoch may be smaller. */

/** Steps of the optimizer in the first `step` of an epoch's `epochSteps` batches. */
export const updatesIn = (step: number, epochSteps: number, accumulate: number): number =>
  step === epochSteps ? Math.ceil(step / accumulate) : Math.floor(step / accumulate);

/** The most batches, of at most `steps` in all epochs, that end with a step of the optimizer. */
export const wholeGroups = (steps: number, epochSteps: number, accumulate: number): number =>
  steps - ((steps % epochSteps) % accumulate);
