// A TPM for the bench (../flow/tpm.mjs): node tpm.mjs FILE
//
// When it can be used FILE says how: a line "module=PATH", and a line "environment=NAME=VALUE" for each variable that
// the module needs. It lives until SIGTERM.

import { rename, writeFile } from 'node:fs/promises';
import { makeTpm } from '../flow/tpm.mjs';

const [file] = process.argv.slice(2);
const ended = new Promise((done) => process.once('SIGTERM', done));
const alive = setInterval(() => {}, 60_000);
const tpm = await makeTpm();
const lines = [`module=${tpm.module}`, ...tpm.environment.map((variable) => `environment=${variable}`)];
await writeFile(`${file}.new`, `${lines.join('\n')}\n`);
await rename(`${file}.new`, file);
await ended;
clearInterval(alive);
await tpm.stop();
