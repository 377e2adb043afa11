// Servers whose clock is ten minutes from ours: the agent learns the difference from the Date of an answer that rejects a
// proof because of its time, within max-clock-skew, and pays for it with one more request. How long a token lives is counted
// by our own clock, whatever the server's says.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { startResourceServer } from '../servers/resource-server.mjs';
import { startShiftedAuthorizationServer } from '../servers/shifted-authorization-server.mjs';
import { addClient, logIn } from './login-steps.mjs';
import { requestResource } from './resource-request.mjs';
import { assertRefused, endOf } from './hostile-server.mjs';
import { bearerOf, startScriptedServer, unsignedJwt } from './scripted-server.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';

const OFF = 600; // seconds
const WINDOW = [25, 15];
const offsets = { 'ten minutes ahead': OFF, 'ten minutes behind': -OFF };

let world;
const shifted = []; // { offset, nonces, as }
let scripted;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ asOptions: { tokenTtl: 3600 } });
  const common = {
    tls: world.authority.tls, secrets: world.secrets, resources: [world.rs.origin], iatWindow: WINDOW, refreshTokens: 'always',
    jwks: { keys: [{ ...world.jwk.work, kid: world.jkt.work }] },
  };
  const kinds = Object.values(offsets).flatMap((clockOffset) => [{ clockOffset, nonces: false }, { clockOffset, nonces: true }]);
  await Promise.all(kinds.map(async ({ clockOffset, nonces }) => {
    const as = await startShiftedAuthorizationServer({ ...common, clockOffset, ...(nonces ? {} : { nonceSecret: null }) });
    shifted.push({ offset: clockOffset, nonces, as });
  }));
  scripted = await startScriptedServer({ tls: world.authority.tls });
});
after(async () => {
  await world?.stop();
  await Promise.all(shifted.map(({ as }) => as.close()));
  await scripted?.close();
});

const serverOf = (offset, nonces) => shifted.find((one) => one.offset === offset && one.nonces === nonces).as;
// The agent knows no clock and no nonce then.
const configure = (profiles, agent = {}) => world.configure({ profiles, sections: { agent } });

// What an operation ends with, and the token requests that it cost.
async function costs(as, act) {
  await as.sync();
  const from = as.tokenRequests().length;
  const ended = await endOf(act());
  await as.sync();
  return { ...ended, statuses: as.tokenRequests().slice(from).map(({ status }) => status) };
}

