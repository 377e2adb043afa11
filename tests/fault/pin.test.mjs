// PINs, tokens and modules that fail (issue 2, acceptance 6). Between the key processes and SoftHSM stands the shim,
// which counts and misbehaves.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, readFile, readdir, rename, rm, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { full, makeWorld, showLogOnFailure, until } from '../flow/world.mjs';
import { checkProof, makeShim, ofRole, outcome, shimLibrary, sleep } from './fault.mjs';

const WORKERS = 4;
const RECOVERY = 2000; // milliseconds
const QUIET = full ? 2000 : 700; //    long enough for a second log-in to happen if it were to
const target = { htm: 'GET', htu: 'https://api.invalid/' };

let world, shim, pin, tokens;

before(async () => {
  world = await makeWorld({ servers: false, workers: WORKERS });
  shim = makeShim(world.dir);
  const section = world.keySections['key work'];
  const softhsm = section.environment;
  Object.assign(section, {
    uri: section.uri.replace(/module-path=[^&]*/, `module-path=${shimLibrary}`),
    environment: [softhsm, ...shim.environment],
    'sign-timeout': 1,
  });
  pin = await readFile(world.pinFile.work, 'utf8');
  const conf = await readFile(softhsm.split('=')[1], 'utf8');
  tokens = /^directories\.tokendir *= *(.*)$/m.exec(conf)[1];
  await world.configure();
});
after(() => world?.stop());
showLogOnFailure(() => world);

const logIns = () => shim.calls('C_Login').length;
const writePin = (text) => world.writeSecret(world.pinFile.work, text);
const keyState = async (name = 'work') => (await world.agent.keys()).find((key) => key.name === name);
const proof = (options = {}) => world.agent.proof({ key: 'work', ...target, ...options });
const keyPids = () => ofRole(world.process.pid, 'key').map(({ pid }) => pid);

async function goodProof(options) {
  const answer = await proof(options);
  await checkProof(answer.proof, { ...target, jkt: world.jkt.work });
}

async function waitForState(state, options) {
  return until(`the key is ${state}`, async () => {
    const key = await keyState();
    if (key.state !== state) throw new Error(`it is ${key.state}: ${key.reason}`);
    return key;
  }, options);
}

async function restart() {
  world.agent.close();
  await world.process.stop();
  await world.start();
  world.agent = await until('the agent answers', world.connect);
}

// All workers are there, so that none logs in later.
const allReady = () => until('all workers are ready', async () => {
  const { processes } = await world.agent.status();
  const keys = processes.filter(({ name }) => name.startsWith('key '));
  return keys.length > 0 && keys.every(({ state }) => state === 'ready');
});

async function staysAt(count, why) {
  await sleep(QUIET);
  assert.equal(logIns(), count, why);
}

async function startWith(text) {
  await world.process.stop();
  await writePin(text);
  world.agent.close();
  await world.start();
  world.agent = await until('the agent answers', world.connect);
}

async function backToGood() {
  shim.behave();
  await writePin(pin);
  await waitForState('ready');
  await allReady();
}

// ---- PINs ---------------------------------------------------------------------------------------------------------

test('a wrong PIN is tried once, with four workers, restarts, '
  + 'kills and an unchanged PIN in a rewritten file', async () => {
  await allReady();
  const before = logIns();
  await startWith('wrong-1');
  const { reason, next } = await waitForState('locked');
  assert.equal(logIns(), before + 1, 'the log-ins of four workers');
  assert.match(reason, /refused/);
  assert.ok(next.includes(world.pinFile.work), next);
  await assert.rejects(proof(), (error) => error.name === 'key-locked' && error.message.includes('PIN') &&
    error.next.includes(world.pinFile.work) && !error.message.includes('wrong-1'));
  await staysAt(before + 1, 'while it waits');
  for (let i = 1; i <= 3; i += 1) {
    await restart();
    await waitForState('locked');
    await staysAt(before + 1, `after restart ${i}`);
  }
  for (const role of ['store', 'key', 'net', 'front']) {
    for (const { pid } of ofRole(world.process.pid, role)) process.kill(pid, 'SIGKILL');
    await sleep(200);
    world.agent.close();
    world.agent = await until('the agent answers', world.connect);
    await waitForState('locked');
    await staysAt(before + 1, `after kill -9 of ${role}`);
  }
  await utimes(world.pinFile.work, new Date(), new Date());
  await staysAt(before + 1, 'after the file was touched');
  await writePin('wrong-1\n');
  await staysAt(before + 1, 'after the file was written anew with the same PIN');
  await waitForState('locked');

  await writePin(pin);
  await waitForState('ready', { timeout: RECOVERY });
  await goodProof();
  await allReady();
  assert.equal(logIns(), before + 1 + WORKERS, 'one log-in for each worker with the right PIN');
});

