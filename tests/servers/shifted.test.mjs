// Proves the servers whose clocks are off: the authorization server in a process of its own, and the resource server here.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as jose from 'jose';
import { makeAuthority } from './authority.mjs';
import { clientFor } from './clients.mjs';
import { startAuthorizationServer } from './authorization-server.mjs';
import { startResourceServer } from './resource-server.mjs';
import { startShiftedAuthorizationServer } from './shifted-authorization-server.mjs';
import { makeOAuthClient } from './oauth-client.mjs';
import { fetchTrusting } from './transport.mjs';

const secret = 'secret of the client';
const keys = await jose.generateKeyPair('ES256');
const jwk = await jose.exportJWK(keys.publicKey);
const now = () => Math.floor(Date.now() / 1000);
let dir, authority, ca, fetch;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dpop-agent-shifted-'));
  authority = await makeAuthority(join(dir, 'authority'));
  ({ ca } = authority);
  fetch = fetchTrusting(ca);
});

after(() => rm(dir, { recursive: true, force: true }));

async function own(t, starting) {
  const server = await starting;
  t.after(server.close);
  return server;
}

const prove = (claims) =>
  new jose.SignJWT({ jti: crypto.randomUUID(), ...claims }).setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk }).sign(keys.privateKey);

const clients = [clientFor({ id: 'app', authentication: 'client_secret_post', secret })];
const secondsAhead = (answer) => Math.round((Date.parse(answer.headers.get('date')) - Date.now()) / 1000);
const isNear = (actual, expected) => assert.ok(Math.abs(actual - expected) <= 2, `${actual} is about ${expected}`);