describe('an authorization server whose clock is', () => {
  for (const [what, offset] of Object.entries(offsets)) {
    for (const nonces of [false, true]) {
      for (const client of ['basic', 'jwt']) {
        test(`${what} costs one request more, ${nonces ? 'with' : 'without'} nonces, for ${client}; then its proofs are accepted`, async () => {
          const as = serverOf(offset, nonces);
          await configure({ off: { client, issuer: as.issuer } });
          const first = await costs(as, () => world.agent.token('off'));
          assert.ifError(first.error);
          assert.equal(first.statuses.length, nonces ? 3 : 2, `${first.statuses}`);
          assert.ok(Math.abs(first.value.expires_in - 600) <= 2, `expires_in ${first.value.expires_in}`);
          assert.ok(Math.abs(first.value.expires_at - (Date.now() / 1000 + 600)) <= 3, 'expires_at is told by our clock');
          for (let i = 0; i < 3; i++) {
            const next = await costs(as, () => world.agent.token({ profile: 'off', force: true }));
            assert.ifError(next.error);
            assert.deepEqual(next.statuses, [200]);
            assert.ok(Math.abs(next.value.expires_in - 600) <= 2);
          }
        });
      }
    }

    test(`${what} logs a user in, with an id_token, and refreshes`, async () => {
      const as = serverOf(offset, true);
      await addClient(world, 'app', 'none', { as });
      await configure({ user: { client: 'app', grant: 'authorization_code', scope: 'openid read', issuer: as.issuer } });
      const { result } = await logIn(world, 'user');
      assert.deepEqual([result.subject, result.refresh], ['alice', true]);
      const { value, error, statuses } = await costs(as, () => world.agent.token({ profile: 'user', force: true }));
      assert.ifError(error);
      assert.deepEqual(statuses, [200]);
      assert.ok(Math.abs(value.expires_in - 600) <= 2);
    });

    test(`${what} has its tokens served until their end by our clock, and no longer`, async () => {
      const as = serverOf(offset, false);
      await configure({ off: { client: 'basic', issuer: as.issuer } });
      await as.setTokenTtl(3);
      try {
        const first = await world.agent.token('off');
        const got = Date.now();
        assert.equal((await world.agent.token('off')).access_token, first.access_token);
        await as.hang(true); // no successor comes
        await sleep(got + 2000 - Date.now());
        assert.equal((await world.agent.token('off')).access_token, first.access_token);
        await sleep(got + 3200 - Date.now());
        await assert.rejects(world.agent.token({ profile: 'off', timeout: 300 }), { name: 'timeout' });
      } finally {
        await as.hang(false);
        await as.setTokenTtl(600);
      }
    });

    for (const [setting, agent] of [['max-clock-skew = 0', { 'max-clock-skew': 0 }], ['a difference beyond max-clock-skew', { 'max-clock-skew': 300 }]]) {
      for (const client of ['basic', 'jwt']) {
        test(`${what} is not followed with ${setting}: one request, and an error that says the clock (${client})`, async () => {
          const as = serverOf(offset, false);
          await configure({ off: { client, issuer: as.issuer } }, agent);
          for (let i = 0; i < 2; i++) {
            const { statuses, ...ended } = await costs(as, () => world.agent.token('off'));
            assertRefused(ended, { name: 'server-refused', stage: 'token request', oauth_error: 'invalid_dpop_proof', http_status: 400, next: /clock/ });
            assert.deepEqual(statuses, [400]);
          }
        });
      }
    }
  }

  test('ten minutes ahead is followed where max-clock-skew just allows it', async () => {
    const as = serverOf(OFF, false);
    await configure({ off: { client: 'basic', issuer: as.issuer } }, { 'max-clock-skew': OFF + 5 });
    const { error, statuses } = await costs(as, () => world.agent.token('off'));
    assert.ifError(error);
    assert.deepEqual(statuses, [400, 200]);
  });

  test('off, and rejects the assertion before it looks at the proof, is understood too: invalid_client', async (t) => {
    const as = await startShiftedAuthorizationServer({
      clockOffset: OFF, tls: world.authority.tls, resources: [world.rs.origin], jwks: { keys: [{ ...world.jwk.work, kid: world.jkt.work }] },
    });
    t.after(as.close);
    await configure({ off: { client: 'jwt', issuer: as.issuer } });
    const { error, statuses } = await costs(as, () => world.agent.token('off'));
    assert.ifError(error);
    assert.deepEqual(statuses, [401, 400, 200]);
    await configure({ off: { client: 'jwt', issuer: as.issuer } }, { 'max-clock-skew': 0 });
    const refused = await costs(as, () => world.agent.token('off'));
    assertRefused(refused, { name: 'server-refused', oauth_error: 'invalid_client', http_status: 401, next: /clock/ });
    assert.deepEqual(refused.statuses, [401]);
  });
});

