#!/usr/bin/env node
// Starts `vgg`: from src/ in the repository, so that edits take effect immediately, otherwise from the built dist/.
// Uses no import statements and only plain syntax, so that an old Node can print the message below.
function start() {
  const { existsSync, realpathSync } = process.getBuiltinModule('node:fs');
  const { dirname, join } = process.getBuiltinModule('node:path');
  const root = dirname(dirname(realpathSync(process.argv[1])));
  const source = existsSync(join(root, 'src', 'cli', 'main.ts'));
  // Beside the code, so that only those who can change the code can write to it. Node's default in /tmp is open to others.
  const cache = source ? join(root, 'node_modules', '.cache', 'vgg') : join(root, 'dist', 'compile-cache');
  process.getBuiltinModule('node:module').enableCompileCache(cache);
  return import(source ? '../src/cli/main.ts' : '../dist/cli/main.js').then((cli) => cli.main(process.argv));
}

if (Number.parseInt(process.versions.node, 10) >= 24) {
  Promise.resolve()
    .then(start)
    .catch((error) => {
      if (!/EMFILE|ENFILE|too many open files/.test(`${error.code} ${error.message}`)) throw error;
      console.error('error: too many open files; raise the limit (ulimit -n 1024)');
      process.exitCode = 1;
    });
} else {
  console.error(`vgg needs Node 24 or newer; this is Node ${process.versions.node} (${process.execPath}).
Install a newer version, or add one to your project: npm install --save-dev node@26
(npm may ask you to allow its install script). npx vgg and npm start then use it.`);
  process.exitCode = 1;
}
