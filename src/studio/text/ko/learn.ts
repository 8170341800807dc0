/** The view that trains. */
import type { Text } from '../en.ts';

export const learn: Text['learn'] = {
  title: '신경망이 보는 법을 배우는 모습',
  lead: (dataset, classes) =>
    `시작을 누르세요. 합성곱 신경망이 ${classes}가지 이미지(${dataset})를 구별하는 법을 바로 이 컴퓨터에서 배웁니다. 설치할 것도, 업로드되는 것도 없습니다.`,
  leadPreparing:
    '시작을 누르세요. 합성곱 신경망이 이미지를 구별하는 법을 바로 이 컴퓨터에서 배웁니다. 설치할 것도, 업로드되는 것도 없습니다.',
  progress: '학습 진행',
  ofEpochs: (epoch, epochs) => `에포크 ${epoch} / ${epochs}`,
  left: (time) => `약 ${time} 남음`,
  speed: (count) => `초당 이미지 ${count}장`,
  lossChart: '손실: 얼마나 틀렸는가',
  lossHelp:
    '배치마다의 평균 교차 엔트로피와, 에포크가 끝날 때마다 테스트 이미지에서 잰 값입니다. 낮을수록 좋습니다.',
  accuracyChart: '정확도: 얼마나 자주 맞히는가',
  accuracyHelp: '학습에 쓰지 않은 이미지에서 잰 값입니다. 학습 중에는 일부를, 에포크가 끝나면 전부를 씁니다.',
  sampled: '테스트 일부',
  smoothed: '학습(평활)',
  eachStep: '배치마다',
  change: '변경',
  settings: '학습 중에 바꿔 보기',
  settingsHelp: '바꾼 값은 다음 배치부터 적용되고 그래프에 표시됩니다.',
  lr: '학습률',
  lrHelp: '한 단계에서 움직이는 거리입니다. 너무 크면 손실이 튀고, 너무 작으면 움직이지 않습니다.',
  momentum: '모멘텀',
  momentumHelp: '이전 단계의 움직임을 얼마나 이어 가는지입니다.',
  weightDecay: '가중치 감쇠',
  weightDecayHelp: '모든 가중치를 0 쪽으로 당깁니다.',
  probe: '지금의 대답',
  probeHelp: '항상 같은 테스트 이미지입니다. 점선 테두리는 틀린 대답입니다.',
  probeState: (right, total) => `${total}개 중 ${right}개 정답`,
  probeImage: (truth, answer, percent) => `${truth}: 대답 ${answer}, ${percent}`,
  probeWaiting: (truth) => `${truth}: 아직 묻지 않음`,
  filters: '무엇을 찾는가',
  filtersHelp: (layer, count) =>
    `첫 번째 층 ${layer}의 필터 ${count}개를 확대한 모습입니다. 잡음에서 시작해 윤곽과 색 대비가 나타납니다.`,
  data: '이미지',
  dataFacts: (train, test, classes) => `학습용 ${train}장, 테스트용 ${test}장, 클래스 ${classes}개.`,
  dataHelp:
    '내려받은 그대로의 CIFAR-10이나 CIFAR-100(.tar.gz), 또는 클래스마다 폴더가 하나씩 있는 zip이나 폴더를 고르세요. 여기에 끌어다 놓아도 됩니다. 파일은 이 컴퓨터를 떠나지 않습니다.',
  addArchive: '압축 파일 추가 …',
  addFolder: '폴더 추가 …',
  reading: '파일을 읽고 확인하는 중 …',
  longer: '더 학습하기',
  device: '계산 장치',
  devices: { auto: '자동', webgpu: 'WebGPU', wasm: 'WebAssembly' },
  deviceReasons: {
    auto: '자동으로 선택됨: 어디서나 실행되고 모든 학습을 비트까지 똑같이 되풀이합니다. 큰 신경망에는 WebGPU가 더 빠르니 시험해 보세요.',
    asked: '',
    unshared:
      '이 페이지의 호스트가 페이지를 격리하지 않아 스레드가 메모리를 공유할 수 없으므로 스레드 하나만 씁니다.',
  },
  deviceChange: '바꾸면 학습을 처음부터 다시 시작합니다.',
  diverged: '값이 폭발했습니다.',
  divergedWhy: (message) =>
    `${message} 단계마다 너무 멀리 가서 다음 기울기가 더 커졌고, 결국 숫자가 아닌 값이 되었습니다. 학습률을 낮추고 처음부터 다시 시작하세요.`,
  failed: (message) => `학습이 끝났습니다: ${message}`,
  ended: (accuracy) => `완료: 처음 보는 이미지의 ${accuracy}를 알아봅니다.`,
  next: '다음은?',
  toSee: '속을 들여다보기',
  toTry: '내 이미지로 써 보기',
  toBreak: '망가뜨려 보기',
  stepHelp: '배치 하나를 학습합니다',
  noLoss: '첫 단계와 함께 곡선이 시작됩니다.',
  announce: (epoch, accuracy) => `에포크 ${epoch}: 테스트 정확도 ${accuracy}`,
  weights: (hash) => `가중치 ${hash}`,
};
