// dpop unlock and lock with the whole agent: where a PIN may come from, how long it is good, and where it never is.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeShim, processes, searchMemory, useShim } from '../fault/fault.mjs';
import { atTerminal, makeAskpass, makePinentry } from './terminal.mjs';
import { dpopBinary, makeWorld, showLogOnFailure, until } from './world.mjs';
import { verifyProof } from './verify-proof.mjs';

const target = { htm: 'GET', htu: 'https://api.invalid/' };
let world, shim, pin, pinFile;
showLogOnFailure(() => world);

// A key with a PIN that no file has: init's own, whose file the configuration then no longer names.
before(async () => {
  world = await makeWorld({ servers: false, workers: 2 });
  pinFile = world.pinFile.work;
  pin = (await readFile(pinFile, 'utf8')).trim();
  shim = makeShim(world.dir);
  useShim(world, shim);
  await configurePin(null);
  await state('locked');
});
after(() => world?.stop());

async function configurePin(file) {
  world.keySections['key work']['pin-file'] = file;
  await world.writeConfig();
  await changed(() => world.process.kill('SIGHUP'));
}

// Does something after which another front answers, and connects to that.
async function changed(action) {
  const { front } = await world.pids();
  await action();
  await until('another front answers', async () => (await world.pids()).front !== front);
  world.agent.close();
  world.agent = await until('it takes connections', world.connect);
}

const state = (wanted) => until(`the key is ${wanted}`, async () => {
  const [key] = await world.agent.keys();
  if (key.state !== wanted) throw new Error(`it is ${key.state}: ${key.reason}`);
  return key;
});
const logIns = () => shim.calls('C_Login').length;

async function proofIsGood() {
  const { proof } = await world.agent.proof({ key: 'work', ...target });
  await verifyProof(proof, { ...target, jwk: world.jwk.work });
}
const proofIsRefused = () =>
  assert.rejects(world.agent.proof({ key: 'work', ...target }), { name: 'key-locked', retryable: false });

