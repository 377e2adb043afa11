// Proves the two test servers themselves, with clients that share nothing with the agent: oauth4webapi for what is
// right, proofs made by hand with jose for what is wrong.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { makeAuthority, makeBadCertificates } from './authority.mjs';
import { startAuthorizationServer } from './authorization-server.mjs';
import { startResourceServer } from './resource-server.mjs';
import { fetchTrusting, listen } from './transport.mjs';

// form-encoding changes these characters, so that Basic with unencoded credentials is refused
const secrets = { basic: `basic+secret/%:&=${randomUUID()}`, post: `post secret+${randomUUID()}` };
const { privateKey, publicKey } = await jose.generateKeyPair('ES256', { extractable: true });
const jwk = await jose.exportJWK(publicKey);
const thumbprint = await jose.calculateJwkThumbprint(jwk);
const assertionKeys = await jose.generateKeyPair('ES256', { extractable: true });

let dir, authority, fetch, as, rs;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dpop-agent-servers-'));
  authority = await makeAuthority(join(dir, 'authority'));
  fetch = fetchTrusting(authority.ca);
  as = await startAuthorizationServer({ tls: authority.tls, secrets, jwks: { keys: [await jose.exportJWK(assertionKeys.publicKey)] } });
  rs = await startResourceServer({ tls: authority.tls, issuer: as.issuer, ca: authority.ca });
  as.addResource(rs.origin);
});

after(async () => {
  await as?.close();
  await rs?.close();
  await rm(dir, { recursive: true, force: true });
});

// Starts a server for this test alone, and closes it with the test, whatever comes of that.
async function own(t, starting) {
  const server = await starting;
  t.after(server.close);
  return server;
}

// ---- a client made of oauth4webapi --------------------------------------------------------------------------------

const insecure = { [oauth.allowInsecureRequests]: true };
const authentications = {
  basic: () => oauth.ClientSecretBasic(secrets.basic),
  post: () => oauth.ClientSecretPost(secrets.post),
  jwt: () => oauth.PrivateKeyJwt(assertionKeys.privateKey),
};

async function discover(issuer, algorithm = 'oauth2') {
  const url = new URL(issuer);
  return oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { algorithm, [oauth.customFetch]: fetch, ...insecure }));
}

async function requestToken({ server = as, client = 'basic', resource = rs.origin, dpop = oauth.DPoP({}, { privateKey, publicKey }) } = {}) {
  const metadata = await discover(server.issuer);
  const parameters = new URLSearchParams({ scope: 'read', ...(resource ? { resource } : {}) });
  const send = async () => {
    const answer = await oauth.clientCredentialsGrantRequest(metadata, { client_id: client }, authentications[client](), parameters,
      { DPoP: dpop, [oauth.customFetch]: fetch, ...insecure });
    return oauth.processClientCredentialsResponse(metadata, { client_id: client }, answer);
  };
  try {
    return await send();
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return send();
  }
}

// ---- proofs made by hand ------------------------------------------------------------------------------------------

const ath = (token) => createHash('sha256').update(token).digest('base64url');

async function makeProof(claims, { key = privateKey, header = {} } = {}) {
  const all = { jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims };
  return new jose.SignJWT(all).setProtectedHeader({ typ: 'dpop+jwt', alg: 'ES256', jwk, ...header }).sign(key);
}

function breakSignature(jwt) {
  const [header, payload, signature] = jwt.split('.');
  const bytes = jose.base64url.decode(signature);
  bytes[10] ^= 1;
  return [header, payload, jose.base64url.encode(bytes)].join('.');
}

const proofForToken = (claims, how) => makeProof({ htm: 'POST', htu: `${as.issuer}/token`, ...claims }, how);

