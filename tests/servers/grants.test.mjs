// Proves that the test authorization server offers every grant with every client authentication, with nonces required, and
// that the resource server takes the tokens; driven by oauth4webapi and the headless user.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { approveDevice, deny, logIn, makeUser } from '../flow/user.mjs';
import { makeAuthority, makeClientCertificate, signRequest } from './authority.mjs';
import { startAuthorizationServer } from './authorization-server.mjs';
import { authentications, clientFor } from './clients.mjs';
import { hashOf } from './events.mjs';
import { makeAssertion, makeOAuthClient } from './oauth-client.mjs';
import { startResourceServer } from './resource-server.mjs';
import { fetchTrusting, listen } from './transport.mjs';

const secret = 'client secret+/%:&=';
const idp = 'https://idp.example';
const keys = await jose.generateKeyPair('ES256', { extractable: true });
const publicJwks = { keys: [await jose.exportJWK(keys.publicKey)] };
const idpKeys = await jose.generateKeyPair('ES256', { extractable: true });

let dir, authority, ca, signed, selfSigned, as, rs;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dpop-agent-grants-'));
  authority = await makeAuthority(join(dir, 'authority'));
  ({ ca } = authority);
  signed = await makeClientCertificate(authority, 'signed', { subject: '/O=test/CN=client one' });
  selfSigned = await makeClientCertificate(authority, 'alone', { selfSigned: true });
  as = await startAuthorizationServer({
    tls: authority.tls, mtls: {}, clients: authentications.map(clientOf), refreshTokens: 'always', authorizationDetails: ['payment'],
    assertionKeys: { keys: [await jose.exportJWK(idpKeys.publicKey)] }, registration: {},
  });
  rs = await startResourceServer({ tls: authority.tls, issuer: as.issuer, ca, introspection: as.introspectionClient, paths: ['/api'] });
  as.addResource(rs.origin);
  as.addResource(`${rs.origin}/api`);
});

after(async () => {
  await as?.close();
  await rs?.close();
  await rm(dir, { recursive: true, force: true });
});

async function own(t, starting) {
  const server = await starting;
  t.after(server.close);
  return server;
}

const certificateOf = (authentication) => ({ tls_client_auth: signed, self_signed_tls_client_auth: selfSigned })[authentication]?.tls;
const clientOf = (authentication) =>
  clientFor({ id: authentication, authentication, secret, jwks: publicJwks, certificate: certificateOf(authentication)?.cert });
const clientWith = (authentication, more) => {
  const credentials = { secret, privateKey: keys.privateKey, certificate: certificateOf(authentication) };
  return makeOAuthClient({ as, ca, id: authentication, authentication, ...credentials, ...more });
};
const wanted = () => ({ scope: 'read', resource: rs.origin });

async function isGood(client, token, { sub }) {
  assert.equal(token.token_type, 'dpop');
  assert.equal(jose.decodeJwt(token.access_token).cnf.jkt, await client.dpop.calculateThumbprint());
  assert.equal(await client.call(token, `${rs.origin}/things`).catch((error) => error), 200);
  assert.equal(rs.requests.at(-1).token.sub, sub);
}

for (const authentication of authentications) {
  describe(`with ${authentication}`, () => {
    let client;
    before(async () => {
      client = await clientWith(authentication);
    });
    const tries = {
      'authorization code': [() => client.code(wanted()), 'alice'],
      'authorization code, pushed': [() => client.code({ par: true, ...wanted() }), 'alice'],
      'refresh token': [async () => client.refresh((await client.code(wanted())).refresh_token, wanted()), 'alice'],
      'device code': [() => client.device(wanted()), 'alice'],
      'client credentials': [() => client.client(wanted()), authentication],
      'token exchange': [async () => client.exchange((await client.code(wanted())).access_token, wanted()), 'alice'],
      'JWT bearer': [async () => client.bearer(await makeAssertion(idpKeys.privateKey, { iss: idp, sub: 'bob', aud: as.issuer }), wanted()), 'bob'],
    };
    for (const [grant, [get, sub]] of Object.entries(tries)) {
      test(`${grant}: a token bound to the key, after a nonce challenge, and a 200 with it`, async () => {
        const from = as.tokenRequests().length;
        client = await clientWith(authentication);
        await isGood(client, await get(), { sub });
        const sent = as.tokenRequests().slice(from);
        assert.ok(sent.some(({ status, dpopNonceSent }) => status === 400 && dpopNonceSent) || grant.endsWith('pushed'));
        assert.ok(sent.every(({ clientId }) => clientId === authentication));
        assert.ok(sent.every(({ certificate }) => certificate === (certificateOf(authentication) ? sent[0].certificate : null)));
      });
    }
  });
}

