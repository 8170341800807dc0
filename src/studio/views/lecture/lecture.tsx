/** The lecture: a tour whose steps have an explanation, something to try, a question, and links to states of the page. */
import type { ComponentType, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { linkToPlace, route } from '../../state/route.ts';
import { session } from '../../state/session.ts';
import { text } from '../../state/settings.ts';
import { followed, guesses, type StepName, stepNames, stepOf, tourBar } from '../../state/tour.ts';
import { ArchitectureTable } from './demos/architecture-table.tsx';
import { Augmentation } from './demos/augmentation.tsx';
import { LoopCode, SevenLayersCommand } from './demos/code.tsx';
import { Normalization } from './demos/normalization.tsx';
import { ReceptiveField } from './demos/receptive-field.tsx';
import { RateSchedule } from './demos/schedule.tsx';
import { SmallSearch } from './demos/search.tsx';
import { Question } from './question.tsx';
import { stepTexts } from './step-texts.ts';
import { steps } from './steps.ts';
import { TourBar } from './tour-bar.tsx';

const demos: Readonly<Partial<Record<StepName, ComponentType>>> = {
  table: ArchitectureTable,
  filters: ReceptiveField,
  transforms: Augmentation,
  schedule: RateSchedule,
  exercise1: LoopCode,
  exercise2: Normalization,
  exercise3: SevenLayersCommand,
  exercise4: SmallSearch,
};

export function Lecture(): JSX.Element {
  const { lecture } = text.value;
  const name = stepOf(route.value.place) ?? stepNames[0];
  const first = useRef<StepName | undefined>(name);
  useEffect(() => {
    if (name !== first.current) first.current = undefined;
  }, [name]);
  useEffect(() => {
    session.watch({});
    tourBar.value = TourBar;
    followed.value = undefined;
  }, []);
  return (
    <div class="lecture">
      <div class="intro">
        <h1 tabIndex={-1}>{lecture.title}</h1>
        <p class="lead">{lecture.lead}</p>
      </div>
      <div class="lecture-columns">
        <Contents open={name} />
        <StepView key={name} name={name} isFirst={name === first.current} />
      </div>
    </div>
  );
}

function Contents({ open }: { readonly open: StepName }): JSX.Element {
  const { lecture } = text.value;
  return (
    <nav class="card contents" aria-label={lecture.contents}>
      <ol>
        {stepNames.map((name, i) => (
          <li key={name}>
            <a href={linkToPlace('lecture', name)} aria-current={name === open ? 'step' : undefined}>
              <span class="number">{i + 1}</span>
              <span class="title">{stepTexts.value[name].title}</span>
              {guesses.value[name] !== undefined && (
                <span class="done">
                  ✓<span class="hidden"> {lecture.done}</span>
                </span>
              )}
            </a>
          </li>
        ))}
      </ol>
    </nav>
  );
}

interface StepProps {
  readonly name: StepName;
  /** It was open when the view was: the view's heading has the focus. */
  readonly isFirst: boolean;
}

function StepView({ name, isFirst }: StepProps): JSX.Element {
  const { lecture } = text.value;
  const { title, from, body, links } = stepTexts.value[name];
  const place = stepNames.indexOf(name);
  const Demo = demos[name];
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (isFirst) return;
    heading.current?.focus({ preventScroll: true });
    heading.current?.closest('article')?.scrollIntoView();
  }, []);
  return (
    <article class="stack step-view" aria-labelledby="step-title">
      <section class="card">
        <p class="note">
          {lecture.place(place + 1, stepNames.length)} · <span class="slide">{lecture.slide(from)}</span>
        </p>
        <h2 id="step-title" tabIndex={-1} ref={heading}>
          {title}
        </h2>
        {body.map((paragraph) => (
          <p key={paragraph} class="prose">
            {paragraph}
          </p>
        ))}
        {Demo && (
          <div class="demo">
            <Demo />
          </div>
        )}
      </section>
      <Question name={name} />
      <section class="card" aria-labelledby="look-title">
        <h3 id="look-title">{lecture.look}</h3>
        <ul class="step-links">
          {links.map((words, i) => (
            <li key={words}>
              <a
                class="button"
                href={steps[name].links[i]!}
                onClick={() => {
                  followed.value = name;
                }}
              >
                {words} <span aria-hidden="true">→</span>
              </a>
            </li>
          ))}
        </ul>
      </section>
      <nav class="step-buttons" aria-label={lecture.tour}>
        {place > 0 && (
          <a class="button" href={linkToPlace('lecture', stepNames[place - 1]!)} rel="prev">
            ← {lecture.previous}
          </a>
        )}
        {place < stepNames.length - 1 && (
          <a
            class="button primary"
            id="next-step"
            href={linkToPlace('lecture', stepNames[place + 1]!)}
            rel="next"
          >
            {lecture.next} →
          </a>
        )}
      </nav>
    </article>
  );
}
