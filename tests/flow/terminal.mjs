// The dpop command at a terminal of its own (util-linux script), and programs that ask for PINs.

import { spawn } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dpopBinary } from './world.mjs';

const quoted = (word) => `'${String(word).replaceAll("'", "'\\''")}'`;

// Runs dpop with these words; each answer { to: /what is asked/, say } is typed when its question has come. What was on
// the terminal is in `shown`: { status, shown }.
export async function atTerminal(world, words, answers, { timeout = 30_000 } = {}) {
  const line = [dpopBinary, ...words].map(quoted).join(' ');
  const child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
    env: { PATH: process.env.PATH, TERM: 'dumb', ...world.environment }, stdio: ['pipe', 'pipe', 'inherit'],
  });
  const waiting = [...answers];
  let shown = '', seen = 0;
  child.stdin.on('error', () => {});
  child.stdout.setEncoding('utf8').on('data', (text) => {
    shown += text;
    while (waiting.length > 0 && waiting[0].to.test(shown.slice(seen))) {
      seen = shown.length;
      child.stdin.write(waiting.shift().say);
    }
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  const status = await new Promise((done) => child.once('close', done)).finally(() => clearTimeout(timer));
  return { status, shown: shown.replaceAll('\r\n', '\n') };
}

async function writeProgram(world, name, lines) {
  const path = join(world.dir, name);
  await writeFile(path, `#!/bin/sh\n${lines.join('\n')}\n`);
  await chmod(path, 0o700);
  return path;
}

// An askpass program that notes its arguments in the file NAME.told, does `first`, and prints the secret.
export const makeAskpass = (world, name, secret, first = ':') =>
  writeProgram(world, name,
    [`printf '%s\\n' "$@" >> '${join(world.dir, name)}.told'`, first, `printf '%s\\n' ${quoted(secret)}`]);

// A pinentry program: notes what it is told, and gives the secret percent-encoded.
export const makePinentry = (world, name, secret) => writeProgram(world, name, [
  'echo "OK Pleased to meet you"',
  'while read -r line; do',
  `  printf '%s\\n' "$line" >> '${join(world.dir, name)}.told'`,
  '  case $line in',
  `    GETPIN) printf 'D %s\\nOK\\n' '${[...Buffer.from(secret)].map((byte) => `%${byte.toString(16).padStart(2, '0')
    .toUpperCase()}`).join('')}' ;;`,
  '    BYE) echo OK; exit ;;',
  '    *) echo OK ;;',
  '  esac',
  'done',
]);