describe('the authorization endpoint', () => {
  const client = () => clientWith('none');

  test('sends the user back with code, state and iss, and the user follows to the loopback listener', async (t) => {
    const loopback = await own(t, listen({}, (_req, res) => res.writeHead(200, { 'Content-Type': 'text/html' }).end('you may close this')));
    const native = await clientWith('none', { redirectUri: `http://127.0.0.1:${loopback.port}/callback` });
    const { url, finish } = await native.beginCode({ scope: 'openid read', nonce: 'n-1', resource: rs.origin });
    const { redirect, page } = await logIn(url, { ca, login: 'carol' });
    assert.equal(new URL(redirect).origin, `http://127.0.0.1:${loopback.port}`);
    assert.deepEqual([...new URL(redirect).searchParams.keys()].sort(), ['code', 'iss', 'state']);
    assert.equal(new URL(redirect).searchParams.get('iss'), as.issuer);
    assert.deepEqual([page.status, page.body], [200, 'you may close this']);
    const refused = await finish(redirect).catch((error) => error);
    assert.equal(refused.code, oauth.JWT_CLAIM_COMPARISON, 'the ID token has a nonce, which this client did not expect');
  });

  test('gives an ID token, claims of a user, and narrower scopes when the user refuses some', async () => {
    const one = await client();
    const token = await one.code({ scope: 'openid email read write', resource: rs.origin });
    assert.equal(jose.decodeJwt(token.id_token).sub, 'alice');
    assert.equal(token.scope, 'read write');
    const { url, finish } = await one.beginCode({ scope: 'openid read write', resource: rs.origin });
    const { redirect } = await logIn(url, { ca, refuse: 'write', follow: false });
    assert.equal((await finish(redirect)).scope, 'read');
  });

  test('sends the user back with access_denied when it refuses', async () => {
    const { url } = await (await client()).beginCode(wanted());
    const { redirect } = await deny(url, { ca, follow: false });
    const answer = new URL(redirect).searchParams;
    assert.deepEqual([answer.get('error'), answer.get('iss'), answer.has('state')], ['access_denied', as.issuer, true]);
  });

  test('keeps a session: the second login of a user asks for consent only', async () => {
    const user = makeUser({ ca });
    for (const posts of [2, 1]) {
      const from = as.requests.length;
      const { url } = await (await client()).beginCode(wanted());
      const { redirect } = await user.logIn(url, { follow: false });
      assert.ok(new URL(redirect).searchParams.has('code'));
      assert.equal(as.requests.slice(from).filter(({ method }) => method === 'POST').length, posts);
    }
  });

  test('refuses a redirect URI that is not registered, with a page and no redirect', async () => {
    const { url } = await (await clientWith('none', { redirectUri: 'http://127.0.0.1:1/elsewhere' })).beginCode(wanted());
    const { redirect, page } = await logIn(url, { ca });
    assert.equal(redirect, null);
    assert.equal(JSON.parse(page.body).error, 'invalid_redirect_uri');
  });

  test('refuses a code with another key than dpop_jkt named, and a code that is used twice', async () => {
    const [one, other] = [await client(), await client()];
    const { url } = await one.beginCode(wanted());
    const code = new URL((await logIn(url, { ca, follow: false })).redirect).searchParams.get('code');
    const form = { code, redirect_uri: 'http://127.0.0.1:1/callback', code_verifier: 'x'.repeat(43) };
    await assert.rejects(other.request('code', form), (error) => error.error === 'invalid_grant');
    const first = await one.beginCode(wanted());
    const { redirect } = await logIn(first.url, { ca, follow: false });
    const token = await first.finish(redirect);
    await assert.rejects(first.finish(redirect), (error) => error.error === 'invalid_grant');
    await assert.rejects(one.refresh(token.refresh_token), (error) => error.error === 'invalid_grant', 'its grant is revoked');
    const { grantId } = as.events.findLast(({ event }) => event === 'grant_revoked');
    assert.equal(as.events.find((event) => event.refreshHash === hashOf(token.refresh_token)).grantId, grantId);
  });

  test('takes pushed requests only, when told so', async (t) => {
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, requirePar: true, clients: [clientFor({ id: 'none' })] }));
    const one = await clientWith('none', { as: server });
    assert.equal(one.server.require_pushed_authorization_requests, true);
    const { redirect } = await logIn((await one.beginCode({ scope: 'openid' })).url, { ca, follow: false });
    assert.equal(new URL(redirect).searchParams.get('error'), 'invalid_request');
    assert.ok((await one.code({ scope: 'openid', par: true })).id_token);
  });

  test('carries authorization_details from the request into the token', async () => {
    const details = [{ type: 'payment', amount: '5' }];
    const one = await client();
    const token = await one.code({ ...wanted(), authorization_details: JSON.stringify(details) });
    assert.deepEqual(token.authorization_details, details);
    assert.deepEqual((await one.client({ ...wanted(), authorization_details: JSON.stringify(details) })).authorization_details, details);
    const other = one.client({ ...wanted(), authorization_details: '[{"type":"other"}]' });
    await assert.rejects(other, (error) => error.error === 'invalid_authorization_details');
  });
});