describe('a Date', () => {
  const later = (seconds) => new Date(Date.now() + seconds * 1000).toUTCString();
  const rejecting = (date) => (answer, { res }) => {
    res.sendDate = false;
    answer(400, { error: 'invalid_dpop_proof' }, date === undefined ? {} : { Date: date() });
  };
  let moved = 0;
  const dates = {
    'that is missing': [undefined, 1], 'that is no date': [() => 'tomorrow', 1], 'that agrees with our clock': [() => later(0), 1],
    'two hours ahead, beyond the bound': [() => later(7200), 1], 'of 1970': [() => new Date(0).toUTCString(), 1],
    'that is another one with each answer': [() => later((moved += 100)), 2], 'ten minutes ahead, of a server that rejects what follows it too': [() => later(OFF), 2],
  };
  for (const [what, [date, sends]] of Object.entries(dates)) {
    test(`${what} brings ${sends === 1 ? 'no second' : 'one more'} request, and an error that says the clock`, async () => {
      await configure({ dated: { issuer: scripted.issuer, resource: null } });
      scripted.token = rejecting(date);
      const from = scripted.sends.length;
      assertRefused(await endOf(world.agent.token('dated')), { name: 'server-refused', stage: 'token request', oauth_error: 'invalid_dpop_proof', next: /clock/ });
      assert.equal(scripted.sends.length - from, sends);
    });
  }

  test('and a nonce for ever, one after the other, end after three requests', async () => {
    await configure({ dated: { issuer: scripted.issuer, resource: null } });
    scripted.token = (answer, _request, n) => (n % 2 === 1
      ? answer(400, { error: 'use_dpop_nonce' }, { 'DPoP-Nonce': `n${n}` })
      : answer(400, { error: 'invalid_dpop_proof' }, { Date: later(n * 10) }));
    if (scripted.sends.length % 2 === 1) scripted.sends.pop();
    const from = scripted.sends.length;
    const ended = await endOf(world.agent.token('dated'));
    assertRefused(ended, { stage: 'token request' });
    assert.equal(scripted.sends.length - from, 3);
  });

  test('far off does not change a lifetime that the token itself tells', async () => {
    await configure({ dated: { issuer: scripted.issuer, resource: null } });
    for (const offset of [OFF, -OFF]) {
      const at = Math.floor(Date.now() / 1000) + offset;
      scripted.token = (answer) => answer(200, bearerOf({ expires_in: undefined, access_token: unsignedJwt({ iat: at, exp: at + 120, cnf: { jkt: world.jkt.work } }) }), { Date: later(offset) });
      const { expires_in: left } = await world.agent.token({ profile: 'dated', force: true });
      assert.ok(Math.abs(left - 120) <= 2, `${left} s with a clock ${offset} s off`);
    }
  });
});

describe('a resource server whose clock is', () => {
  for (const [what, clockOffset] of Object.entries(offsets)) {
    for (const requireNonce of [false, true]) {
      test(`${what} costs one request more, ${requireNonce ? 'with' : 'without'} nonces; then its proofs are accepted`, async (t) => {
        const rs = await startResourceServer({ tls: world.authority.tls, issuer: world.as.issuer, ca: world.authority.ca, iatWindow: WINDOW, clockOffset, requireNonce });
        t.after(rs.close);
        world.as.addResource(rs.origin);
        const profiles = { basic: { resource: rs.origin, origins: rs.origin } };
        await configure(profiles);
        const url = `${rs.origin}/a`;
        const first = await requestResource(world, { url });
        assert.deepEqual([first.status, first.sends], [200, 2], 'the answer that rejects the proof brings the nonce too');
        for (let i = 0; i < 3; i++) {
          const next = await requestResource(world, { url });
          assert.deepEqual([next.status, next.sends], [200, 1]);
        }
        rs.setClockOffset(-clockOffset);
        const jumped = await requestResource(world, { url });
        assert.deepEqual([jumped.status, jumped.sends], [200, 2], 'its clock jumped');
        const { status, stderr } = await world.dpop('request', '--ca-file', world.authority.ca, 'basic', url);
        assert.equal(status, 0, stderr);

        await configure(profiles, { 'max-clock-skew': 0 });
        const { status: refused, verdict, reason, sends } = await requestResource(world, { url });
        assert.deepEqual([refused, verdict, sends], [401, 'fail', 1]);
        assert.match(reason, /refuses the proof.*clock/);
      });
    }
  }
});
