/** The words of the steps in the chosen language. Both languages come with the view, so that they can be switched. */
import { computed, type ReadonlySignal } from '@preact/signals';
import { language } from '../../state/settings.ts';
import { steps as en } from '../../text/en/lecture-steps.ts';
import type { StepTexts } from '../../text/en.ts';
import { steps as ko } from '../../text/ko/lecture-steps.ts';

const texts = { en, ko } as const;

export const stepTexts: ReadonlySignal<StepTexts> = computed(() => texts[language.value]);