describe('refresh tokens', () => {
  test('rotate: the events say which was consumed, and using one again revokes the grant', async () => {
    const client = await clientWith('none');
    const one = (await client.code(wanted())).refresh_token;
    const two = (await client.refresh(one)).refresh_token;
    assert.notEqual(one, two);
    const seen = (name, token) => as.events.some(({ event, tokenHash }) => event === name && tokenHash === hashOf(token));
    assert.deepEqual([seen('refresh_issued', one), seen('refresh_consumed', one)], [true, true]);
    assert.deepEqual([seen('refresh_issued', two), seen('refresh_consumed', two)], [true, false]);
    await assert.rejects(client.refresh(one), (error) => error.error === 'invalid_grant');
    const { event, error, description, tokenHash } = as.events.at(-1);
    assert.deepEqual([event, error, description, tokenHash], ['refused', 'invalid_grant', 'refresh token already used', hashOf(one)]);
    await assert.rejects(client.refresh(two), (error) => error.error === 'invalid_grant');
  });

  test('stay the same when they are not to rotate, run out, and are issued for offline_access alone by default', async (t) => {
    const clients = [clientFor({ id: 'none' })];
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, clients, rotate: false }));
    const client = await clientWith('none', { as: server });
    assert.equal((await client.code({ scope: 'openid' })).refresh_token, undefined);
    const lasting = { scope: 'openid offline_access', prompt: 'consent' };
    const { refresh_token: token } = await client.code(lasting);
    assert.equal((await client.refresh(token)).refresh_token, token);
    server.setRefreshTtl(1);
    const { refresh_token: short } = await client.code(lasting);
    server.setCodeTtl(1);
    const { url, finish } = await client.beginCode({ scope: 'openid' });
    const { redirect } = await logIn(url, { ca, follow: false });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await assert.rejects(client.refresh(short), (error) => error.error === 'invalid_grant');
    await assert.rejects(finish(redirect), (error) => error.error === 'invalid_grant');
  });

  test('are bound to the key of a public client', async () => {
    const { refresh_token: token } = await (await clientWith('none')).code(wanted());
    await assert.rejects((await clientWith('none')).refresh(token), (error) => error.error === 'invalid_grant');
  });

  test('are consumed although the answer is lost, or the nonce was refused, when the server is told so', async (t) => {
    const clients = [clientFor({ id: 'none' })];
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, clients, refreshTokens: 'always' }));
    const client = await clientWith('none', { as: server });
    const { refresh_token: lost } = await client.code({ scope: 'openid' });
    server.loseAnswers(({ grantType }) => grantType === 'refresh_token');
    await assert.rejects(client.refresh(lost));
    server.loseAnswers(null);
    assert.deepEqual([server.requests.at(-1).lost, server.requests.at(-1).status, server.requests.at(-1).presented], [200, null, hashOf(lost)]);
    assert.ok(server.events.some(({ event, tokenHash }) => event === 'refresh_consumed' && tokenHash === hashOf(lost)));
    await assert.rejects(client.refresh(lost), (error) => error.error === 'invalid_grant');

    const { refresh_token: spent } = await client.code({ scope: 'openid' });
    server.rotateNonces();
    server.spendOnChallenge();
    const from = server.tokenRequests().length;
    await assert.rejects(client.refresh(spent), (error) => error.error === 'invalid_grant');
    const answers = server.tokenRequests().slice(from).map(({ status, dpopNonceSent }) => [status, typeof dpopNonceSent]);
    assert.deepEqual(answers, [[400, 'string'], [400, 'undefined']]);
  });
});

