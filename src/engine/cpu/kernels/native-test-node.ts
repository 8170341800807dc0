/**
 * The self-test of a compiled library, as a separate program because wrong code may crash. Its arguments are the library,
 * its lanes and a mark; it prints the mark and what is wrong, if anything. Node only.
 */
import { openNative } from './native-library-node.ts';
import { checkMemory, testAgainstPlain } from './self-test.ts';

const [file = '', lanes, mark] = process.argv.slice(2);
const memory = checkMemory(false);
const library = openNative(file, memory);
process.stdout.write(`\n${mark}${testAgainstPlain(library, memory, Number(lanes)) ?? ''}\n`);
