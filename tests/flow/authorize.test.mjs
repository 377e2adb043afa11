// authorize and outcome over the wire: both headers in one round trip, and the verdict on what the server answered.
// What the resource server says is either real or given to outcome as if it had been said.

import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fetchTrusting } from '../servers/transport.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';
import { requestResource } from './resource-request.mjs';
import { athOf, verifyProof } from './verify-proof.mjs';
import { startScriptedServers } from './scripted-server.mjs';

let world, servers, close;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld();
  const scripted = await startScriptedServers(world.authority.tls, ['scripted'],
    { origins: 'https://api.example https://other.example https://fresh.example' });
  ({ servers, close } = scripted);
  await world.configure({ profiles: { basic: {}, post: {}, ...scripted.profiles } });
});
after(async () => {
  await close?.();
  await world?.stop();
});
beforeEach(() => {
  world.rs.intercept(null);
  servers.scripted.token = servers.scripted.grant;
});

const authorize = (values = {}) =>
  world.agent.authorize({ profile: 'scripted', htm: 'GET', url: 'https://api.example/a', ...values });
const claimsOf = (proof) => JSON.parse(Buffer.from(proof.split('.')[1], 'base64url'));
const nonceOf = ({ dpop }) => claimsOf(dpop).nonce;
const verdictOn = async (authorized, values) =>
  (await world.agent.outcome({ attempt: authorized.attempt, http_status: 401, ...values })).verdict;
const challenges = (...values) => ({ challenges: values });
const nonceChallenge = (nonce) => ({ nonces: [nonce], ...challenges('DPoP error="use_dpop_nonce"') });

describe('authorize', () => {
  test('gives both headers and the URL to send in one round trip, fit for the server at once', async () => {
    await requestResource(world); // the nonce is known from here on
    const authorized = await world.agent.authorize({ profile: 'basic', htm: 'PUT', url: `${world.rs.origin}/a?b=c#d` });
    assert.equal(authorized.url, `${world.rs.origin}/a?b=c`);
    const [scheme, token] = authorized.authorization.split(' ');
    assert.equal(scheme, 'DPoP');
    await verifyProof(authorized.dpop, { jwk: world.jwk.work, htm: 'PUT', htu: `${world.rs.origin}/a`,
      ath: athOf(token), nonce: nonceOf(authorized) });
    const answer = await fetchTrusting(world.authority.ca)(authorized.url,
      { method: 'PUT', headers: { authorization: authorized.authorization, dpop: authorized.dpop }, body: 'x' });
    assert.equal(answer.status, 200);
  });

  test('makes a fresh proof with ath on every attempt', async () => {
    const [first, second] = [await authorize(), await authorize()];
    assert.equal(first.authorization, second.authorization);
    assert.notEqual(claimsOf(first.dpop).jti, claimsOf(second.dpop).jti);
    const third = await authorize({ attempt: first.attempt });
    assert.equal(new Set([first, second, third].map(({ dpop }) => claimsOf(dpop).jti)).size, 3);
    assert.ok(claimsOf(third.dpop).ath);
  });

  test('takes the scope and the resources of the caller', async () => {
    const before = servers.scripted.sends.length;
    await authorize({ scope: 'special', resources: ['https://api.example/x'] });
    const [{ form }] = servers.scripted.sends.slice(before);
    assert.deepEqual([form.get('scope'), form.get('resource')], ['special', 'https://api.example/x']);
  });

  test('is refused for an unknown profile, another origin, a bad URL and a bad method, '
    + 'before any token is asked for', async () => {
    const before = servers.scripted.sends.length;
    for (const [values, name] of [
      [{ profile: 'none' }, 'unknown-profile'], [{ url: 'https://evil.example/' }, 'origin-refused'],
        [{ url: 'http://api.example/' }, 'insecure-url'],
      [{ url: 'https://api.example/a b' }, 'invalid-argument'], [{ url: 'api.example' }, 'invalid-argument'],
    ]) await assert.rejects(authorize({ scope: 'unseen', ...values }), { name });
    assert.equal(servers.scripted.sends.length, before);
    for (const htm of ['', 'GE T', 'G\u00c9T']) await assert.rejects(authorize({ htm }), { name: 'invalid-argument' });
  });
});