describe('the device flow', () => {
  test('is pending until the user approves, by a code that is typed in too', async (t) => {
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, clients: [clientFor({ id: 'none' })], deviceInterval: 1 }));
    const client = await clientWith('none', { as: server });
    let told;
    const token = await client.device({ scope: 'openid' }, async (answer) => {
      told = answer;
      await assert.rejects(client.request('device', { device_code: answer.device_code }), (error) => error.error === 'authorization_pending');
      const { redirect, page } = await approveDevice({ uri: answer.verification_uri, userCode: answer.user_code }, { ca, login: 'dave' });
      assert.deepEqual([redirect, page.status], [null, 200]);
      assert.match(page.body, /device: done/);
    });
    assert.equal(told.interval, 1);
    assert.equal(jose.decodeJwt(token.id_token).sub, 'dave');
  });

  for (const at of ['confirm', 'consent']) {
    test(`ends with access_denied when the user refuses at ${at}`, async () => {
      const client = await clientWith('none');
      const refusing = client.device(wanted(), (answer) => approveDevice(answer.verification_uri_complete, { ca, deny: true, at }));
      await assert.rejects(refusing, (error) => error.error === 'access_denied');
    });
  }
});

describe('token exchange and JWT bearer', () => {
  test('an exchange names its token type, takes an actor, an audience and opaque tokens, and refuses a made-up one', async () => {
    const client = await clientWith('client_secret_basic');
    const { access_token: subject } = await client.code({ scope: 'openid' });
    const actor = await client.client(wanted());
    const type = 'urn:ietf:params:oauth:token-type:access_token';
    const token = await client.exchange(subject, { scope: 'read', audience: rs.origin, actor_token: actor.access_token, actor_token_type: type });
    assert.equal(token.issued_token_type, type);
    await isGood(client, token, { sub: 'alice' });
    assert.deepEqual(rs.requests.at(-1).token.act, { sub: 'client_secret_basic' });
    await assert.rejects(client.exchange('made-up', wanted()), (error) => error.error === 'invalid_request');
    await assert.rejects(client.exchange(subject, { audience: 'https://unknown.example' }), (error) => error.error === 'invalid_target');
  });

  test('an assertion of the client\'s own key is taken, once; one of another issuer, audience, key or time is not', async () => {
    const client = await clientWith('private_key_jwt');
    const good = { iss: 'private_key_jwt', sub: 'erin', aud: as.issuer };
    const assertion = await makeAssertion(keys.privateKey, good);
    await isGood(client, await client.bearer(assertion, wanted()), { sub: 'erin' });
    const refused = (bad) => assert.rejects(client.bearer(bad, wanted()), (error) => error.error === 'invalid_grant');
    await refused(assertion);
    await refused(await makeAssertion(keys.privateKey, { ...good, iss: idp }));
    await refused(await makeAssertion(keys.privateKey, { ...good, iss: 'https://stranger.example' }));
    await refused(await makeAssertion(keys.privateKey, { ...good, aud: [as.issuer, 'https://other.example'] }));
    await refused(await makeAssertion(keys.privateKey, { ...good, aud: 'https://other.example' }));
    const old = new jose.SignJWT({ jti: '1', ...good }).setProtectedHeader({ alg: 'ES256' }).setExpirationTime(Math.floor(Date.now() / 1000) - 60);
    await refused(await old.sign(keys.privateKey));
    assert.ok(as.tokenRequests().some(({ assertionJti }) => assertionJti === jose.decodeJwt(assertion).jti));
  });

  test('a proof is required, and a replayed one refused', async () => {
    const fetch = fetchTrusting(ca);
    const { privateKey, publicKey } = await jose.generateKeyPair('ES256');
    const jwk = await jose.exportJWK(publicKey);
    const url = `${as.issuer}/token`;
    const prove = (nonce) =>
      new jose.SignJWT({ jti: crypto.randomUUID(), htm: 'POST', htu: url, nonce })
        .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk }).setIssuedAt().sign(privateKey);
    const send = async (proof) => {
      const answer = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded', ...(proof ? { dpop: proof } : {}) },
        body: new URLSearchParams({
          grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_id: 'none',
          assertion: await makeAssertion(idpKeys.privateKey, { iss: idp, sub: 'bob', aud: as.issuer }),
        }),
      });
      return { status: answer.status, nonce: answer.headers.get('dpop-nonce'), ...(await answer.json()) };
    };
    assert.equal((await send()).error, 'invalid_grant');
    const { error, nonce } = await send(await prove());
    assert.equal(error, 'use_dpop_nonce');
    const proof = await prove(nonce);
    assert.equal((await send(proof)).status, 200);
    assert.equal((await send(proof)).error, 'invalid_grant');
  });
});

