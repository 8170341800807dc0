/** Cuts the maps of a chunk's images into blocks that are processed together. */

/** Consecutive rows of one image: rows of tiles (winograd) or of output pixels (im2col, direct). */
export interface Piece {
  readonly image: number;
  readonly row: number;
  readonly rows: number;
  /** Tiles or pixels of the block before this piece. */
  readonly before: number;
}

export interface Block {
  readonly pieces: readonly Piece[];
  /** Total tiles or pixels. */
  readonly size: number;
}

/** Blocks of at most `largest` tiles (but at least one row), which may span several images. */
export function cutBlocks(images: number, rows: number, columns: number, largest: number): Block[] {
  const blocks: { pieces: Piece[]; size: number }[] = [];
  for (let image = 0; image < images; image++) {
    for (let row = 0; row < rows; ) {
      let block = blocks.at(-1);
      let room = block ? Math.floor((largest - block.size) / columns) : 0;
      if (!block || room < 1) {
        block = { pieces: [], size: 0 };
        blocks.push(block);
        room = Math.max(1, Math.floor(largest / columns));
      }
      const taken = Math.min(room, rows - row);
      block.pieces.push({ image, row, rows: taken, before: block.size });
      block.size += taken * columns;
      row += taken;
    }
  }
  return blocks;
}

/** Blocks of at most `largest` rows of one image. */
export const cutRows = (images: number, rows: number, columns: number, largest: number): Block[] =>
  Array.from({ length: images }, (_, image) =>
    Array.from({ length: Math.ceil(rows / largest) }, (_, i): Block => {
      const taken = Math.min(largest, rows - i * largest);
      return { pieces: [{ image, row: i * largest, rows: taken, before: 0 }], size: taken * columns };
    }),
  ).flat();

/** One block for each image. */
export const cutImages = (images: number, rows: number): Block[] => cutRows(images, rows, 1, rows);

/** The same blocks of the images from `first` on. */
export const fromImage = (first: number, blocks: readonly Block[]): Block[] =>
  blocks.map(({ pieces, size }) => ({
    pieces: pieces.map((piece) => ({ ...piece, image: first + piece.image })),
    size,
  }));

/** Divides items into at most `parts` groups of neighbors. */
export function group<T>(items: readonly T[], parts: number): T[][] {
  const groups = Math.min(parts, items.length);
  return Array.from({ length: groups }, (_, i) =>
    items.slice(Math.floor((i * items.length) / groups), Math.floor(((i + 1) * items.length) / groups)),
  );
}