// The token endpoint's answer to this proof: { status, error, nonce }
async function postToken(proof, headers = {}) {
  const answer = await fetch(`${as.issuer}/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', ...(proof ? { dpop: proof } : {}), ...headers },
    body: new URLSearchParams({ grant_type: 'client_credentials', client_id: 'post', client_secret: secrets.post }),
  });
  const { error } = await answer.json();
  return { status: answer.status, error, nonce: answer.headers.get('dpop-nonce') };
}

// A token, and a nonce of the resource server that is good now.
async function ready() {
  const { access_token: token } = await requestToken();
  const challenge = await get(token, await makeProof({ htm: 'GET', htu: `${rs.origin}/a`, ath: ath(token) }));
  return { token, nonce: challenge.nonce };
}

const proofForGet = (token, nonce, claims, how) => makeProof({ htm: 'GET', htu: `${rs.origin}/a`, ath: ath(token), nonce, ...claims }, how);

// The resource server's answer to GET /a: { status, challenge, nonce, body }
async function get(token, proof, { scheme = 'DPoP', path = '/a' } = {}) {
  const answer = await fetch(rs.origin + path, { headers: { authorization: `${scheme} ${token}`, ...(proof ? { dpop: proof } : {}) } });
  return { status: answer.status, challenge: answer.headers.get('www-authenticate'), nonce: answer.headers.get('dpop-nonce'), body: await answer.json() };
}

const challengeEnd = () => `algs="ES256", resource_metadata="${rs.origin}/.well-known/oauth-protected-resource"`;

function refused(answer, error) {
  assert.equal(answer.status, 401);
  assert.equal(answer.challenge, `DPoP error="${error}", ${challengeEnd()}`);
}

// ---- the tests ----------------------------------------------------------------------------------------------------

describe('the two servers together', () => {
  for (const client of ['basic', 'post', 'jwt']) {
    test(`client "${client}" gets a token bound to its key after one nonce challenge, and a 200 with it after another`, async () => {
      const [tokensBefore, requestsBefore] = [as.tokenRequests().length, rs.requests.length];
      const dpop = oauth.DPoP({}, { privateKey, publicKey });
      const token = await requestToken({ client, dpop });
      assert.equal(token.token_type, 'dpop');
      const claims = jose.decodeJwt(token.access_token);
      assert.equal(claims.cnf.jkt, thumbprint);
      assert.equal(claims.aud, rs.origin);
      assert.equal(claims.scope, 'read');

      const sent = as.tokenRequests().slice(tokensBefore);
      assert.deepEqual(sent.map((record) => record.status), [400, 200]);
      assert.equal(sent[1].nonce, sent[0].dpopNonceSent);
      assert.notEqual(sent[0].jti, sent[1].jti);
      assert.deepEqual(sent.map((record) => record.clientId), [client, client]);
      if (client === 'jwt') assert.equal(new Set(sent.map((record) => record.clientAssertionJti)).size, 2);

      const post = () => oauth.protectedResourceRequest(token.access_token, 'POST', new URL('/things?x=1', rs.origin), undefined, 'hello',
        { DPoP: dpop, [oauth.customFetch]: fetch });
      await assert.rejects(post);
      const answer = await post();
      assert.equal(answer.status, 200);
      assert.deepEqual(await answer.json(), {
        ok: true, method: 'POST', path: '/things', sub: client, client_id: client, jkt: thumbprint,
        bodyBytes: 5, bodySha256: createHash('sha256').update('hello').digest('hex'),
      });
      assert.deepEqual(rs.requests.slice(requestsBefore).map(({ status, error }) => [status, error]), [[401, 'use_dpop_nonce'], [200, undefined]]);
    });
  }

  test('a token that has run out is refused as invalid_token', async () => {
    as.setTokenTtl(1);
    const { token, nonce } = await ready().finally(() => as.setTokenTtl(600));
    await new Promise((resolve) => setTimeout(resolve, 1100));
    refused(await get(token, await proofForGet(token, nonce)), 'invalid_token');
  });

  test('a restarted authorization server has new keys, and the resource server takes their tokens', async (t) => {
    const first = await own(t, startAuthorizationServer({ tls: authority.tls, secrets }));
    const resource = await own(t, startResourceServer({ tls: authority.tls, issuer: first.issuer, ca: authority.ca, requireNonce: false }));
    const call = async (server) => {
      server.addResource(resource.origin);
      const { access_token: token } = await requestToken({ server, resource: resource.origin });
      const dpop = await makeProof({ htm: 'GET', htu: `${resource.origin}/`, ath: ath(token) });
      return (await fetch(resource.origin, { headers: { authorization: `DPoP ${token}`, dpop } })).status;
    };
    assert.equal(await call(first), 200);
    await first.close();
    const second = await own(t, startAuthorizationServer({ tls: authority.tls, secrets, port: first.port }));
    assert.equal(await call(second), 200);
  });
});

describe('the authorization server', () => {
  const noncesOfAs = async () => (await postToken(await proofForToken())).nonce;

  test('answers a proof without nonce 400 use_dpop_nonce with a nonce, and takes that nonce', async () => {
    const challenge = await postToken(await proofForToken());
    assert.deepEqual([challenge.status, challenge.error], [400, 'use_dpop_nonce']);
    assert.equal((await postToken(await proofForToken({ nonce: challenge.nonce }))).status, 200);
  });

  test('refuses a request without proof, a bad signature, a wrong htu, a wrong htm, and a replayed jti', async () => {
    const nonce = await noncesOfAs();
    const attempt = async (proof) => {
      const { status, error } = await postToken(proof);
      return [status, error];
    };
    assert.deepEqual(await attempt(undefined), [400, 'invalid_grant']);
    assert.deepEqual(await attempt(breakSignature(await proofForToken({ nonce }))), [400, 'invalid_dpop_proof']);
    assert.deepEqual(await attempt(await proofForToken({ nonce, htu: `${as.issuer}/tokens` })), [400, 'invalid_dpop_proof']);
    assert.deepEqual(await attempt(await proofForToken({ nonce, htm: 'GET' })), [400, 'invalid_dpop_proof']);
    assert.deepEqual(await attempt(await proofForToken({ nonce: 'made-up' })), [400, 'use_dpop_nonce']);
    const proof = await proofForToken({ nonce });
    assert.equal((await attempt(proof))[0], 200);
    assert.deepEqual(await attempt(proof), [400, 'invalid_grant']);
  });

  test('refuses a client assertion that is used again, and records both uses under one jti', async () => {
    const assertion = await new jose.SignJWT({ jti: randomUUID() }).setProtectedHeader({ alg: 'ES256', typ: 'client-authentication+jwt' })
      .setIssuer('jwt').setSubject('jwt').setAudience(as.issuer).setIssuedAt().setExpirationTime('60s').sign(assertionKeys.privateKey);
    const nonce = await noncesOfAs();
    const send = async () => (await fetch(`${as.issuer}/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', dpop: await proofForToken({ nonce }) },
      body: new URLSearchParams({
        grant_type: 'client_credentials', client_id: 'jwt', client_assertion: assertion,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      }),
    })).status;
    assert.deepEqual([await send(), await send()], [200, 401]);
    const [one, two] = as.tokenRequests().slice(-2).map((record) => record.clientAssertionJti);
    assert.ok(one && one === two);
  });

  test('gives an opaque token when no resource is asked for, and refuses a resource it does not know', async () => {
    const { access_token: token } = await requestToken({ resource: null });
    assert.ok(!token.includes('.'));
    await assert.rejects(requestToken({ resource: 'https://unknown.example' }), (error) => error.error === 'invalid_target');
  });

  test('takes the ttl in seconds, at run time, and asks for no nonce when told so', async (t) => {
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, secrets, resources: [rs.origin], requireNonce: false, tokenTtl: 7 }));
    assert.equal((await requestToken({ server })).expires_in, 7);
    server.setTokenTtl(3);
    assert.equal((await requestToken({ server })).expires_in, 3);
    assert.deepEqual(server.tokenRequests().map((record) => record.status), [200, 200]);
    server.setRequireNonce(true);
    await requestToken({ server });
    assert.deepEqual(server.tokenRequests().map((record) => record.status), [200, 200, 400, 200]);
  });

  test('sends no nonce at all when it has no nonce secret', async (t) => {
    const server = await own(t, startAuthorizationServer({ secrets, nonceSecret: null }));
    assert.equal((await requestToken({ server, resource: null })).token_type, 'dpop');
    assert.deepEqual(server.tokenRequests().map((record) => [record.status, record.dpopNonceSent]), [[200, undefined]]);
  });

  for (const path of ['', '/', '/tenant', '/tenant/']) {
    test(`issues from an issuer with path "${path}", found by both well-known documents, over http too`, async (t) => {
      const server = await own(t, startAuthorizationServer({ path, secrets, resources: ['https://r.example'], alg: 'RS256', host: '127.0.0.1' }));
      assert.equal(server.issuer, `http://127.0.0.1:${server.port}${path}`);
      for (const algorithm of ['oauth2', 'oidc']) {
        const metadata = await discover(server.issuer, algorithm);
        assert.equal(metadata.token_endpoint, `http://127.0.0.1:${server.port}${path.replace(/\/$/, '')}/token`);
      }
      const { access_token: token } = await requestToken({ server, resource: 'https://r.example' });
      assert.equal(jose.decodeProtectedHeader(token).alg, 'RS256');
      assert.equal(jose.decodeJwt(token).iss, server.issuer);
    });
  }

  test('shows only the well-known document that it is told to show', async (t) => {
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, metadata: 'oidc' }));
    await assert.rejects(discover(server.issuer, 'oauth2'));
    assert.equal((await discover(server.issuer, 'oidc')).issuer, server.issuer);
  });

  test('hangs, delays and is intercepted on demand, and closes while a request hangs', async (t) => {
    const server = await own(t, startAuthorizationServer({ secrets, resources: [rs.origin] }));
    await requestToken({ server });
    server.delay(200);
    const start = Date.now();
    await requestToken({ server });
    assert.ok(Date.now() - start >= 200);
    server.delay(0);
    server.intercept(async (req, res) => req.url === '/token' && res.writeHead(503).end());
    await assert.rejects(requestToken({ server }));
    assert.equal(server.tokenRequests().at(-1).status, 503);
    server.intercept(null);
    server.hang();
    const hung = requestToken({ server });
    hung.catch(() => {});
    while (server.tokenRequests().at(-1).status !== null) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal((await fetch(`${server.issuer}/.well-known/oauth-authorization-server`)).status, 200);
    await server.close();
    await assert.rejects(hung);
  });

  test('takes a client that is added while it runs', async (t) => {
    const server = await own(t, startAuthorizationServer({}));
    await server.putClient({ client_id: 'post', client_secret: secrets.post, token_endpoint_auth_method: 'client_secret_post' });
    assert.equal((await requestToken({ server, client: 'post', resource: null })).token_type, 'dpop');
  });

  test('keeps no secret and no token in its records', async () => {
    const { access_token: token } = await requestToken({ client: 'post' });
    const records = JSON.stringify(as.requests) + JSON.stringify(rs.requests);
    for (const canary of [token, secrets.basic, secrets.post]) assert.ok(!records.includes(canary));
  });
});