async function tokenWith(as, { iat, nonce }) {
  const answer = await fetch(`${as.issuer}/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', dpop: await prove({ htm: 'POST', htu: `${as.issuer}/token`, iat, nonce }) },
    body: new URLSearchParams({
      grant_type: 'client_credentials', client_id: 'app', client_secret: secret, resource: 'https://api.example', scope: 'read',
    }),
  });
  return { status: answer.status, ahead: secondsAhead(answer), nonce: answer.headers.get('dpop-nonce') ?? undefined, ...(await answer.json()) };
}

for (const clockOffset of [600, -600]) {
  describe(`an authorization server whose clock is ${clockOffset} s off`, () => {
    const start = (t, options) =>
      own(t, startShiftedAuthorizationServer({ clockOffset, tls: authority.tls, clients, resources: ['https://api.example'], ...options }));

    test('without nonces refuses a proof of our time, says its own in Date, and takes a proof of that', async (t) => {
      const as = await start(t, { nonceSecret: null });
      const refusal = await tokenWith(as, { iat: now() });
      assert.deepEqual([refusal.status, refusal.error, refusal.nonce], [400, 'invalid_dpop_proof', undefined]);
      isNear(refusal.ahead, clockOffset);
      const token = await tokenWith(as, { iat: now() + refusal.ahead });
      assert.equal(token.status, 200);
      isNear(jose.decodeJwt(token.access_token).iat, now() + clockOffset);
      await as.sync();
      assert.deepEqual(as.tokenRequests().map(({ status, clientId }) => [status, clientId]), [[400, 'app'], [200, 'app']]);
      isNear(as.requests.at(-1).time / 1000, now());
      assert.deepEqual(as.events.map(({ event }) => event), ['refused', 'token_issued']);
    });

    test('with nonces takes whatever iat comes with a nonce, unless it has a window of its own', async (t) => {
      const as = await start(t, {});
      const { nonce, error } = await tokenWith(as, { iat: now() });
      assert.equal(error, 'use_dpop_nonce');
      assert.equal((await tokenWith(as, { iat: now(), nonce })).status, 200);

      const strict = await start(t, { iatWindow: [25, 15] });
      const challenge = await tokenWith(strict, { iat: now() });
      assert.equal(challenge.error, 'use_dpop_nonce');
      const attempt = async (offset) => (await tokenWith(strict, { iat: now() + offset, nonce: challenge.nonce })).error;
      assert.equal(await attempt(0), 'invalid_dpop_proof');
      assert.equal(await attempt(clockOffset - 27), 'invalid_dpop_proof');
      assert.equal(await attempt(clockOffset + 17), 'invalid_dpop_proof');
      assert.equal(await attempt(clockOffset - 22), undefined);
      assert.equal(await attempt(clockOffset + 13), undefined);
    });
  });
}

test('a shifted server is changed by its methods, logs users in, and tells why it cannot start', async (t) => {
  const as = await own(t, startShiftedAuthorizationServer({ clockOffset: 600, tls: authority.tls, refreshTokens: 'always' }));
  await as.putClient(clientFor({ id: 'none' }));
  await as.addResource('https://api.example');
  await as.setTokenTtl(7);
  const client = await makeOAuthClient({ as, ca, id: 'none' });
  const token = await client.code({ scope: 'read', resource: 'https://api.example' });
  assert.equal(token.expires_in, 7);
  await client.refresh(token.refresh_token);
  await as.sync();
  assert.ok(as.events.some(({ event }) => event === 'refresh_consumed'));
  assert.equal((await as.findClient('none')).client_id, 'none');
  await assert.rejects(startShiftedAuthorizationServer({ clockOffset: 600, tls: authority.tls, port: as.port }), /EADDRINUSE/);
});

test('a resource server whose clock is off has its own Date and iat window, with nonces and without', async (t) => {
  const as = await own(t, startAuthorizationServer({ tls: authority.tls, clients, nonceSecret: null, tokenTtl: 3600 }));
  for (const [clockOffset, requireNonce] of [[600, false], [-600, false], [600, true]]) {
    const rs = await own(t, startResourceServer({
      tls: authority.tls, issuer: as.issuer, ca, clockOffset, requireNonce, iatWindow: [25, 15], audience: 'https://api.example',
    }));
    as.addResource('https://api.example');
    const { access_token: token } = await tokenWith(as, { iat: now() });
    const ath = Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(token))).toString('base64url');
    let nonce;
    const attempt = async (offset) => {
      const dpop = await prove({ htm: 'GET', htu: `${rs.origin}/`, iat: now() + offset, ath, nonce });
      const answer = await fetch(rs.origin, { headers: { authorization: `DPoP ${token}`, dpop } });
      nonce = answer.headers.get('dpop-nonce') ?? undefined;
      isNear(secondsAhead(answer), clockOffset);
      return answer.status === 200 ? 'good' : /error="(\w+)"/.exec(answer.headers.get('www-authenticate'))[1];
    };
    if (requireNonce) assert.equal(await attempt(clockOffset), 'use_dpop_nonce');
    assert.equal(await attempt(0), 'invalid_dpop_proof');
    assert.equal(await attempt(clockOffset - 27), 'invalid_dpop_proof');
    assert.equal(await attempt(clockOffset + 17), 'invalid_dpop_proof');
    assert.equal(await attempt(clockOffset - 22), 'good');
    assert.equal(await attempt(clockOffset + 13), 'good');
    rs.setClockOffset(0);
    if (clockOffset > 0 && !requireNonce) await assert.rejects(attempt(clockOffset), /is about/);
  }
});

test('protected resource metadata names the authorization server, for the origin and for each path', async (t) => {
  const as = await own(t, startAuthorizationServer({ tls: authority.tls, clients, nonceSecret: null }));
  const rs = await own(t, startResourceServer({ tls: authority.tls, issuer: as.issuer, ca, requireNonce: false, paths: ['/api'] }));
  const read = async (path) => {
    const answer = await fetch(rs.origin + path);
    return answer.status === 200 ? answer.json() : answer.status;
  };
  const wellKnown = '/.well-known/oauth-protected-resource';
  assert.deepEqual(await read(wellKnown), {
    resource: rs.origin, authorization_servers: [as.issuer], bearer_methods_supported: ['header'], dpop_bound_access_tokens_required: true,
    dpop_signing_alg_values_supported: ['ES256'],
  });
  assert.equal((await read(`${wellKnown}/api`)).resource, `${rs.origin}/api`);
  assert.equal(await read(`${wellKnown}/other`), 404);
  for (const [path, document] of [['/x', wellKnown], ['/api/x', `${wellKnown}/api`], ['/apix', wellKnown]]) {
    const challenge = (await fetch(rs.origin + path)).headers.get('www-authenticate');
    assert.equal(/resource_metadata="([^"]*)"/.exec(challenge)[1], rs.origin + document);
  }
  rs.advertise({ resource: 'https://elsewhere.example', authorization_servers: null });
  const changed = await read(wellKnown);
  assert.deepEqual([changed.resource, 'authorization_servers' in changed], ['https://elsewhere.example', false]);

  as.addResource(`${rs.origin}/api`);
  as.addResource(rs.origin);
  const client = await makeOAuthClient({ as, ca, id: 'app', authentication: 'client_secret_post', secret });
  const token = await client.client({ scope: 'read', resource: `${rs.origin}/api` });
  assert.equal(await client.call(token, `${rs.origin}/api/x`), 200);
  assert.equal(rs.requests.at(-1).token.aud, `${rs.origin}/api`);
  await assert.rejects(client.call(token, `${rs.origin}/x`));
  assert.equal(rs.requests.at(-1).error, 'invalid_token');
});
