// The token cache: one request for many callers, tokens renewed early behind a valid one, min_valid, force, and what two
// callers must have in common to share a token.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeWorld, showLogOnFailure, until } from './world.mjs';
import { bearerOf, startScriptedServers } from './scripted-server.mjs';

let world, servers, close;
showLogOnFailure(() => world);

const names = ['flight', 'valid', 'early', 'keep', 'force', 'slow', 'kinds', 'secrets', 'state'];

before(async () => {
  world = await makeWorld();
  const scripted = await startScriptedServers(world.authority.tls, names);
  ({ servers, close } = scripted);
  const { profiles } = scripted;
  await world.writeSecret(`${world.dir}/second.secret`, 'second-secret');
  await world.configure({
    profiles: {
      basic: {}, ...profiles,
      kinds: { ...profiles.kinds, scope: 'a b' },
      'same-kind': { ...profiles.kinds, scope: 'b  a' },
      'other-client': { ...profiles.kinds, scope: 'a b', 'client-id': 'other' },
      'other-form': { ...profiles.kinds, scope: 'a b', form: 'tenant=x' },
      'other-resource': { ...profiles.kinds, scope: 'a b', resource: 'https://api.example' },
      'second-secret': { ...profiles.secrets, 'client-secret-file': `${world.dir}/second.secret` },
    },
  });
});
after(async () => {
  await close?.();
  await world?.stop();
});

const lasting = (seconds) => (answer) => answer(200, bearerOf({ expires_in: seconds }));
const stateOf = async (name) => (await world.agent.profiles()).find((profile) => profile.name === name);

describe('concurrent callers', () => {
  test('for one uncached token, 200 of them on 20 connections, cause one token request', async (t) => {
    servers.flight.token = async (answer) => {
      await sleep(100);
      answer(200, bearerOf());
    };
    const connections = await Promise.all(Array.from({ length: 20 }, world.connect));
    t.after(() => connections.forEach((connection) => connection.close()));
    const tokens = await Promise.all(connections.flatMap((connection) => Array.from({ length: 10 }, () => connection.token('flight'))));
    assert.equal(tokens.length, 200);
    assert.equal(new Set(tokens.map(({ access_token: token }) => token)).size, 1);
    assert.equal(servers.flight.sends.length, 1);
    assert.equal(servers.flight.requests.length, 2, 'the metadata, and one token request');
  });

  test('for the real server cost one challenge and one token request', async () => {
    const before = world.as.tokenRequests().length;
    await Promise.all(Array.from({ length: 200 }, () => world.agent.token('basic')));
    assert.deepEqual(world.as.tokenRequests().slice(before).map(({ status }) => status), [400, 200]);
  });

  test('of one profile do not wait for another profile whose server is slow, nor for each other with other scopes', async () => {
    servers.slow.token = (answer, { form }) => (form.get('scope') === 'stuck' ? undefined : answer(200, bearerOf()));
    const stuck = world.agent.token({ profile: 'slow', scope: 'stuck', timeout: 1500 });
    const begun = Date.now();
    await world.agent.token({ profile: 'slow', scope: 'quick' });
    await world.agent.token('basic');
    assert.ok(Date.now() - begun < 1000);
    await assert.rejects(stuck, { name: 'timeout', retryable: true });
    assert.ok(Date.now() - begun < 3000, "the caller's own deadline holds");
  });

  test('all get the error when the one request fails, and the next caller asks anew', async () => {
    servers.flight.token = async (answer) => {
      await sleep(50);
      answer(400, { error: 'invalid_scope' });
    };
    const before = servers.flight.sends.length;
    const results = await Promise.allSettled(Array.from({ length: 50 }, () => world.agent.token({ profile: 'flight', scope: 'wrong' })));
    assert.ok(results.every(({ reason }) => reason?.name === 'server-refused' && reason.oauth_error === 'invalid_scope'));
    assert.equal(servers.flight.sends.length - before, 1);
    servers.flight.token = servers.flight.grant;
    await world.agent.token({ profile: 'flight', scope: 'wrong' });
  });
});

describe('min_valid', () => {
  test('is honoured by a cached token that lives long enough, and by a new one where it does not', async () => {
    servers.valid.token = lasting(20);
    const first = await world.agent.token('valid');
    servers.valid.token = lasting(600);
    assert.equal((await world.agent.token({ profile: 'valid', min_valid: 10 })).access_token, first.access_token);
    const second = await world.agent.token({ profile: 'valid', min_valid: 100 });
    assert.notEqual(second.access_token, first.access_token);
    assert.ok(second.expires_in >= 100);
    assert.equal((await world.agent.token('valid')).access_token, second.access_token);
    assert.equal(servers.valid.sends.length, 2);
  });

  test('that no token of the server reaches is answered with an error after one request, and the token serves others', async () => {
    servers.valid.token = lasting(600);
    const before = servers.valid.sends.length;
    await assert.rejects(world.agent.token({ profile: 'valid', min_valid: 3600 }), { name: 'token-too-short', message: /3600/, next: /longer tokens/ });
    assert.equal(servers.valid.sends.length - before, 1);
    await world.agent.token({ profile: 'valid', min_valid: 500 });
    assert.equal(servers.valid.sends.length - before, 1);
  });

  test('is taken from the command, where a token that is too short is a refusal', async () => {
    assert.equal((await world.dpop('token', '--min-valid', 60, 'valid')).status, 0);
    const { status, stderr } = await world.dpop('token', '--min-valid', 100_000, 'valid');
    assert.equal(status, 3, stderr);
  });
});

