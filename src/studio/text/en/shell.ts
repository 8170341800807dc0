/** Frame of the page, and words that all views use. */
const views = {
  learn: 'Learn',
  see: 'See',
  build: 'Build',
  try: 'Try',
  compare: 'Compare',
  break: 'Break it',
  lecture: 'The lecture',
  share: 'Share',
};

export const shell = {
  title: 'VGG Studio',
  skip: 'Skip to the content',
  views: 'Views',
  view: views,
  language: 'Language',
  theme: 'Theme',
  themes: { auto: 'Automatic', light: 'Light', dark: 'Dark' },
  loading: 'Loading …',
  notLoaded: (reason: string) => `This view does not load: ${reason}`,
  update: 'A new version of this page is ready.',
  reload: 'Reload',
  privacy: 'Everything is computed on this computer. The page is not allowed to contact any other server.',
  badLink: (reason: string) => `The link is damaged: ${reason}. The usual training is shown instead.`,
  close: 'Close',
  phase: {
    preparing: 'Preparing',
    ready: 'Ready',
    training: 'Training',
    paused: 'Paused',
    ended: 'Finished',
    diverged: 'Diverged',
    failed: 'Stopped by an error',
  },
  start: 'Start',
  pause: 'Pause',
  resume: 'Continue',
  step: 'Step',
  restart: 'Start anew',
  epoch: 'Epoch',
  steps: 'Step',
  loss: 'Loss',
  accuracy: 'Accuracy',
  training: 'training',
  test: 'test',
  images: (count: string) => `${count} images`,
  seconds: (seconds: number) =>
    seconds < 60
      ? `${Math.max(1, Math.round(seconds))} s`
      : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`,
  classNames: {} as Readonly<Record<string, string>>,
};