describe('the resource server', () => {
  test('answers a missing, a made-up and a rotated nonce 401 use_dpop_nonce with a good one', async () => {
    const { token, nonce } = await ready();
    refused(await get(token, await proofForGet(token)), 'use_dpop_nonce');
    refused(await get(token, await proofForGet(token, 'made-up')), 'use_dpop_nonce');
    const first = await get(token, await proofForGet(token, nonce));
    assert.deepEqual([first.status, first.nonce], [200, nonce]);
    rs.rotate();
    const stale = await get(token, await proofForGet(token, nonce));
    refused(stale, 'use_dpop_nonce');
    assert.notEqual(stale.nonce, nonce);
    assert.equal((await get(token, await proofForGet(token, stale.nonce))).status, 200);
  });

  test('gives a new nonce in a 200 after its lifetime, and takes the one before for as long again', async (t) => {
    const server = await own(t, startResourceServer({ tls: authority.tls, issuer: as.issuer, ca: authority.ca, audience: rs.origin, nonceLifetime: 0.4 }));
    const { access_token: token } = await requestToken();
    const call = async (nonce) => {
      const dpop = await makeProof({ htm: 'GET', htu: `${server.origin}/`, ath: ath(token), nonce });
      const answer = await fetch(server.origin, { headers: { authorization: `DPoP ${token}`, dpop } });
      return { status: answer.status, nonce: answer.headers.get('dpop-nonce') };
    };
    const { nonce } = await call();
    await new Promise((resolve) => setTimeout(resolve, 450));
    const next = await call(nonce);
    assert.equal(next.status, 200);
    assert.notEqual(next.nonce, nonce);
    await new Promise((resolve) => setTimeout(resolve, 450));
    assert.equal((await call(nonce)).status, 401);
  });

  test('refuses a bad signature, another key, wrong ath, htm or htu, an old iat and a replayed jti as invalid_dpop_proof', async () => {
    const { token, nonce } = await ready();
    const attempt = async (claims, how) => refused(await get(token, await proofForGet(token, nonce, claims, how)), 'invalid_dpop_proof');
    refused(await get(token, breakSignature(await proofForGet(token, nonce))), 'invalid_dpop_proof');
    refused(await get(token, undefined), 'invalid_dpop_proof');
    const other = await jose.generateKeyPair('ES256', { extractable: true });
    await attempt({}, { key: other.privateKey, header: { jwk: await jose.exportJWK(other.publicKey) } });
    await attempt({}, { key: other.privateKey });
    await attempt({ ath: ath(`${token}x`) });
    await attempt({ htm: 'POST' });
    await attempt({ htu: `${rs.origin}/b` });
    await attempt({ htu: `${rs.origin}/a?x=1` });
    await attempt({ htu: `${rs.origin.toUpperCase()}/a` });
    await attempt({ htu: `${rs.origin.replace('localhost', '127.0.0.1')}/a` });
    await attempt({ iat: Math.floor(Date.now() / 1000) - 3600 });
    await attempt({}, { header: { kid: 'extra' } });
    await attempt({}, { header: { jwk: { ...jwk, kid: 'extra' } } });
    const proof = await proofForGet(token, nonce);
    assert.equal((await get(token, proof)).status, 200);
    refused(await get(token, proof), 'invalid_dpop_proof');
  });

  test('refuses a token as Bearer, a changed one, an opaque one and a revoked one as invalid_token', async () => {
    const { token, nonce } = await ready();
    refused(await get(token, await proofForGet(token, nonce), { scheme: 'Bearer' }), 'invalid_token');
    const changed = breakSignature(token);
    refused(await get(changed, await proofForGet(changed, nonce)), 'invalid_token');
    const { access_token: opaque } = await requestToken({ resource: null });
    refused(await get(opaque, await proofForGet(opaque, nonce)), 'invalid_token');
    rs.revoke();
    refused(await get(token, await proofForGet(token, nonce)), 'invalid_token');
    const fresh = await ready();
    assert.equal((await get(fresh.token, await proofForGet(fresh.token, fresh.nonce))).status, 200);
  });

  test('names the scheme without an error when a request has no credentials', async () => {
    const answer = await fetch(`${rs.origin}/a`);
    assert.deepEqual([answer.status, answer.headers.get('www-authenticate')], [401, `DPoP ${challengeEnd()}`]);
  });

  test('compares htu with the request line as it was sent, without the query', async () => {
    const { token, nonce } = await ready();
    const path = '/a//b/%7Ec/caf%C3%A9';
    const answer = await get(token, await proofForGet(token, nonce, { htu: rs.origin + path }), { path: `${path}?q=1` });
    assert.deepEqual([answer.status, answer.body.path], [200, path]);
  });

  test('reads and counts the whole body, of a refused request as well', async () => {
    const body = randomBytes(1_000_000);
    const answer = await fetch(`${rs.origin}/a`, { method: 'PUT', body });
    assert.equal(answer.status, 401);
    assert.equal(rs.requests.at(-1).bodyBytes, body.length);
  });

  test('answers 503 while its authorization server is away', async (t) => {
    const server = await own(t, startResourceServer({ issuer: 'http://localhost:1', audience: rs.origin }));
    const { access_token: token } = await requestToken();
    const dpop = await makeProof({ htm: 'GET', htu: `${server.origin}/`, ath: ath(token) });
    assert.equal((await fetch(server.origin, { headers: { authorization: `DPoP ${token}`, dpop } })).status, 503);
  });
});

