// PINs of a TPM, which counts wrong ones for everybody on the machine, tells nothing about it through PKCS#11, and
// locks itself after a few: a wrong PIN costs one try, whatever happens; a TPM in lock-out is waited for; and a disk
// that was copied to another TPM opens nothing there.

import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { readFile, rename, utimes } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { addClient, logIn } from '../flow/login-steps.mjs';
import { makeTpm } from '../flow/tpm.mjs';
import { makeWorld, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { connect } from '../flow/wire.mjs';
import { checkProof, ofRole, outcome, sleep } from './fault.mjs';

const WORKERS = 3;
const PATIENCE = 60_000; // milliseconds: six workers log in one after another
const QUIET = 1000; //     long enough for a second log-in to happen if it were to
const target = { htm: 'GET', htu: 'https://api.invalid/' };

let tpm, world, pin;

before(async () => {
  tpm = await makeTpm();
  world = await makeWorld({
    ...tpm.forWorld, profiles: { person: { client: 'app', grant: 'authorization_code' } }, workers: WORKERS,
    // for the client that the profile names
    key: { origins: 'https://api.invalid' }, asOptions: { refreshTokens: 'always' }, wait: false,
  });
  await addClient(world, 'app', 'none');
  pin = await readFile(world.pinFile.work, 'utf8');
  await world.configure({ sections: { 'key second': world.keySections['key work'] } });
});
after(async () => {
  try {
    await world?.stop();
  } finally {
    await tpm?.stop();
  }
});
showLogOnFailure(() => world);

// In one step: a process that looks for the PIN in between would find an empty file.
async function writePin(text) {
  await world.writeSecret(`${world.pinFile.work}.new`, text);
  await rename(`${world.pinFile.work}.new`, world.pinFile.work);
}
const keys = () => world.agent.keys();
const reconnect = async () => {
  world.agent.close();
  world.agent = await until('the agent answers', world.connect);
};

async function restart({ between = async () => {} } = {}) {
  world.agent.close();
  await world.process.stop();
  await between();
  await world.start();
  await reconnect();
}

// Restarts the agent and waits until every process of every key is logged in.
async function restartAll() {
  await until('no log-in is under way', async () =>
    (await world.agent.status()).processes.every(({ name, state }) => !name.startsWith('key') || state === 'ready'),
  { timeout: PATIENCE });
  const readies = async () => (await world.process.log()).split(' is ready: token ').length - 1;
  const before = await readies();
  await restart();
  await until('all are logged in', async () => await readies() >= before + 2 * WORKERS, { timeout: PATIENCE });
}

// All keys are in this state: the first of them.
const allAre = (state) => until(`the keys are ${state}`, async () => {
  const all = await keys().catch(async (error) => {
    await reconnect();
    throw error;
  });
  for (const key of all) assert.equal(key.state, state, `${key.name}: ${key.reason}`);
  return all[0];
}, { timeout: PATIENCE });

async function goodProof(key = 'work') {
  const { proof } = await world.agent.proof({ key, ...target });
  await checkProof(proof, { ...target, jkt: world.jkt.work });
}

async function backToGood() {
  await tpm.setLockoutLimits(3);
  await tpm.clearLockout();
  await writePin(pin);
  await allAre('ready');
  await goodProof();
}

// ---- wrong PINs ---------------------------------------------------------------------------------------------------

const disturbances = [
  () => restart(),
  () => world.process.kill('SIGHUP'),
  ...['key', 'front', 'store'].map((role) => () =>
    ofRole(world.process.pid, role).forEach(({ pid }) => process.kill(pid, 'SIGKILL'))),
  () => utimes(world.pinFile.work, new Date(), new Date()),
  () => writePin('wrong-1\n'),
];

test('a thousand requests with a wrong PIN, two keys of three workers, '
  + 'restarts and kills raise the TPM\'s counter by one', async (t) => {
  const requests = sized(t, 'requests', 1000, 100);
  await backToGood();
  assert.equal(await tpm.lockoutCounter(), 0);
  await restart({ between: () => writePin('wrong-1') });
  const { reason, next } = await allAre('locked');
  assert.ok(/refused/.test(reason) && next.includes(world.pinFile.work), `${reason}; ${next}`);
  assert.equal(await tpm.lockoutCounter(), 1);
  const each = Math.ceil(requests / disturbances.length / 2);
  let refused = 0;
  for (let i = 0; refused < requests; i += 1) {
    const client = await until('the agent answers', () => connect(world.socket));
    const ask = (_, n) => outcome(client.proof({ key: n % 2 ? 'work' : 'second', ...target }));
    const answers = await Promise.all(Array.from({ length: each }, ask));
    client.close();
    for (const { error } of answers) {
      assert.ok(error, 'a wrong PIN signs nothing');
      if (error.name === 'key-locked') refused += 1;
      else assert.match(error.name, /^(restarted|Error)$/, error.message); // the process that was asked had been killed
    }
    await disturbances[i % disturbances.length]();
    await sleep(100);
  }
  await reconnect();
  await allAre('locked');
  await sleep(QUIET);
  assert.equal(await tpm.lockoutCounter(), 1, `after ${refused} requests that were refused`);
  await writePin(pin);
  await allAre('ready');
  await goodProof();
  await goodProof('second');
  assert.equal(await tpm.lockoutCounter(), 1);
});

// Resolves when the store has written down that a PIN is being tried: C_Login is next.
function logInBegins() {
  const ended = new AbortController();
  return new Promise((done) => {
    watch(world.stateFolder, { signal: ended.signal }, (event, name) => {
      if (name !== 'pins') return;
      ended.abort();
      done();
    });
  });
}

test('a wrong PIN whose log-in was cut off by kill -9 costs one try at most', async (t) => {
  await backToGood();
  await tpm.setLockoutLimits(100);
  const rounds = sized(t, 'log-ins cut off', 50, 5);
  let uncounted = 0;
  for (let i = 0; i < rounds; i += 1) {
    await tpm.clearLockout();
    await world.process.stop();
    await writePin(`cut-off-${i}`);
    const begins = logInBegins();
    world.agent.close();
    await world.start();
    await begins;
    await sleep(10 + Math.random() * 120);
    for (const { pid } of ofRole(world.process.pid, 'key')) process.kill(pid, 'SIGKILL');
    uncounted += 1 - await tpm.lockoutCounter();
    await reconnect();
    await allAre('locked');
    await restart();
    await allAre('locked');
    assert.ok(await tpm.lockoutCounter() <= 1, `the PIN was counted ${await tpm.lockoutCounter()} times`);
  }
  t.diagnostic(`${uncounted} of ${rounds} were cut off before the TPM judged the PIN`);
});

// ---- lock-out -----------------------------------------------------------------------------------------------------

test('a TPM that was locked by wrong PINs is said to be, and the right PIN works once the lock-out is '
  + 'over', async () => {
  await backToGood();
  for (let wrong = 1; wrong <= 3; wrong += 1) {
    await writePin(`wrong-${wrong}-of-3`);
    await restart();
    await allAre('locked');
    assert.equal(await tpm.lockoutCounter(), wrong);
  }
  assert.ok(await tpm.inLockout());
  await writePin(pin);
  const { reason, next } = await until('the lock-out is told', async () => {
    const key = await allAre('locked');
    assert.match(key.reason, /lock/i);
    return key;
  });
  assert.ok(next, `${reason}; ${next}`);
  await assert.rejects(goodProof(), (error) => error.name === 'key-locked' && error.next !== undefined);
  await restart();
  await allAre('locked');
  await tpm.clearLockout();
  await utimes(world.pinFile.work, new Date(), new Date());
  await allAre('ready');
  await goodProof();
  assert.equal(await tpm.lockoutCounter(), 0, 'the PIN was right, and nothing was counted');
});

test('a TPM that somebody else locks while the key works: key-locked with its reason, '
  + 'and working again when it is cleared', async () => {
  await backToGood();
  await goodProof();
  await tpm.failAuthorization();
  await tpm.setLockoutLimits(1);
  assert.ok(await tpm.inLockout());
  const { error } = await until('the lock-out is told', async () => {
    const ended = await outcome(goodProof());
    assert.ok(ended.error, 'a TPM in lock-out signs nothing');
    assert.match(ended.error.name, /^(key-locked|key-failed|restarted)$/, ended.error.message);
    return ended.error.name === 'key-locked' && ended;
  });
  assert.ok(/lock/i.test(error.message) && error.next, `${error.message}; ${error.next}`);
  assert.equal(await tpm.lockoutCounter(), 1, 'the agent\'s own log-ins are not counted');
  await tpm.clearLockout();
  await tpm.setLockoutLimits(3);
  await utimes(world.pinFile.work, new Date(), new Date());
  await until('it signs', () => goodProof().then(() => true));
  await allAre('ready');
  assert.equal(await tpm.lockoutCounter(), 0);
});

// ---- a copied disk ------------------------------------------------------------------------------------------------

for (const [what, used] of [['one that is new', false], ['one that had a token before', true]]) {
  test(`token store, PIN file and login records, copied to another TPM, ${what}, open nothing, `
    + `and do not lock it`, async (t) => {
    await backToGood();
    const { result } = await logIn(world, 'person');
    assert.ok(result.refresh && result.persisted);
    await restartAll(); // so that no log-in is cut off by the next one
    await restart({ between: () => tpm.swapTpm({ used }) });
    try {
      for (let i = 0; i < 12; i += 1) {
        await sleep(500);
        if (i === 6 || i === 9) await restart();
        const { error } = await outcome(goodProof());
        assert.ok(error, 'another TPM signs nothing');
        assert.match(error.name, /^(key-absent|key-failed|key-locked|restarted)$/, error.message);
        const token = await outcome(world.agent.token('person'));
        assert.ok(token.error, 'no login record opens');
      }
      for (const { name, state, reason, next } of await keys())
        assert.ok(state !== 'ready' && reason && next, `${name} is ${state}: ${reason}; ${next}`);
      const { login } = (await world.agent.profiles()).find(({ name }) => name === 'person');
      assert.notEqual(login, 'logged in');
      assert.equal(await tpm.inLockout(), false);
      const counted = await tpm.lockoutCounter();
      t.diagnostic(`the other TPM has counted ${counted} wrong PINs`);
      assert.ok(used ? counted > 0 && counted <= 2 : counted === 0, 'two tries, whatever is restarted');
    } finally {
      await restart({ between: tpm.swapBack });
    }
    const { reason, next } = await allAre('locked'); // for a person to say that it is the right TPM again
    const step = /dpop unlock.*write the PIN file again/;
    assert.ok(/not sent again/.test(reason) && step.test(next), `${reason}; ${next}`);
    await utimes(world.pinFile.work, new Date(), new Date());
    await allAre('ready');
    await goodProof();
    await until('the login record opens where it was made', () => world.agent.token('person'));
  });
}