test('two keys on one token try a wrong PIN once between them', async () => {
  const second = { ...world.keySections['key work'] };
  await world.writeConfig({ sections: { 'key second': second } });
  const before = logIns();
  await startWith('wrong-2');
  await waitForState('locked');
  await until('the other is locked too', async () => (await keyState('second')).state === 'locked');
  await staysAt(before + 1);
  await backToGood();
  assert.equal(logIns(), before + 1 + 2 * WORKERS);
  await world.configure();
});

test('a wrong PIN whose refusal nobody heard, since the process was killed in C_Login, '
  + 'is not tried again', async () => {
  await allReady();
  const before = logIns();
  shim.command('C_Login hold once');
  await startWith('wrong-3');
  await until('the token has judged the PIN', () => logIns() === before + 1);
  process.kill(shim.calls('C_Login').at(-1).pid, 'SIGKILL');
  const { next } = await waitForState('locked');
  assert.ok(next.includes(world.pinFile.work), next);
  await staysAt(before + 1);
  await restart();
  await waitForState('locked');
  await staysAt(before + 1, 'after a restart');
  await backToGood();
  await goodProof();
});

test('a PIN that was accepted is used again when the process was killed in C_Login', async () => {
  await rm(join(world.dir, 'shim.control.C_Login.once'), { force: true });
  shim.command('C_Login hang once');
  await restart(); // the PIN file is the one that was accepted
  await until('a process hangs in C_Login', () => existsSync(join(world.dir, 'shim.control.C_Login.once')));
  for (const pid of keyPids()) process.kill(pid, 'SIGKILL');
  await waitForState('ready');
  await goodProof();
  await backToGood();
});

// ---- tokens -------------------------------------------------------------------------------------------------------

async function takeAwayAndBack(folder, check) {
  await goodProof();
  const elsewhere = join(world.dir, 'away'); // not beside it, where SoftHSM would find it
  await rename(folder, elsewhere);
  const away = performance.now();
  try {
    while (performance.now() < away + 1500) {
      const { value, error } = await outcome(proof({ timeout: 5000 }));
      if (value) await checkProof(value.proof, { ...target, jkt: world.jkt.work }); // SoftHSM may sign from its memory
      else check(error, performance.now() - away);
      await sleep(10);
    }
    check((await outcome(proof())).error, Infinity);
  } finally {
    await rename(elsewhere, folder);
  }
  const back = performance.now();
  await until('the key works again', () => goodProof().then(() => true), { timeout: RECOVERY });
  console.log(`# the key worked ${(performance.now() - back).toFixed(0)} ms after its return`);
  assert.equal(world.process.isRunning(), true);
  await allReady();
}

test('a token that is taken away is key-absent, and works within 2 s of its return, without a restart', async () => {
  await allReady();
  const [token] = await readdir(tokens);
  for (let i = 0; i < 3; i += 1) {
    await takeAwayAndBack(join(tokens, token), (error, ms) => {
      assert.match(error.name, ms < 500 ? /^(key-absent|key-failed)$/ : /^key-absent$/,
        `${error.message} after ${ms} ms`);
      assert.ok(ms < 500 || error.next, 'it says what to do next');
    });
  }
});

test('a module whose whole folder is taken away gives typed errors, and works within 2 s of its return', async () => {
  await takeAwayAndBack(tokens, (error) => assert.match(error.name, /^key-(absent|failed)$/));
});