describe('the authority', () => {
  test('keeps its folder 0700 and its keys 0600, and is not made twice', async () => {
    const mode = async (path) => (await stat(path)).mode & 0o777;
    assert.equal(await mode(authority.dir), 0o700);
    for (const name of ['ca.key', 'server.key']) assert.equal(await mode(join(authority.dir, name)), 0o600);
    const certificate = await readFile(authority.cert);
    assert.deepEqual((await makeAuthority(authority.dir)).tls.cert, certificate);
  });

  test('names localhost, 127.0.0.1 and ::1 in the server certificate', async (t) => {
    for (const host of ['localhost', '127.0.0.1', '::1']) {
      const server = await own(t, listen({ tls: authority.tls, host }, (_req, res) => res.end('hello')));
      assert.equal(await (await fetch(server.origin)).text(), 'hello');
    }
  });

  test('makes certificates that fail for exactly one reason each', async (t) => {
    const bad = await makeBadCertificates(authority);
    const failures = { unknownCa: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE', expired: 'CERT_HAS_EXPIRED', wrongHost: 'ERR_TLS_CERT_ALTNAME_INVALID' };
    for (const [name, code] of Object.entries(failures)) {
      const server = await own(t, listen({ tls: bad[name].tls }, (_req, res) => res.end()));
      await assert.rejects(fetch(server.origin), { code });
    }
  });
});

describe('the command', () => {
  test('writes servers.json when both servers listen, keeps its secret and CA, and ends at SIGTERM', async () => {
    const place = join(dir, 'command');
    const jwks = join(dir, 'jwks.json');
    await writeFile(jwks, JSON.stringify({ keys: [await jose.exportJWK(assertionKeys.publicKey)] }));
    const runs = [];
    for (let i = 0; i < 2; i++) {
      const child = spawn(process.execPath, [join(import.meta.dirname, 'main.mjs'), '--dir', place, '--jwks', jwks], { stdio: ['ignore', 'pipe', 'pipe'] });
      let noise = '';
      child.stderr.on('data', (text) => (noise += text));
      const [line] = await once(child.stdout, 'data');
      assert.match(String(line), /^ready: .*\n$/);
      const told = JSON.parse(await readFile(join(place, 'servers.json'), 'utf8'));
      const secret = await readFile(told.clientSecretFile, 'utf8');
      assert.match(secret, /^[A-Za-z0-9_-]{43}$/);
      assert.equal((await stat(told.clientSecretFile)).mode & 0o777, 0o600);
      assert.equal((await fetchTrusting(told.ca)(`${told.issuer}/.well-known/openid-configuration`)).status, 200);
      assert.equal((await fetchTrusting(told.ca)(told.resource)).status, 401);
      child.kill('SIGTERM');
      const [code] = await once(child, 'exit');
      assert.deepEqual([code, noise], [0, '']);
      await assert.rejects(stat(join(place, 'servers.json')), { code: 'ENOENT' });
      runs.push([secret, await readFile(told.ca, 'utf8')]);
    }
    assert.deepEqual(runs[0], runs[1]);
  });

  test('ends with status 2 and one line when --dir is missing', async () => {
    const failed = promisify(execFile)(process.execPath, [join(import.meta.dirname, 'main.mjs')]);
    await assert.rejects(failed, { code: 2, stderr: 'main.mjs: --dir DIR is required\n' });
  });
});
