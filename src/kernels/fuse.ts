/**
 * Contracts products and sums of vectors into fused multiply-adds, as a C compiler does by itself: x + a · b is rounded
 * once, and is one instruction. A product is dissolved where all its uses are such sums.
 */
import type { Kernel, Operand, Statement, Value } from './language.ts';

type Definition = Extract<Statement, { kind: 'define' }>;

const isVector = (operand: Operand | undefined): operand is Value =>
  typeof operand === 'object' && operand.type === 'vector';

function forEachStatement(block: readonly Statement[], each: (statement: Statement) => void): void {
  for (const statement of block) {
    each(statement);
    if (statement.kind === 'loop') forEachStatement(statement.body, each);
    if (statement.kind === 'if') {
      forEachStatement(statement.yes, each);
      forEachStatement(statement.no, each);
    }
  }
}

/** What a statement reads. */
function operandsOf(statement: Statement): readonly Operand[] {
  switch (statement.kind) {
    case 'define':
      return statement.operands;
    case 'constant':
      return [];
    case 'load':
    case 'prefetch':
      return [statement.pointer];
    case 'store':
      return [statement.value, statement.pointer];
    case 'scatter':
      return [statement.value, statement.pointer, statement.step];
    case 'assign':
      return [statement.value];
    case 'loop':
      return [statement.count];
    case 'if':
      return [statement.condition];
  }
}

/** The place of the operand that can be a product: either of a sum's, the second of a difference's. */
const placesOf = (operator: Definition['operator']): readonly number[] =>
  operator === 'add' ? [1, 0] : operator === 'sub' ? [1] : [];

/** The same kernel with its vectors' products and sums contracted. */
export function fuseMultiplyAdds(kernel: Kernel): Kernel {
  const products = new Map<number, Definition>();
  const changing = new Set<number>();
  forEachStatement(kernel.body, (statement) => {
    if (statement.kind === 'assign') changing.add(statement.target.id);
    if (statement.kind !== 'define' || statement.operator !== 'mul' || !isVector(statement.target)) return;
    products.set(statement.target.id, statement);
  });
  // The operands of a product are read where its sum stands: they must not change until then.
  for (const [id, { operands }] of products) {
    if (operands.some((operand) => typeof operand === 'object' && changing.has(operand.id)))
      products.delete(id);
  }
  const productAt = (operator: Definition['operator'], operands: readonly Operand[]): number | undefined =>
    placesOf(operator).find((place) => {
      const operand = operands[place];
      return isVector(operand) && products.has(operand.id);
    });
  // A sum takes one product; what is used in any other way stays. Each that stays may free its sums' other operand.
  for (let before = -1; before !== products.size; ) {
    before = products.size;
    forEachStatement(kernel.body, (statement) => {
      const taken =
        statement.kind === 'define' ? productAt(statement.operator, statement.operands) : undefined;
      operandsOf(statement).forEach((operand, place) => {
        if (typeof operand === 'object' && place !== taken) products.delete(operand.id);
      });
    });
  }
  const rewrite = (block: readonly Statement[]): Statement[] =>
    block.flatMap((statement): Statement[] => {
      if (statement.kind === 'loop') return [{ ...statement, body: rewrite(statement.body) }];
      if (statement.kind === 'if') {
        return [{ ...statement, yes: rewrite(statement.yes), no: rewrite(statement.no) }];
      }
      if (statement.kind !== 'define') return [statement];
      if (products.has(statement.target.id)) return [];
      const { target, operator, operands } = statement;
      const taken = productAt(operator, operands);
      if (taken === undefined) return [statement];
      const product = products.get((operands[taken] as Value).id)!;
      const rest = operands[1 - taken]!;
      return [
        {
          kind: 'define',
          target,
          operator: operator === 'add' ? 'multiplyAdd' : 'multiplySubtract',
          operands: [rest, ...product.operands],
        },
      ];
    });
  return { ...kernel, body: rewrite(kernel.body) };
}