async function succeeds(...args) {
  const { status, stdout, stderr } = await world.dpop(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}
async function fails(...args) {
  const { status, stderr } = await world.dpop(...args);
  assert.equal(status, 4, stderr);
  return stderr;
}
const lock = () => succeeds('lock', 'work');
const unlock = (secret = pin) => succeeds('unlock', 'work', '--pin-file', '-', { stdin: `${secret}\n` });

// Kills every process of the agent but the supervisor, one after the other, and waits until each is there again.
async function killEverything() {
  for (const { role, name } of processes(world.process.pid).slice(1)) {
    const { pid } = processes(world.process.pid).find((p) => p.role === role && p.name === name);
    process.kill(pid, 'SIGKILL');
    await until(`${role} is there again`, () =>
      processes(world.process.pid).some((p) => p.role === role && p.name === name && p.pid !== pid));
    world.agent.close();
    world.agent = await until('the agent answers', world.connect);
    // None is killed while it logs in: SoftHSM 2.6.1 writes the token's file in place then, and would lose it.
    await until('its processes serve', async () => {
      const { processes: all, keys } = await world.agent.status();
      return all.every((p) => p.state === 'ready' || (p.name.startsWith('key') && keys[0].state === 'locked'));
    });
  }
}

test('a key without a PIN is locked, and status, callers and the list are told what to do', async () => {
  const key = await state('locked');
  assert.match(key.next, /dpop unlock/);
  await assert.rejects(world.agent.proof({ key: 'work', ...target }), (error) =>
    error.name === 'key-locked' && /dpop unlock/.test(error.next));
  assert.match(await succeeds('status'), /^key {12}work: locked\n {17}reason: .*\n {17}next: .*dpop unlock/m);
  assert.match(await succeeds('key', 'list'), /^work +locked [\s\S]*^ {2}next: .*dpop unlock/m);
});

describe('dpop unlock', () => {
  const ways = {
    'a file': () => succeeds('unlock', 'work', '--pin-file', pinFile),
    'standard input': () => unlock(),
    'an askpass program': async () => {
      const out = await succeeds('unlock', 'work', '--askpass', await makeAskpass(world, 'askpass', pin));
      assert.match(await readFile(join(world.dir, 'askpass.told'), 'utf8'), /^Key "work" [\s\S]*\nPIN: \n$/);
      return out;
    },
    '$DPOP_ASKPASS': async () =>
      succeeds('unlock', { env: { DPOP_ASKPASS: await makeAskpass(world, 'environment', pin) } }),
    'a pinentry program': async () => {
      const out = await succeeds('unlock', 'work', '--pinentry', await makePinentry(world, 'pinentry', pin));
      assert.match(await readFile(join(world.dir, 'pinentry.told'), 'utf8'),
        /^SETDESC Key "work" .*\nSETPROMPT PIN:\nGETPIN\nBYE$/m);
      return out;
    },
    'the terminal': async () => {
      const { status, shown } = await atTerminal(world, ['unlock', 'work'], [{ to: /PIN: /, say: `${pin}\n` }]);
      assert.equal(status, 0, shown);
      assert.ok(!shown.includes(pin), 'the PIN is not shown');
      return shown;
    },
  };
  for (const [name, way] of Object.entries(ways)) {
    test(`takes the PIN from ${name}; lock then refuses proofs`, async () => {
      assert.match(await way(), /unlocked +token dpop-agent-work; keys: work\n/);
      await proofIsGood();
      assert.match(await lock(), /^locked +token dpop-agent-work; keys: work\n$/);
      await proofIsRefused();
      assert.match((await state('locked')).reason, /lock/);
    });
  }

  test('without terminal, program or file says what it needs, and a program that fails says how', async () => {
    assert.match(await fails('unlock', 'work'), /no terminal to ask for the PIN[\s\S]*next: use --askpass/);
    assert.match(await fails('unlock', 'work', '--askpass', '/bin/false'), /\/bin\/false ended with exit status 1/);
    assert.match(await fails('unlock', 'work', '--timeout', '1', '--askpass',
      await makeAskpass(world, 'slow', pin, 'exec sleep 60')), /gave no answer in time/);
  });

  test('shows a wrong PIN to the token once: not again when it is given again, nor after a restart', async () => {
    const before = logIns();
    const wrong = `${pin.slice(0, -1)}${pin.endsWith('x') ? 'y' : 'x'}`;
    assert.match(await fails('unlock', 'work', '--pin-file', '-', { stdin: wrong }), /PIN/);
    assert.equal(logIns(), before + 1);
    await fails('unlock', 'work', '--pin-file', '-', { stdin: wrong });
    assert.equal(logIns(), before + 1);
    world.agent.close();
    await world.process.stop();
    await world.start();
    world.agent = await until('the agent answers', world.connect);
    await state('locked');
    await fails('unlock', 'work', '--pin-file', '-', { stdin: wrong });
    assert.equal(logIns(), before + 1);
    await proofIsRefused();
    await unlock();
    await proofIsGood();
  });

  test('lasts over kill -9 of every process, one after the other, and a reload: '
    + 'the PIN is not asked for again', async () => {
    await proofIsGood();
    await killEverything();
    await state('ready');
    await proofIsGood();
    await changed(() => world.process.kill('SIGHUP'));
    await state('ready');
    await proofIsGood();
    await lock();
  });
});

describe('dpop lock', () => {
  test('lasts over kill -9 of every process and a reload, also where the configuration names a PIN; '
    + 'unlock ends it', async () => {
    await configurePin(pinFile);
    await unlock();
    await proofIsGood();
    await lock();
    await state('locked');
    const before = logIns();
    await killEverything();
    await proofIsRefused();
    await changed(() => world.process.kill('SIGHUP'));
    await state('locked');
    await proofIsRefused();
    assert.equal(logIns(), before, 'no PIN was shown to the token');
    await unlock();
    await proofIsGood();
    await configurePin(null);
  });
});

// Last, as it stops processes.
test('a PIN given with unlock is in the memory of key processes alone, and in no argument, '
  + 'environment or log', async () => {
  await state('ready').catch(() => unlock());
  await lock();
  const { front } = await world.pids();
  // While the command waits for the agent: it has the PIN no more, it is in the pipe.
  const askpass = await makeAskpass(world, 'stopping', pin, `kill -STOP ${front}`);
  const unlocking = world.dpop('unlock', 'work', '--askpass', askpass);
  const command = await until('the command waits for the agent', () => {
    const stopped = readFileSync(`/proc/${front}/status`, 'utf8').includes('State:\tT');
    const [found] = stopped ? commandPids() : [];
    return found;
  });
  await until('the secret is in the pipe', () => searchMemory(command, { pin }).length === 0);
  for (const file of ['cmdline', 'environ']) assert.ok(!readFileSync(`/proc/${command}/${file}`).includes(pin), file);
  process.kill(front, 'SIGCONT');
  const { status, stdout, stderr } = await unlocking;
  assert.equal(status, 0, stderr);
  assert.ok(!`${stdout}${stderr}`.includes(pin));
  await proofIsGood();
  await killEverything();
  await state('ready');
  await changed(() => world.process.kill('SIGHUP'));
  await state('ready');
  await proofIsGood();
  for (const { pid, role } of processes(world.process.pid)) {
    for (const file of ['cmdline', 'environ'])
      assert.ok(!readFileSync(`/proc/${pid}/${file}`).includes(pin), `${role}: ${file}`);
    if (role !== 'key') assert.deepEqual(searchMemory(pid, { pin }), [], role);
  }
  assert.ok(!(await world.log()).includes(pin));
});

function commandPids() {
  return readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8').trim().split(' ').map(Number)
    .filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      .startsWith(dpopBinary) && !readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim());
}