describe('client certificates', () => {
  test('are asked for at the aliases alone, and two profiles show each its own', async () => {
    const [one, two] = [await clientWith('tls_client_auth'), await clientWith('self_signed_tls_client_auth')];
    assert.equal(one.server.mtls_endpoint_aliases.token_endpoint, `${as.mtlsUrl}/token`);
    await Promise.all([one.client(wanted()), two.client(wanted())]);
    const shown = (id) => new Set(as.tokenRequests().filter(({ clientId }) => clientId === id).map(({ certificate }) => certificate));
    assert.deepEqual([...shown('tls_client_auth')], [signed.thumbprint]);
    assert.deepEqual([...shown('self_signed_tls_client_auth')], [selfSigned.thumbprint]);
    assert.equal(as.requests.find(({ path, clientId }) => clientId === undefined && path.startsWith('/.well-known')).certificate, null);
  });

  test('of nobody, of another and of another CA are refused', async () => {
    const refused = async (authentication, certificate) =>
      assert.rejects((await clientWith(authentication, { certificate })).client(wanted()), (error) => error.error === 'invalid_client');
    await refused('tls_client_auth', undefined);
    await refused('tls_client_auth', (await makeClientCertificate(authority, 'other')).tls);
    await refused('tls_client_auth', (await makeClientCertificate(authority, 'forged', { subject: '/O=test/CN=client one', selfSigned: true })).tls);
    await refused('self_signed_tls_client_auth', signed.tls);
  });

  test('are asked for at the issuer itself without aliases, and a signed CSR does as well', async (t) => {
    const made = await makeClientCertificate(authority, 'csr', { subject: '/CN=by csr', names: 'DNS:client.example' });
    const again = await signRequest(authority, join(authority.dir, 'client-csr.csr'));
    assert.equal(again.subjectDn, 'CN=by csr');
    const byName = { tls_client_auth_subject_dn: undefined, tls_client_auth_san_dns: 'client.example' };
    const clients = [
      clientFor({ id: 'dn', authentication: 'tls_client_auth', certificate: made.tls.cert }),
      clientFor({ id: 'san', authentication: 'tls_client_auth', certificate: made.tls.cert, ...byName }),
    ];
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, mtls: { aliases: false }, clients }));
    for (const id of ['dn', 'san']) {
      const client = await makeOAuthClient({ as: server, ca, id, authentication: 'tls_client_auth', certificate: made.tls });
      assert.equal(client.server.mtls_endpoint_aliases, undefined);
      assert.equal((await client.client({})).token_type, 'dpop');
      assert.equal(server.requests.at(-1).certificate, made.thumbprint);
    }
  });
});

