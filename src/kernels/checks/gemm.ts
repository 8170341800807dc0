import { wholeRows } from '../gemm.ts';
import { type Arguments, combinations, inWords, type KernelCheck } from './check.ts';

type Product = 'NN' | 'TN' | 'NT';

const plainProduct =
  (form: Product, relu = false) =>
  (m: Float64Array, a: Arguments): void => {
    for (let plane = 0; plane < a.planes!; plane++) {
      const left = a.left! + plane * a.leftPlane!;
      const right = a.right! + plane * a.rightPlane!;
      for (let i = 0; i < a.rows!; i++) {
        for (let j = 0; j < a.columns!; j++) {
          const out = a.out! + plane * a.outPlane! + i * a.outStride! + j;
          let sum = a.accumulate ? m[out]! : 0;
          for (let d = 0; d < a.depth!; d++) {
            const x = m[left + (form === 'TN' ? d * a.leftStride! + i : i * a.leftStride! + d)]!;
            const { panelColumns = a.columns!, rightPanel = 0 } = a;
            const column = Math.floor(j / panelColumns) * rightPanel + (j % panelColumns);
            const y = m[right + (form === 'NT' ? j * a.rightStride! + d : d * a.rightStride! + column)]!;
            sum += x * y;
          }
          m[out] = relu ? Math.max(0, sum) : sum;
        }
      }
    }
  };

/** Rows and columns below, at and beyond the register tile; strides with gaps; planes that share an operand. */
function checks(
  form: Product,
  sizes: Readonly<Record<'rows' | 'columns' | 'depth', readonly number[]>>,
  relu = false,
): KernelCheck[] {
  const plain = plainProduct(form, relu);
  const whole = (columns: number): Arguments => (form === 'NN' ? wholeRows(columns) : {});
  const single = combinations({ ...sizes, accumulate: relu ? [0] : [0, 1] }).map((size): KernelCheck => {
    const leftWidth = form === 'TN' ? size.rows : size.depth;
    const rightWidth = form === 'NT' ? size.depth : size.columns;
    const strides = { outStride: size.columns + 3, leftStride: leftWidth + 1, rightStride: rightWidth + 5 };
    const flat = { planes: 1, outPlane: 0, leftPlane: 0, rightPlane: 0, ...whole(size.columns) };
    return {
      title: inWords(size),
      arguments: { out: 1000, left: 12_000, right: 24_000, ...strides, ...flat, ...size },
      plain,
    };
  });
  const planes: Arguments = {
    ...{ out: 1001, outStride: 14, outPlane: 101 },
    ...{ left: 12_003, leftStride: 11, leftPlane: 130 },
    ...{ right: 24_002, rightStride: 13, rightPlane: 0 },
    ...{ planes: 3, rows: 5, columns: 12, depth: 8, accumulate: relu ? 0 : 1 },
    ...whole(12),
  };
  const panels: Arguments = { ...planes, outStride: 200, outPlane: 1005, columns: 188, rightStride: 67 };
  return [
    ...single,
    { title: '3 planes, one right matrix', arguments: planes, plain },
    ...(form === 'NN'
      ? [16, 64].map((panelColumns) => ({
          title: `3 planes, a right matrix in panels of ${panelColumns} columns`,
          arguments: { ...panels, rightStride: panelColumns + 3, rightPanel: 550, panelColumns },
          // No tile may cross a panel: the widest tiles have two vectors of 8, or four of 16.
          mostLanes: panelColumns === 16 ? 8 : 16,
          plain,
        }))
      : []),
  ];
}

const [rows, columns] = [
  [1, 4, 7, 27],
  [4, 8, 20, 60, 124],
];
export const gemmNN: readonly KernelCheck[] = checks('NN', { rows, columns, depth: [4, 12] });
export const gemmNNRelu: readonly KernelCheck[] = checks('NN', { rows, columns, depth: [4, 12] }, true);
export const gemmTN: readonly KernelCheck[] = checks('TN', { rows, columns, depth: [1, 6] });
export const gemmNT: readonly KernelCheck[] = checks('NT', { rows, columns: [1, 2, 5], depth: [4, 12, 60] });
