/** Gradient accumulation: a group of batches makes one optimizer step; the last group of an epoch may be smaller. */

/** Optimizer steps in the first `step` of an epoch's `epochSteps` batches. */
export const updatesIn = (step: number, epochSteps: number, accumulate: number): number =>
  step === epochSteps ? Math.ceil(step / accumulate) : Math.floor(step / accumulate);

/** The largest number of batches, up to `steps` over all epochs, that ends with an optimizer step. */
export const wholeGroups = (steps: number, epochSteps: number, accumulate: number): number =>
  steps - ((steps % epochSteps) % accumulate);
