/** The view of runs on this machine. */
import type { Text } from '../en.ts';

export const watch: Text['watch'] = {
  title: '이 컴퓨터의 실행',
  lead: '이 컴퓨터에서 vgg가 하는 학습을 실시간으로 보여 줍니다. 여기서 바꾼 것은 학습에 전달되고 실행에 기록되며, 그대로 되풀이할 수 있습니다.',
  how: '이 화면은 명령줄의 학습을 보여 줍니다. 다음 명령 중 하나로 여세요:',
  runs: '실행',
  none: '아직 없습니다. 시작하려면: npx vgg train',
  state: {
    running: '학습 중',
    finished: '완료',
    interrupted: '중단됨',
    failed: '실패',
    damaged: '손상됨',
  },
  stopping: '멈추는 중',
  stop: '멈추기',
  recorded: '바꾼 값은 모두 실행의 config.json에 기록됩니다.',
  ofStudy: '탐색의 한 시도입니다. 언제 끝날지는 탐색이 정합니다.',
  lost: (reason) => `${reason}. 이 페이지가 스스로 다시 시도합니다.`,
  accuracyHelp: '에포크가 끝날 때마다 테스트 이미지에서 잰 값입니다.',
};
