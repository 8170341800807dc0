#!/usr/bin/env node
// Starts `vgg`: from src/ in the repository, where edits take effect at once, else from the built dist/.
// Plain syntax on purpose: a Node that is too old must get as far as the message.
var major = parseInt(process.versions.node, 10);
if (major < 24) {
  console.error(
    'vgg needs Node 24 or newer; this is Node ' +
      process.versions.node +
      ' (' +
      process.execPath +
      ').\n' +
      'Install a newer one, or let npm put one beside your project: npm install --save-dev node@26\n' +
      '(npm 11 may ask to approve its install script), then start with npx vgg or npm start.',
  );
  process.exitCode = 1;
} else {
  var fs = process.getBuiltinModule('node:fs');
  var path = process.getBuiltinModule('node:path');
  process.getBuiltinModule('node:module').enableCompileCache();
  var root = path.dirname(path.dirname(fs.realpathSync(process.argv[1])));
  var source = fs.existsSync(path.join(root, 'src', 'cli', 'main.ts'));
  import(source ? '../src/cli/main.ts' : '../dist/cli/main.js').then((cli) => cli.main(process.argv));
}
