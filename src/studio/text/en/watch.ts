/** The view of runs on this machine. */
export const watch = {
  title: 'Runs on this computer',
  lead: 'Trainings that vgg runs on this computer, live. What you change here is sent to the training, recorded in its run, and can be repeated.',
  how: 'This view shows trainings of the command line. Open it with one of these commands:',
  runs: 'Runs',
  none: 'There are none yet. Start one with: npx vgg train',
  state: {
    running: 'training',
    finished: 'finished',
    interrupted: 'interrupted',
    failed: 'failed',
    damaged: 'damaged',
  },
  stopping: 'Stopping',
  stop: 'Stop',
  recorded: 'Each change is written to the run’s config.json.',
  ofStudy: 'A trial of a study: the search decides when it ends.',
  lost: (reason: string) => `${reason}. This page tries again by itself.`,
  accuracyHelp: 'On the test images, after each epoch.',
};
