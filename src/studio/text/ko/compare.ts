/** The view that compares two trainings. */
import type { Text } from '../en.ts';

export const compare: Text['compare'] = {
  title: '두 학습 비교하기',
  lead: '두 학습이 나란히 진행되며 단 한 가지만 다릅니다. 그래서 눈에 보이는 차이는 그 한 가지의 효과입니다.',
  choose: '다르게 할 것',
  what: '단 하나의 차이',
  equal: '나머지는 모두 같습니다. 같은 이미지를 같은 순서로, 같은 초기 가중치에서 시작합니다.',
  difference: {
    nothing: '없음: 같은 학습 두 번',
    lr: '학습률',
    momentum: '모멘텀',
    optimizer: '옵티마이저',
    batchSize: '배치 크기',
    model: '신경망',
    augment: '데이터 증강',
    weightDecay: '가중치 감쇠',
    seed: '시드',
  },
  same: '동일',
  on: '켬',
  off: '끔',
  startBoth: '둘 다 시작',
  after: (epoch) => `에포크 ${epoch} 이후의 가중치:`,
  bitsLater: '에포크가 끝날 때마다 두 신경망의 가중치 지문을 여기에서 비교합니다.',
  sameBits: '비트까지 같습니다.',
  otherBits: '가중치가 다릅니다.',
  sameWhy: '무작위로 정해지는 것은 모두 시드가 결정하고, 합은 스레드 수와 관계없이 정해진 순서로 계산됩니다.',
  otherWhy: '그 차이가 두 학습을 서로 다른 가중치로 이끌었습니다.',
  divergedAt: (step) => `${step}단계에서 손실이 숫자가 아닌 값(NaN)이 되어 학습이 멈췄습니다.`,
  dead: '죽은 ReLU',
  deadOf: (layer, dead, units) => `${layer}: ${units}개 중 ${dead}개가 죽음`,
};