describe('a nonce challenge', () => {
  test('means one retry with that nonce, and the nonce is used from then on', async () => {
    const first = await authorize({ url: 'https://fresh.example/' });
    assert.equal(nonceOf(first), undefined);
    assert.equal(await verdictOn(first, nonceChallenge('n1')), 'retry');
    const second = await authorize({ url: 'https://fresh.example/', attempt: first.attempt });
    assert.equal(nonceOf(second), 'n1');
    assert.equal(await verdictOn(second, { http_status: 200 }), 'done');
    assert.equal(nonceOf(await authorize({ url: 'https://fresh.example/b' })), 'n1');
    assert.equal(nonceOf(await authorize({ url: 'https://other.example/' })), undefined, 'no other origin gets it');
  });

  test('for the second time, though with a new nonce, is a failure; '
    + 'the next request starts with that nonce', async () => {
    const first = await authorize();
    assert.equal(await verdictOn(first, nonceChallenge('a1')), 'retry');
    const second = await authorize({ attempt: first.attempt });
    assert.equal(await verdictOn(second, nonceChallenge('a2')), 'fail');
    assert.equal(nonceOf(await authorize()), 'a2');
  });

  test('with the nonce that was refused, with two nonces, with an illegal or without any nonce, '
    + 'is a failure', async () => {
    const first = await authorize();
    await verdictOn(first, nonceChallenge('same'));
    const second = await authorize({ attempt: first.attempt });
    assert.equal(await verdictOn(second, nonceChallenge('same')), 'fail');
    const challenge = challenges('DPoP error="use_dpop_nonce"');
    for (const nonces of [[], ['x1', 'x2'], ['a "quote"'], ['n'.repeat(5000)], ['']]) {
      const { verdict, reason } = await world.agent.outcome({ attempt: (await authorize()).attempt, http_status: 401,
        nonces, ...challenge });
      assert.equal(verdict, 'fail');
      assert.match(reason, /nonce/);
    }
    assert.equal(nonceOf(await authorize()), 'same');
  });

  test('of the real server costs one extra send after each rotation, and none in between', async () => {
    world.rs.rotate();
    assert.deepEqual(await sendsOf(3), [2, 1, 1]);
    world.rs.rotate();
    assert.deepEqual(await sendsOf(2), [2, 1]);
  });

  test('is not needed where a 200 brought the next nonce', async () => {
    await verdictOn(await authorize(), { http_status: 200, nonces: ['from-200'] });
    assert.equal(nonceOf(await authorize()), 'from-200');
    await verdictOn(await authorize(), { http_status: 404, nonces: ['from-404'] });
    assert.equal(nonceOf(await authorize()), 'from-404');
  });

  test("in the authorization server's form, 400 with a nonce, is taken too", async () => {
    const first = await authorize({ profile: 'scripted', url: 'https://other.example/form' });
    assert.equal(nonceOf(first), undefined);
    assert.equal(await verdictOn(first, { http_status: 400, nonces: ['b1'] }), 'retry');
  });

  async function sendsOf(count) {
    const sends = [];
    for (let i = 0; i < count; i++) sends.push((await requestResource(world)).sends);
    return sends;
  }
});

describe('a refused token', () => {
  test('is replaced once, and the request is answered 200 with the new one', async () => {
    await requestResource(world);
    const before = world.as.tokenRequests().length;
    world.rs.revoke();
    const answer = await requestResource(world);
    assert.deepEqual([answer.status, answer.sends, answer.verdict], [200, 2, 'done']);
    assert.equal(world.as.tokenRequests().length - before, 1);
  });

  test('refused for 200 callers at once costs one refresh', async () => {
    const authorized = await Promise.all(Array.from({ length: 200 }, () => authorize()));
    const before = servers.scripted.sends.length;
    const verdicts = await Promise.all(authorized.map((each) =>
      verdictOn(each, challenges('DPoP error="invalid_token"'))));
    assert.ok(verdicts.every((verdict) => verdict === 'refresh'));
    const again = await Promise.all(authorized.map(({ attempt }) => authorize({ attempt })));
    assert.equal(servers.scripted.sends.length - before, 1);
    assert.equal(new Set(again.map(({ authorization }) => authorization)).size, 1);
    assert.notEqual(again[0].authorization, authorized[0].authorization);
  });

  test('refused late, after the refresh, does not throw the new token away', async () => {
    const late = await authorize();
    const early = await authorize();
    await verdictOn(early, challenges('DPoP error="invalid_token"'));
    const fresh = await authorize({ attempt: early.attempt });
    const before = servers.scripted.sends.length;
    assert.equal(await verdictOn(late, challenges('DPoP error="invalid_token"')), 'refresh');
    const second = await authorize({ attempt: late.attempt });
    assert.equal(second.authorization, fresh.authorization);
    assert.equal(servers.scripted.sends.length, before);
  });

  test('that is refused as a new one too is a failure', async () => {
    const first = await authorize();
    assert.equal(await verdictOn(first, challenges('DPoP error="invalid_token"')), 'refresh');
    const second = await authorize({ attempt: first.attempt });
    const { verdict, reason } = await world.agent.outcome({ attempt: second.attempt, http_status: 401,
      ...challenges('DPoP error="invalid_token"') });
    assert.equal(verdict, 'fail');
    assert.match(reason, /new access token too/);
  });

  test('together with a nonce challenge is three sends at most', async () => {
    const url = 'https://other.example/three';
    const first = await authorize({ url });
    assert.equal(await verdictOn(first, nonceChallenge('t1')), 'retry');
    const second = await authorize({ url, attempt: first.attempt });
    assert.equal(await verdictOn(second, challenges('DPoP error="invalid_token"')), 'refresh');
    const third = await authorize({ url, attempt: second.attempt });
    assert.equal(await verdictOn(third, nonceChallenge('t2')), 'fail');
    assert.equal(await verdictOn(third, challenges('DPoP error="invalid_token"')), 'fail');
  });
});

