/**
 * How the user calls `vgg` (Node only). Messages and help say `vgg train …`; before they are shown, `vgg` is replaced
 * by the command that works: `npx vgg` in a project that has this package, `vgg` if it is on the PATH. Anywhere else,
 * `npx vgg` would install an unrelated package.
 */
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { codeUrl } from './package-files.ts';
import { shellWord } from './words.ts';

/** Where a process was started, and from which files. */
export interface Place {
  readonly folder: string;
  /** The package's root. */
  readonly root: string;
  /** The script that Node runs. */
  readonly script: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** The command that replaces `vgg` at `place`. */
export function programAt({ folder, root, script, environment }: Place): string {
  const bin = join(root, 'bin', 'vgg.js');
  for (let at = folder; ; at = dirname(at)) {
    if (at === root || resolved(join(at, 'node_modules', 'vggnet')) === root) return runnerIn(environment);
    if (at === dirname(at)) break;
  }
  if (root.includes(`${sep}_npx${sep}`)) return 'npx vggnet';
  const onPath = (environment.PATH ?? '').split(delimiter).some((one) => resolved(join(one, 'vgg')) === bin);
  if (onPath) return 'vgg';
  return script !== undefined && resolved(script) === bin ? `node ${shellWord(script)}` : 'npx vggnet';
}

/** What runs a package's commands: npx, or its equivalent in the package manager that started this process. */
function runnerIn({ npm_config_user_agent: agent = '' }: Place['environment']): string {
  const manager = /^(pnpm|yarn|bun)\b/.exec(agent)?.[1];
  return manager === undefined ? 'npx vgg' : manager === 'bun' ? 'bunx vgg' : `${manager} exec vgg`;
}

function resolved(path: string): string | undefined {
  try {
    return existsSync(path) ? realpathSync(path) : undefined;
  } catch {
    return undefined;
  }
}

let known: string | undefined;

/** The command that replaces `vgg` in this process. */
export function program(): string {
  known ??= programAt({
    folder: process.cwd(),
    root: realpathSync(fileURLToPath(new URL('..', codeUrl()))).replace(/[\\/]$/, ''),
    script: process.argv[1],
    environment: process.env,
  });
  return known;
}

const commands =
  /(?<![\w/.-]|npx |exec |bunx )vgg (?=(train|evaluate|predict|lr-find|tune|export|report|studio|runs|compare|filters|summary|stats|weights|download|cache|kernels|doctor|COMMAND|--help)\b|\[|-)/g;

/** Rewrites the commands in `text` for this process: `vgg train --resume runs/a` → `npx vgg train --resume runs/a`. */
export const localCommands = (text: string, own: string = program()): string =>
  text.replaceAll(commands, () => `${own} `);
