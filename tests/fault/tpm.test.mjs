// The agent with a TPM: swtpm behind tpm2-abrmd and tpm2-pkcs11, made by the operation init. Proofs and tokens as with
// SoftHSM, and what TPMs do to programs: they are reset, stop answering, and their broker goes away. PINs are in
// tpm-pin.test.mjs.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { athOf, verifyProof } from '../flow/verify-proof.mjs';
import { addClient, logIn, useToken } from '../flow/login-steps.mjs';
import { requestResource } from '../flow/resource-request.mjs';
import { makeTpm } from '../flow/tpm.mjs';
import { jose, makeWorld, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { connect } from '../flow/wire.mjs';
import { authentications } from '../servers/clients.mjs';
import { checkProof, ofRole, outcome, sleep } from './fault.mjs';
import { everythingWorks, makeKinds, startLoad, stopwatch, tally, underLoad } from './load.mjs';

const RECOVERY = 2000; // milliseconds
const AWAY = /^(key-absent|key-failed|restarted)$/;
const target = { htm: 'GET', htu: 'https://api.invalid/' };
const profiles = { basic: {}, post: {}, jwt: {}, offline: { key: 'work', origins: 'https://api.invalid' } };

let tpm, world, kinds;

before(async () => {
  tpm = await makeTpm();
  await tpm.raiseLockoutLimits(); // a TPM counts a power failure like a wrong PIN
  world = await makeWorld({ ...tpm.forWorld, profiles, asOptions: { mtls: {} } });
  kinds = await makeKinds(world);
});
after(async () => {
  try {
    await world?.stop();
  } finally {
    await tpm?.stop();
  }
});
showLogOnFailure(() => world);

async function goodProof(options) {
  const { proof } = await world.agent.proof({ profile: 'offline', ...target, ...options });
  await checkProof(proof, { ...target, jkt: world.jkt.work });
}

const theKey = async () => (await world.agent.keys()).find(({ name }) => name === 'work');

// The first good proof is there within RECOVERY of now, but for what a busy machine takes.
async function worksAgain(t, what) {
  const back = stopwatch();
  let failure;
  do {
    failure = await goodProof().then(() => null, (error) => error);
    assert.ok(back.owed() < RECOVERY,
      `${failure?.message ?? 'a proof came'} ${back.elapsed().toFixed(0)} ms after ${what}`);
    if (failure) await sleep(10);
  } while (failure);
  t.diagnostic(`the first proof came ${back.elapsed().toFixed(0)} ms after ${what}`);
}

describe('a key in a TPM', () => {
  test('is private, sensitive, never extractable and for signing only, and the status names the TPM', async () => {
    const { state, token, model, imported } = await theKey();
    assert.deepEqual([state, token, model.replace(/ +/, ' '), imported], ['ready', 'dpop-agent-work', 'SW TPM', false]);
    const { status, stdout } = await world.dpop('key', 'show', 'work', '--json');
    assert.equal(status, 0);
    const { attributes } = JSON.parse(stdout);
    for (const name of ['private', 'sensitive', 'never-extractable', 'sign', 'local'])
      assert.ok(JSON.stringify(attributes).includes(name), `${name} in ${JSON.stringify(attributes)}`);
  });

  test('signs proofs that verify in jose every time, each with a jti of its own', async (t) => {
    const count = sized(t, 'proofs', 10_000, 200);
    const jtis = new Set();
    const token = 'an.opaque~access_token';
    for (let begin = 0; begin < count; begin += 50) {
      await Promise.all(Array.from({ length: Math.min(50, count - begin) }, async (_, i) => {
        const nonce = i % 2 ? `nonce-${begin + i}` : undefined;
        const access_token = i % 3 ? token : undefined;
        const url = `https://api.invalid/${begin + i}`;
        const { proof, htu, jkt } = await world.agent.proof({ profile: 'offline', htm: 'POST', htu: `${url}?q`, nonce,
          access_token });
        assert.deepEqual([htu, jkt], [url, world.jkt.work]);
        jtis.add((await verifyProof(proof,
          { jwk: world.jwk.work, htm: 'POST', htu, nonce, ath: access_token && athOf(token) })).jti);
      }));
    }
    assert.equal(jtis.size, count);
  });

  for (const authentication of authentications) {
    test(`gets a token bound to it by ${authentication}, nonces required, and a 200 with it`, async () => {
      await addClient(world, authentication, authentication);
      const grant = authentication === 'none' ? 'authorization_code' : 'client_credentials';
      await world.configure({ profiles: { ...profiles, here: { client: authentication, grant } } });
      const seen = world.as.tokenRequests().length;
      if (grant === 'authorization_code') await logIn(world, 'here');
      const token = await world.agent.token('here');
      assert.deepEqual([token.token_type, token.jkt, jose.decodeJwt(token.access_token).cnf.jkt],
        ['DPoP', world.jkt.work, world.jkt.work]);
      const sent = world.as.tokenRequests().slice(seen);
      assert.ok(sent.length > 0 && sent.filter(({ status }) => status === 200).every(({ nonce }) => nonce));
      const { status, body } = await useToken(world, 'here', token.access_token);
      assert.deepEqual([status, body.jkt, body.client_id], [200, world.jkt.work, authentication]);
      const whole = await requestResource(world, { profile: 'here' });
      assert.deepEqual([whole.status, whole.verdict], [200, 'done']);
      await world.configure();
    });
  }
});

// ---- kill -9 ------------------------------------------------------------------------------------------------------

const gone = (error) =>
  error.name === 'Error' && /closed|ECONNRESET|EPIPE|ECONNREFUSED/.test(`${error.message} ${error.code}`);

// Which failures may callers meet that were in flight when a process of this role was killed?
const mayFail = {
  front: ({ error }) => gone(error),
  key: ({ error }) => error.name === 'restarted',
  net: ({ kind, error }) => kind === 'uncached' && error.name === 'restarted',
  store: () => false,
};

for (const role of Object.keys(mayFail)) {
  test(`kill -9 of the ${role} process under load: no wrong answer, typed errors in flight only, `
    + `and all is well 2 s later`, async (t) => {
    const rounds = sized(t, `times ${role} is killed`, 50, 2);
    await everythingWorks(world, kinds, 'before');
    const load = await underLoad(world, kinds, async (running) => {
      for (let round = 0; round < rounds; round += 1) {
        const before = running.failures.length;
        await sleep(50 + Math.random() * 200);
        const killed = performance.now();
        for (const { pid } of ofRole(world.process.pid, role)) process.kill(pid, 'SIGKILL');
        await sleep(RECOVERY);
        await everythingWorks(world, kinds, `after ${role} had been killed`);
        for (const { kind, error, begun, ended } of running.failures.slice(before)) {
          const said =
            `${role} killed, ${(begun - killed).toFixed(0)} ms after it ${kind}: ${error.name}: ${error.message}`;
          assert.ok(mayFail[role]({ kind, error }), said);
          assert.ok(begun < killed + RECOVERY && ended > killed - 50, said);
        }
      }
    });
    t.diagnostic(`${load.answers} answers checked, errors: ${tally(load.failures)}`);
    assert.ok(load.answers > 20 * rounds, `only ${load.answers} answers`);
    world.agent.close();
    await world.ready();
  });
}

test('30 times kill -9 of the key process leak no handle and no session of the TPM, '
  + 'and count as no wrong PIN', async () => {
  await tpm.clearLockout();
  await goodProof();
  const before = await tpm.handles();
  const load = startLoad(world, { proof: kinds.proof }, { callers: 2 });
  try {
    for (let i = 0; i < 30; i += 1) {
      for (const { pid } of ofRole(world.process.pid, 'key')) process.kill(pid, 'SIGKILL');
      await sleep(Math.random() * 300);
    }
  } finally {
    await load.end();
  }
  await until('the key is ready', () => goodProof().then(() => true));
  await until(`the TPM holds what it held: ${JSON.stringify(before)}`, async () => {
    assert.deepEqual(await tpm.handles(), before);
    return true;
  }, { timeout: 5000 });
  assert.equal(await tpm.lockoutCounter(), 0);
  for (const { error } of load.failures) assert.equal(error.name, 'restarted', error.message);
});

// ---- the TPM goes away, and comes back ----------------------------------------------------------------------------

const outages = {
  'swtpm is stopped and started, with its broker': [() => tpm.stopTpm(), () => tpm.startTpm()],
  'swtpm is stopped and started behind a broker that stays': [() => tpm.stopTpm(), () =>
    tpm.startTpm({ broker: 'same' })],
  'swtpm is killed and started': [() => tpm.killTpm(), () => tpm.startTpm()],
  'tpm2-abrmd is stopped and started': [() => tpm.stopAbrmd(), () => tpm.startAbrmd()],
  'tpm2-abrmd is killed and started': [() => tpm.killAbrmd(), () => tpm.startAbrmd()],
};

for (const [what, [leave, comeBack]] of Object.entries(outages)) {
  test(`${what} under load: typed errors meanwhile, and a valid proof within 2 s of its return`, async (t) => {
    await goodProof();
    const supervisor = world.process.pid;
    const [{ pid: front }] = ofRole(supervisor, 'front');
    const load = await underLoad(world, kinds, async (running) => {
      await sleep(200);
      await leave();
      const left = performance.now();
      let error;
      while (performance.now() < left + 2500) {
        ({ error } = await outcome(goodProof({ timeout: 5000 })));
        if (error) assert.match(error.name, AWAY, error.message);
        await sleep(50);
      }
      assert.ok(error?.message, 'while it is away there are no proofs');
      const key = await theKey();
      assert.ok(key.state !== 'ready' && key.reason, `the key is ${key.state}: ${key.reason}`);
      await comeBack();
      await worksAgain(t, 'its return');
      await sleep(RECOVERY);
      const settled = running.failures.length;
      await everythingWorks(world, kinds, `after ${what}`);
      await sleep(500);
      assert.equal(running.failures.length, settled,
        `errors after it is back: ${tally(running.failures.slice(settled))}`);
    });
    for (const { kind, error } of load.failures) {
      assert.match(error.name, AWAY, `${kind}: ${error.message}`);
      assert.ok(error.name === 'restarted' || error.next, `it says what to do next: ${error.message}`);
    }
    t.diagnostic(`${load.answers} answers checked, errors: ${tally(load.failures)}`);
    assert.equal(ofRole(supervisor, 'front')[0].pid, front, 'the agent was not restarted');
    assert.equal((await theKey()).state, 'ready');
  });
}

test('a TPM that goes away while nobody asks for anything is noticed, told as absent, and found again', async (t) => {
  await goodProof();
  for (const [leave, comeBack] of [[tpm.stopTpm, tpm.startTpm], [tpm.stopAbrmd, tpm.startAbrmd]]) {
    await leave();
    const left = performance.now();
    const { reason, next } = await until('the key is absent', async () => {
      const key = await theKey();
      assert.equal(key.state, 'absent', `${key.reason}; ${key.next}`);
      return key;
    }, { timeout: 20_000 });
    t.diagnostic(`noticed after ${(performance.now() - left).toFixed(0)} ms: ${reason}; ${next}`);
    assert.ok(/TPM/.test(reason) && /tpmrm0.*tpm2-abrmd/.test(next), `${reason}; ${next}`);
    await comeBack();
    const back = stopwatch();
    await until('the key is ready', async () => (await theKey()).state === 'ready', { timeout: 20_000 });
    t.diagnostic(`ready ${back.elapsed().toFixed(0)} ms after its return`);
    assert.ok(back.owed() < RECOVERY, `${back.owed().toFixed(0)} ms`);
    await goodProof();
  }
});

test('a TPM that stops answering under load: time-outs by each caller\'s deadline, status meanwhile, '
  + 'a proof within 2 s after', async (t) => {
  await everythingWorks(world, kinds, 'before');
  const load = startLoad(world, kinds, { callers: 2, options: { timeout: 3000 } });
  const late = [];
  try {
    await sleep(300);
    tpm.pauseTpm();
    const paused = performance.now();
    const watcher = await connect(world.socket);
    while (performance.now() < paused + 8000) {
      const [proof, status] = await Promise.all([outcome(goodProof({ timeout: 1000 })), outcome(watcher.status())]);
      assert.ifError(status.error);
      assert.ok(proof.error, 'a TPM that does not run signs nothing');
      assert.match(proof.error.name, /^(timeout|key-absent|key-failed|restarted)$/, proof.error.message);
      late.push({ proof: proof.ms, status: status.ms });
    }
    await watcher.close();
  } finally {
    tpm.resumeTpm();
  }
  await worksAgain(t, 'SIGCONT');
  await load.end();
  for (const { kind, error, begun, ended } of load.failures) {
    assert.match(error.name, /^(timeout|key-absent|key-failed|restarted)$/, `${kind}: ${error.message}`);
    assert.ok(ended - begun < 3000 + 1000,
      `${kind}: ${error.name} after ${(ended - begun).toFixed(0)} ms, with a deadline of 3000`);
  }
  const worst = (name) => Math.max(...late.map((ms) => ms[name])).toFixed(0);
  t.diagnostic(`deadline 1000 ms: the latest answer after ${worst('proof')} ms, `
    + `the latest status after ${worst('status')} ms`);
  t.diagnostic(`errors: ${tally(load.failures)}`);
  assert.ok(worst('proof') < 2000 && load.failures.some(({ error }) => error.name === 'timeout'));
  assert.ok(worst('status') < 1000);
});