describe('WWW-Authenticate', () => {
  const fresh = async (values, status = 401) => {
    const { attempt } = await authorize();
    return (await world.agent.outcome({ attempt, http_status: status, nonces: [`w${Math.random()}`],
      ...values })).verdict;
  };

  for (const [what, verdict, values] of [
    ['with algs before error', 'retry', ['DPoP algs="ES256 PS256", error="use_dpop_nonce", error_description="x"']],
    ['under the scheme Bearer, with another error, though it wants DPoP', 'refresh',
      ['Bearer realm="a", error="invalid_token"']],
    ['as the second challenge of one header', 'retry', ['Basic realm="a, b", DPoP error="use_dpop_nonce"']],
    ['as the second header', 'refresh', ['Basic realm="x"', 'DPoP error="invalid_token"']],
    ['with the error as a token instead of a quoted string', 'retry', ['dpop error=use_dpop_nonce']],
    ['with escapes in quoted strings', 'refresh',
      ['DPoP error_description="say \\"use_dpop_nonce\\", please", error="invalid\\_token"']],
    ['that says invalid_dpop_proof', 'fail', ['DPoP error="invalid_dpop_proof"']],
    ['that says insufficient_scope', 'fail', ['DPoP error="insufficient_scope"']],
    ['of the scheme Bearer with use_dpop_nonce is no nonce challenge', 'done', ['Bearer error="use_dpop_nonce"']],
    ['with use_dpop_nonce as a realm is no nonce challenge', 'done', ['DPoP realm="use_dpop_nonce"']],
    ['without an error leaves the answer as it is', 'done', ['DPoP algs="ES256"']],
    ['that cannot be read leaves the answer as it is', 'done', ['DPoP error="use_dpop_nonce', '=,,=']],
  ]) {
    test(`${what}: ${verdict}`, async () => assert.equal(await fresh(challenges(...values)), verdict));
  }

  test('counts for a 400 and a 403 too, and for no other status', async () => {
    const challenge = challenges('DPoP error="invalid_dpop_proof"');
    assert.equal(await fresh(challenge, 400), 'fail');
    assert.equal(await fresh(challenges('DPoP error="insufficient_scope"'), 403), 'fail');
    for (const status of [200, 204, 302, 404, 409, 500, 503]) assert.equal(await fresh(challenge, status), 'done');
  });
});

describe('an attempt', () => {
  test('that is unknown or changed teaches nothing; refused for a cause that a new send has not, '
    + 'it is worth one', async () => {
    const { attempt } = await authorize();
    const changed = Buffer.from(attempt);
    changed[changed.length - 1] ^= 1;
    for (const unknown of [Buffer.alloc(0), Buffer.from('x'), changed, attempt.subarray(1), Buffer.alloc(1024)]) {
      const { verdict, reason } = await world.agent.outcome({ attempt: unknown, http_status: 401,
        ...nonceChallenge('forged') });
      assert.equal(verdict, 'retry');
      assert.match(reason, /restarted since this attempt/);
      for (const other of [{ http_status: 200 }, { http_status: 401 },
        { http_status: 503, ...nonceChallenge('forged') }]) {
        const answer = await world.agent.outcome({ attempt: unknown, ...other });
        assert.equal(answer.verdict, 'done');
        assert.match(answer.reason, /does not know this attempt/);
      }
    }
    assert.notEqual(nonceOf(await authorize()), 'forged');
  });

  test('of another profile or origin does not count as an earlier one', async () => {
    const foreign = await world.agent.authorize({ profile: 'basic', htm: 'GET', url: world.rs.origin });
    await verdictOn(foreign, nonceChallenge('foreign'));
    const mine = await authorize({ url: 'https://other.example/', attempt: foreign.attempt });
    assert.equal(await verdictOn(mine, nonceChallenge(`o${Math.random()}`)), 'retry', 'it is a first send');
    assert.notEqual(nonceOf(mine), 'foreign');
    world.rs.rotate();
  });

  test('works on another connection of the same agent, and not after its restart', async () => {
    const { attempt } = await authorize();
    const other = await world.connect();
    const outcome = { attempt, http_status: 401, ...nonceChallenge('elsewhere') };
    assert.equal((await other.outcome(outcome)).verdict, 'retry');
    other.close();
    await world.reload();
    assert.match((await world.agent.outcome(outcome)).reason, /restarted/);
  });
});