describe('revocation, introspection and registration', () => {
  test('an opaque token is introspected with cnf, taken by the resource server, and not any more when it is revoked', async (t) => {
    t.after(() => as.setAccessTokenFormat('jwt'));
    as.setAccessTokenFormat('opaque');
    const client = await clientWith('client_secret_basic');
    const token = await client.code(wanted());
    const told = await client.introspect(token.access_token);
    assert.deepEqual([told.active, told.cnf.jkt, told.aud, told.sub], [true, await client.dpop.calculateThumbprint(), rs.origin, 'alice']);
    assert.equal(await client.call(token, rs.origin), 200);
    await assert.rejects((await clientWith('client_secret_basic')).call(token, rs.origin));
    assert.equal(rs.requests.at(-1).error, 'invalid_dpop_proof', 'the proof is of another key');
    await client.revoke(token.refresh_token);
    assert.equal((await client.introspect(token.access_token)).active, false);
    await assert.rejects(client.call(token, rs.origin));
    assert.equal(rs.requests.at(-1).error, 'invalid_token');
    await assert.rejects(client.refresh(token.refresh_token), (error) => error.error === 'invalid_grant');
  });

  test('a client registers itself, and reads, changes and deletes its registration', async () => {
    const fetch = fetchTrusting(ca);
    const metadata = (await clientWith('none')).server;
    const body = { ...clientFor({ id: 'x', authentication: 'private_key_jwt', jwks: publicJwks }), client_id: undefined, dpop_bound_access_tokens: true };
    const answer = await oauth.dynamicClientRegistrationRequest(metadata, body, { [oauth.customFetch]: fetch });
    const made = await oauth.processDynamicClientRegistrationResponse(answer);
    const client = await makeOAuthClient({ as, ca, id: made.client_id, authentication: 'private_key_jwt', privateKey: keys.privateKey });
    await isGood(client, await client.code(wanted()), { sub: 'alice' });
    const headers = { authorization: `Bearer ${made.registration_access_token}`, 'content-type': 'application/json' };
    const manage = (method, sent) => fetch(made.registration_client_uri, { method, headers, body: sent && JSON.stringify(sent) });
    assert.equal((await (await manage('GET')).json()).client_id, made.client_id);
    const { registration_access_token, registration_client_uri, client_id_issued_at, ...rest } = made;
    assert.equal((await (await manage('PUT', { ...rest, client_name: 'renamed' })).json()).client_name, 'renamed');
    assert.equal((await as.findClient(made.client_id)).client_name, 'renamed');
    assert.equal((await manage('DELETE')).status, 204);
    assert.equal(await as.findClient(made.client_id), undefined);
  });

  test('registration wants the initial access token, when there is one', async (t) => {
    const server = await own(t, startAuthorizationServer({ tls: authority.tls, registration: { initialAccessToken: 'let-me-in' } }));
    const fetch = fetchTrusting(ca);
    const register = async (headers) =>
      (await fetch(`${server.issuer}/reg`, {
        method: 'POST', headers: { 'content-type': 'application/json', ...headers },
        body: JSON.stringify({ ...clientFor({ id: 'x' }), client_id: undefined }),
      })).status;
    const statuses = [await register({}), await register({ authorization: 'Bearer let-me' }), await register({ authorization: 'Bearer let-me-in' })];
    assert.deepEqual(statuses, [401, 401, 201]);
  });
});

describe('what a test sees and changes', () => {
  test('records and events hold no secret, no token, no code and no assertion', async () => {
    const client = await clientWith('client_secret_post');
    const token = await client.code({ ...wanted(), scope: 'openid read' });
    const assertion = await makeAssertion(idpKeys.privateKey, { iss: idp, sub: 'bob', aud: as.issuer });
    await client.bearer(assertion, wanted());
    const { url } = await client.beginCode(wanted());
    const code = new URL((await logIn(url, { ca, follow: false })).redirect).searchParams.get('code');
    await client.request('code', { code, redirect_uri: 'http://127.0.0.1:1/callback', code_verifier: 'x'.repeat(43) }).catch(() => {});
    assert.equal(as.requests.at(-1).presented, hashOf(code));
    const seen = JSON.stringify([as.requests, as.events, rs.requests]);
    for (const canary of [secret, token.access_token, token.refresh_token, token.id_token, assertion, code]) assert.ok(!seen.includes(canary));
  });

  test('the metadata, the answers, the audience parameter and the FAPI profile', async (t) => {
    const clients = [clientFor({ id: 'none' }), clientFor({ id: 'private_key_jwt', authentication: 'private_key_jwt', jwks: publicJwks })];
    const server = await own(t, startAuthorizationServer({
      tls: authority.tls, clients, audienceParameter: true, fapi2: true, requirePar: true, resources: ['https://api.example'],
    }));
    server.advertise({ dpop_signing_alg_values_supported: ['RS256'], revocation_endpoint: null });
    const client = await clientWith('private_key_jwt', { as: server });
    assert.deepEqual(client.server.dpop_signing_alg_values_supported, ['RS256']);
    assert.equal(client.server.revocation_endpoint, undefined);
    const token = await client.client({ scope: 'read', audience: 'https://api.example' });
    assert.equal(jose.decodeJwt(token.access_token).aud, 'https://api.example');
    const { access_token: second } = await client.code({ par: true, scope: 'read', audience: 'https://api.example' });
    assert.equal(jose.decodeJwt(second).aud, 'https://api.example');
    server.amend((ctx) => {
      if (ctx.body.token_type) ctx.body.token_type = 'Bearer';
    });
    assert.equal((await client.client({ scope: 'read', audience: 'https://api.example' })).token_type, 'bearer');
  });
});
