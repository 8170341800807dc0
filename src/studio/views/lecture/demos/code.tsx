/** Programs and commands of the exercises, as in docs/ko.md. */
import type { JSX } from 'preact';
import { stepTexts } from '../step-texts.ts';

const lectureLoop = `for epoch in range(1, 10):
    train(epoch)
    test()`;

const ownLoop = `const { train, test } = trainer({ model, trainLoader, testLoader, optimizer, epochs });
for (let epoch = 1; epoch < 10; epoch++) {
  await train(epoch);
  await test();
}`;

export function LoopCode(): JSX.Element {
  const { code } = stepTexts.value.exercise1;
  return (
    <>
      <Code text={lectureLoop} />
      <p>{code}</p>
      <Code text={ownLoop} />
    </>
  );
}

export function SevenLayersCommand(): JSX.Element {
  const { command } = stepTexts.value.exercise3;
  return (
    <>
      <p>{command}</p>
      <Code text={'npx vgg download cifar100\nnpx vgg train --recipe cifar100-vgg7 --run runs/exercise-3'} />
    </>
  );
}

const Code = ({ text: code }: { readonly text: string }): JSX.Element => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
  <pre class="code" tabIndex={0}>
    <code>{code}</code>
  </pre>
);