describe('renewal', () => {
  test('happens early, behind a token that is still valid, which is served at once meanwhile', async () => {
    servers.early.token = lasting(6);
    const begun = Date.now();
    const first = await world.agent.token('early');
    let renewed;
    servers.early.token = async (answer) => {
      renewed = Date.now() - begun;
      await sleep(400);
      answer(200, bearerOf());
    };
    let slowest = 0;
    const second = await until('a successor is served', async () => {
      const asked = Date.now();
      const token = await world.agent.token('early');
      slowest = Math.max(slowest, Date.now() - asked);
      return token.access_token !== first.access_token && token;
    }, { timeout: 8000 });
    assert.ok(renewed >= 3900 && renewed < 5000, `renewed in the last third of its life, in the first quarter of that: after ${renewed} ms of 6000`);
    assert.ok(slowest < 350, `no caller waited the 400 ms for the successor: ${slowest} ms`);
    assert.ok(second.expires_in > 500);
    assert.equal(servers.early.sends.length, 2);
  });

  test('that fails never replaces a token that is still good, and is told in the status', async () => {
    servers.keep.token = lasting(4);
    const first = await world.agent.token('keep');
    servers.keep.token = (answer) => answer(500, 'out of order');
    await assert.rejects(world.agent.token({ profile: 'keep', force: true }), { name: 'server-unavailable', http_status: 500 });
    assert.equal((await world.agent.token('keep')).access_token, first.access_token);
    const { state, reason } = await stateOf('keep');
    assert.equal(state, 'token');
    assert.match(reason, /status 500/);
    await assert.rejects(world.agent.token({ profile: 'keep', min_valid: 100 }), { name: 'server-unavailable' });
    assert.equal((await world.agent.token('keep')).access_token, first.access_token);
  });

  test('is needed once a token has expired: it is never served then', async () => {
    servers.state.token = lasting(1);
    const first = await world.agent.token('state');
    servers.state.token = (answer) => answer(503, 'closed', { 'Retry-After': '1' });
    await sleep(1100);
    await assert.rejects(world.agent.token('state'), { name: 'server-unavailable', retry_after: 1, retryable: true });
    assert.equal((await stateOf('state')).state, 'failed');
    servers.state.token = lasting(600);
    await assert.rejects(world.agent.token('state'), { name: 'server-unavailable' }, 'before Retry-After nothing is sent');
    assert.equal(servers.state.sends.length, 2);
    await sleep(1200);
    assert.notEqual((await world.agent.token('state')).access_token, first.access_token);
    const { state, expires_in: left, reason } = await stateOf('state');
    assert.deepEqual([state, left > 590, reason], ['token', true, undefined]);
  });

  test('is forced by force, whatever the cache holds, and all get the new token', async () => {
    const tokens = [];
    for (const force of [false, false, true, false]) tokens.push((await world.agent.token({ profile: 'force', force })).access_token);
    assert.deepEqual(tokens.map((token) => tokens.indexOf(token)), [0, 0, 2, 2]);
    const { stdout } = await world.dpop('token', '--force', 'force');
    assert.notEqual(stdout.trim(), tokens[3]);
    assert.equal(servers.force.sends.length, 3);
  });
});

describe('the cache key', () => {
  test('has the scope as a set: order, blanks and repetition do not matter', async () => {
    const { access_token: token } = await world.agent.token('kinds');
    for (const scope of ['a b', 'b a', 'a a b']) assert.equal((await world.agent.token({ profile: 'kinds', scope })).access_token, token, scope);
    assert.equal((await world.agent.token('same-kind')).access_token, token, 'another profile of the same kind');
    assert.equal(servers.kinds.sends.length, 1);
  });

  test('has client, scope, resources and form: what differs in one of them has a token of its own', async () => {
    const { access_token: token } = await world.agent.token('kinds');
    const tokens = [token];
    for (const values of [
      'other-client', 'other-form', 'other-resource', { profile: 'kinds', scope: 'a' }, { profile: 'kinds', scope: 'a b c' }, { profile: 'kinds', scope: 'A b' },
      { profile: 'kinds', resources: ['https://one.example'] }, { profile: 'kinds', resources: ['https://one.example', 'https://two.example'] },
    ]) tokens.push((await world.agent.token(values)).access_token);
    assert.equal(new Set(tokens).size, tokens.length);
    assert.equal((await world.agent.token('kinds')).access_token, token);
    assert.equal((await world.agent.status()).tokens_cached >= tokens.length, true);
  });

  test('does not let one profile authenticate with the secret file of another', async () => {
    await world.agent.token('secrets');
    await world.agent.token({ profile: 'second-secret', force: true });
    await world.agent.token({ profile: 'secrets', force: true });
    const sent = servers.secrets.sends.map(({ basic }) => decodeURIComponent(basic.split(':')[1].replaceAll('+', ' ')));
    assert.deepEqual(sent, [world.secrets.basic, 'second-secret', world.secrets.basic]);
  });
});
