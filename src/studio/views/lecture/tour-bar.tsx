/** The question of the tour's open step, at the foot of other views, with the way back. */
import type { JSX } from 'preact';
import { Icon } from '../../parts/icons.tsx';
import { linkToPlace } from '../../state/route.ts';
import { text } from '../../state/settings.ts';
import { followed, stepNames } from '../../state/tour.ts';
import { stepTexts } from './step-texts.ts';

export function TourBar(): JSX.Element | null {
  const { lecture } = text.value;
  const name = followed.value;
  if (!name) return null;
  return (
    <aside class="tour-bar" aria-label={lecture.tour}>
      <p>{stepTexts.value[name].question}</p>
      <a class="button primary" href={linkToPlace('lecture', name)}>
        {lecture.returnTo(stepNames.indexOf(name) + 1)}
      </a>
      <button
        type="button"
        class="quiet"
        aria-label={lecture.leave}
        onClick={() => {
          followed.value = undefined;
        }}
      >
        <Icon name="close" />
      </button>
    </aside>
  );
}