test('another key behind the same label is key-wrong, and the right one is used again when it is back', async () => {
  const other = await makeWorld({ servers: false });
  try {
    const conf = await readFile(other.keySections['key work'].environment.split('=')[1], 'utf8');
    await rename(tokens, `${tokens}.away`);
    try {
      await cp(/^directories\.tokendir *= *(.*)$/m.exec(conf)[1], tokens, { recursive: true });
      await writePin(await readFile(other.pinFile.work, 'utf8'));
      const { error } = await until('the key is refused', async () => {
        const ended = await outcome(proof());
        return ended.error?.name === 'key-wrong' && ended;
      });
      assert.ok(error.message.includes(world.jkt.work) && error.message.includes(other.jkt.work), error.message);
      assert.equal((await keyState()).state, 'wrong key');
    } finally {
      await rm(tokens, { recursive: true, force: true });
      await rename(`${tokens}.away`, tokens);
    }
    await backToGood();
    await goodProof();
  } finally {
    await other.stop();
  }
});

test('a thumbprint in the configuration that is not the key\'s is key-wrong', async () => {
  const another = `${world.jkt.work.slice(1)}A`;
  await world.writeConfig({ sections: { 'key work': { thumbprint: another } } });
  await restart();
  await waitForState('wrong key');
  await assert.rejects(proof(), { name: 'key-wrong' });
  await world.configure();
  await goodProof();
});

// ---- modules ------------------------------------------------------------------------------------------------------

const starts = async () => {
  const { processes } = await world.agent.status();
  return processes.filter(({ name }) => name.startsWith('key ')).reduce((sum, process) => sum + process.starts, 0);
};

test('a worker that hangs in C_Sign is killed after sign-timeout, its caller is served, '
  + 'and the others do not notice', async () => {
  await allReady();
  const before = await starts();
  shim.command('C_Sign hang once');
  const answers = await Promise.all(Array.from({ length: 40 }, () => outcome(goodProof({ timeout: 10_000 }))));
  for (const { error } of answers) assert.ifError(error);
  const slow = answers.filter(({ ms }) => ms > 900);
  assert.ok(slow.length >= 1 && slow.length <= 10, `${slow.length} callers waited for the worker that hung`);
  assert.ok(slow.every(({ ms }) => ms < 1000 + 800), slow.map(({ ms }) => ms).join(' '));
  shim.behave();
  await allReady();
  assert.equal(await starts(), before + 1);
});

test('when every C_Sign hangs, callers are told in time and nobody else waits', async () => {
  shim.command('C_Sign hang after 1'); // the signature at opening is good
  const callers = Array.from({ length: 20 }, () => outcome(proof({ timeout: 700 })));
  for (let i = 0; i < 20; i += 1) assert.ok((await outcome(world.agent.status())).ms < 500);
  for (const { error, ms } of await Promise.all(callers)) {
    assert.equal(error.name, 'timeout');
    assert.ok(ms < 1000, `told after ${ms} ms`);
  }
  shim.behave();
  await until('the key works again', () => goodProof().then(() => true));
  await sleep(1200); // the last that hangs is killed
  await allReady();
});

test('a crash in C_Sign costs no caller its proof', async () => {
  await rm(join(world.dir, 'shim.control.C_Sign.once'), { force: true });
  const before = await starts();
  shim.command('C_Sign crash once');
  await Promise.all(Array.from({ length: 40 }, () => goodProof()));
  shim.behave();
  await allReady();
  assert.equal(await starts(), before + 1);
});

test('a module whose first signature is wrong never signs for anybody, and is used once it is right', async () => {
  shim.command('C_Sign flip');
  await restart();
  const { reason } = await waitForState('failed');
  assert.match(reason, /does not verify/);
  for (let i = 0; i < 20; i += 1) await assert.rejects(proof(), { name: 'key-failed' });
  shim.behave();
  await waitForState('ready');
  await goodProof();
});

test('signatures that are short or zero are never released', async () => {
  for (const wrong of ['short', 'zero', 'fail 0x30']) {
    await allReady();
    shim.command(`C_Sign ${wrong} after 1`);
    for (let i = 0; i < 3; i += 1) await assert.rejects(proof({ timeout: 3000 }), (error) =>
      ['key-failed', 'timeout', 'restarted'].includes(error.name) || assert.fail(error));
    shim.behave();
    await until('the key works again', () => goodProof().then(() => true));
  }
});
