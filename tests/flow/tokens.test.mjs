// Tokens from the real oidc-provider, with nonces required: each client authentication, discovery, what the server sees,
// and the request that the token is for.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeBadCertificates } from '../servers/authority.mjs';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { listen } from '../servers/transport.mjs';
import { jose, makeWorld, showLogOnFailure, until } from './world.mjs';
import { requestResource } from './resource-request.mjs';
import { startScriptedServer } from './scripted-server.mjs';

let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ profiles: { basic: {}, post: {}, jwt: {}, 'jwt-client-key': { client: 'jwt', 'client-key': 'other' } }, keys: ['work', 'other'] });
});
after(() => world?.stop());

// Servers of one test, and the profiles that use them; closed with it, and the world's own profiles restored.
async function withProfiles(t, profiles, servers = []) {
  t.after(async () => {
    for (const server of servers) await server.close();
    await world.configure();
  });
  await world.configure({ profiles });
}

describe('each client authentication', () => {
  for (const profile of ['basic', 'post', 'jwt', 'jwt-client-key']) {
    test(`${profile} gets a token bound to the key, after one nonce challenge, and a request with it is answered 200`, async () => {
      await world.reload(); // forgets nonces and tokens
      const [tokensBefore, requestsBefore] = [world.as.tokenRequests().length, world.rs.requests.length];
      const token = await world.agent.token(profile);
      const claims = jose.decodeJwt(token.access_token);
      assert.equal(claims.cnf.jkt, world.jkt.work);
      assert.deepEqual([token.token_type, token.jkt, token.scope, claims.aud], ['DPoP', world.jkt.work, 'read', world.rs.origin]);
      assert.ok(token.expires_in > 590 && token.expires_in <= 600);
      assert.ok(Math.abs(token.expires_at - claims.exp) <= 2);

      const sent = world.as.tokenRequests().slice(tokensBefore);
      assert.deepEqual(sent.map(({ status }) => status), [400, 200]);
      assert.equal(sent[0].nonce, undefined);
      assert.equal(sent[1].nonce, sent[0].dpopNonceSent);
      assert.deepEqual(sent.map(({ clientId }) => clientId), Array(2).fill(profile.replace('-client-key', '')));

      const answer = await requestResource(world, { profile });
      assert.deepEqual([answer.status, answer.verdict, answer.sends], [200, 'done', 2]);
      assert.equal(answer.body.jkt, world.jkt.work);
      assert.deepEqual(world.rs.requests.slice(requestsBefore).map(({ status }) => status), [401, 200]);
    });
  }

  test('has nonces that cost no extra round trip from the second request on', async () => {
    await requestResource(world);
    const [tokensBefore, requestsBefore] = [world.as.tokenRequests().length, world.rs.requests.length];
    for (const profile of ['basic', 'post', 'jwt', 'jwt-client-key']) {
      await world.agent.token({ profile, force: true });
      for (let i = 0; i < 3; i++) assert.equal((await requestResource(world, { profile })).sends, 1);
    }
    assert.deepEqual(world.as.tokenRequests().slice(tokensBefore).map(({ status }) => status), Array(4).fill(200));
    assert.deepEqual(world.rs.requests.slice(requestsBefore).map(({ status }) => status), Array(12).fill(200));
  });

  test('sends no proof, no client assertion and no nonce of the other server twice', () => {
    for (const sends of [world.as.tokenRequests(), world.rs.requests]) {
      const jtis = sends.map(({ jti }) => jti);
      assert.ok(jtis.length > 8 && jtis.every(Boolean));
      assert.equal(new Set(jtis).size, jtis.length);
    }
    const assertions = world.as.tokenRequests().map(({ clientAssertionJti }) => clientAssertionJti).filter(Boolean);
    assert.ok(assertions.length >= 6);
    assert.equal(new Set(assertions).size, assertions.length);
    const issued = new Set(world.as.tokenRequests().map(({ dpopNonceSent }) => dpopNonceSent));
    assert.ok(world.rs.requests.every(({ nonce }) => !issued.has(nonce ?? 'none')));
  });

  test('with a wrong secret is refused as the server says, with its error and a next step', async (t) => {
    const file = join(world.dir, 'wrong.secret');
    await world.writeSecret(file, 'not-the-secret');
    await withProfiles(t, { basic: { 'client-secret-file': file } });
    await assert.rejects(world.agent.token('basic'), { name: 'server-refused', oauth_error: 'invalid_client', http_status: 401, retryable: false, next: /secret/ });
  });

  test('private_key_jwt is a client assertion for the issuer alone, of the key in the token, new each time', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    await withProfiles(t, { mine: { client: 'jwt', issuer: server.issuer, 'client-key': 'other' } }, [server]);
    for (let i = 0; i < 2; i++) await world.agent.token({ profile: 'mine', force: true });
    const assertions = server.sends.map(({ form }) => form.get('client_assertion'));
    for (const assertion of assertions) {
      const key = await jose.importJWK(world.jwk.other, 'ES256');
      const { payload, protectedHeader } = await jose.jwtVerify(assertion, key, { issuer: 'jwt', subject: 'jwt', audience: server.issuer });
      assert.deepEqual(protectedHeader, { typ: 'client-authentication+jwt', alg: 'ES256', kid: world.jkt.other });
      assert.equal(payload.aud, server.issuer);
      assert.ok(payload.exp - payload.iat <= 60 && Math.abs(payload.iat - Date.now() / 1000) < 10);
    }
    assert.notEqual(jose.decodeJwt(assertions[0]).jti, jose.decodeJwt(assertions[1]).jti);
    assert.equal(server.sends[0].form.get('client_assertion_type'), 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer');
    assert.equal(server.sends[0].headers.authorization, undefined);
  });
});

describe('a client secret', () => {
  test('that changed in its file counts at the next request', async (t) => {
    t.after(async () => {
      await world.as.putClient({ client_id: 'basic', client_secret: world.secrets.basic, token_endpoint_auth_method: 'client_secret_basic' });
      await world.writeSecret(world.secretFiles.basic, world.secrets.basic);
    });
    await world.agent.token({ profile: 'basic', force: true });
    await world.as.putClient({ client_id: 'basic', client_secret: 'the next secret', token_endpoint_auth_method: 'client_secret_basic' });
    await assert.rejects(world.agent.token({ profile: 'basic', force: true }), { name: 'server-refused' });
    await world.writeSecret(world.secretFiles.basic, 'the next secret\n');
    await world.agent.token({ profile: 'basic', force: true });
  });

  test('in a file that others may read, or that is not there, is not used, and the error says what to do', async (t) => {
    const [open, absent] = [join(world.dir, 'open.secret'), join(world.dir, 'absent.secret')];
    await world.writeSecret(open, world.secrets.basic, 0o644);
    await withProfiles(t, { open: { 'client-secret-file': open }, absent: { 'client-secret-file': absent, scope: 'write' } });
    const before = world.as.tokenRequests().length;
    await assert.rejects(world.agent.token('open'), { name: 'secret-unreadable', message: /0644/, next: /chmod 600/ });
    await assert.rejects(world.agent.token('absent'), { name: 'secret-unreadable', message: /absent\.secret/, next: /make the file/ });
    assert.equal(world.as.tokenRequests().length, before);
    await world.writeSecret(open, world.secrets.basic, 0o600);
    await world.agent.token('open');
  });

  test('is form-encoded in Basic and stands in the form with client_secret_post', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    await withProfiles(t, { basic: { issuer: server.issuer }, post: { issuer: server.issuer } }, [server]);
    await world.agent.token('basic');
    await world.agent.token('post');
    const [basic, post] = server.sends;
    const encoded = new URLSearchParams({ '': world.secrets.basic }).toString().slice(1);
    assert.equal(basic.basic, `basic:${encoded}`);
    assert.equal(basic.form.get('client_secret'), null);
    assert.deepEqual([post.form.get('client_id'), post.form.get('client_secret')], ['post', world.secrets.post]);
  });
});

describe('what the server sees', () => {
  test('is the scope, each resource and each extra form field of the profile, and nothing else', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    const resource = ['https://api.example/a', 'urn:example:b'];
    await withProfiles(t, { full: { issuer: server.issuer, scope: 'write read', resource, form: ['tenant=https://x/?a=1&b=2', 'é f=g=h'] } }, [server]);
    await world.agent.token('full');
    const [{ form, headers, method, proof }] = server.sends;
    assert.deepEqual([...form], [['grant_type', 'client_credentials'], ['scope', 'write read'], ['resource', resource[0]], ['resource', resource[1]],
      ['tenant', 'https://x/?a=1&b=2'], ['é f', 'g=h']]);
    assert.deepEqual([method, headers['content-type'], headers.accept], ['POST', 'application/x-www-form-urlencoded', 'application/json']);
    assert.deepEqual(Object.keys(proof).sort(), ['htm', 'htu', 'iat', 'jti'], 'a proof for the token endpoint has no ath');
    assert.deepEqual([proof.htm, proof.htu], ['POST', `${server.issuer}/token`]);
  });

  test('is another scope and other resources when the caller asks for them', async () => {
    const token = await world.agent.token({ profile: 'basic', scope: 'write', resources: [world.rs.origin] });
    assert.deepEqual([token.scope, jose.decodeJwt(token.access_token).scope], ['write', 'write']);
    await assert.rejects(world.agent.token({ profile: 'basic', resources: ['https://unknown.example'] }), { name: 'server-refused', oauth_error: 'invalid_target' });
    await assert.rejects(world.agent.token('none'), { name: 'unknown-profile' });
  });

  test('may be asked for an opaque token, which is taken as it is', async (t) => {
    await withProfiles(t, { basic: { resource: null, scope: null } });
    const { access_token: token } = await world.agent.token('basic');
    assert.doesNotMatch(token, /\./);
  });
});

describe('discovery', () => {
  const start = (options) => startAuthorizationServer({ tls: world.authority.tls, secrets: world.secrets, resources: [world.rs.origin], ...options });

  test('finds the token endpoint in the RFC 8414 form, in the OpenID form, and for issuers with a path or a last slash', async (t) => {
    const servers = { oauth: await start({ metadata: 'oauth' }), oidc: await start({ metadata: 'oidc' }) };
    for (const path of ['/', '/tenant', '/tenant/']) {
      for (const metadata of ['oauth', 'oidc']) servers[`path${path.replaceAll('/', '-')}.${metadata}`] = await start({ path, metadata });
    }
    const profiles = Object.fromEntries(Object.entries(servers).map(([name, { issuer }]) => [name, { issuer, client: 'basic' }]));
    await withProfiles(t, profiles, Object.values(servers));
    for (const [name, { issuer }] of Object.entries(servers)) {
      const { access_token: token } = await world.agent.token(name);
      assert.equal(jose.decodeJwt(token).iss, issuer, name);
    }
    const told = Object.fromEntries((await world.agent.profiles()).map(({ name, token_endpoint: endpoint }) => [name, endpoint]));
    for (const [name, { issuer }] of Object.entries(servers)) assert.equal(told[name], `${issuer.replace(/\/$/, '')}/token`);
  });

  test('is left out where token-endpoint names it', async (t) => {
    const server = await start({ metadata: 'none' });
    await withProfiles(t, { explicit: { issuer: null, client: 'basic', 'token-endpoint': `${server.issuer}/token` }, none: { issuer: server.issuer } }, [server]);
    assert.equal((await world.agent.token('explicit')).jkt, world.jkt.work);
    assert.ok(server.requests.every(({ path }) => path === '/token'));
    await assert.rejects(world.agent.token('none'), { name: 'server-misbehaved', http_status: 404, next: /token-endpoint/ });
  });

  for (const [what, metadata, message] of [
    ['that name another issuer', { issuer: 'https://other.example' }, /another issuer/],
    ['whose issuer differs by a last slash', { issuer: (issuer) => `${issuer}/` }, /another issuer/],
    ['without an issuer', { issuer: null }, /another issuer/],
    ['without ES256 in dpop_signing_alg_values_supported', { dpop_signing_alg_values_supported: ['RS256', 'ES384'] }, /ES256/],
    ['without a token_endpoint', { token_endpoint: null }, /token_endpoint/],
    ['whose token_endpoint is no URL', { token_endpoint: 'token' }, /token_endpoint/],
  ]) {
    test(`refuses metadata ${what}`, async (t) => {
      const server = await startScriptedServer({ tls: world.authority.tls });
      server.metadata = Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, typeof value === 'function' ? value(server.issuer) : value]));
      await withProfiles(t, { bad: { issuer: server.issuer } }, [server]);
      await assert.rejects(world.agent.token('bad'), { name: 'server-misbehaved', message });
      assert.equal(server.sends.length, 0);
    });
  }

  test('refuses a plain http token_endpoint', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    server.metadata = { token_endpoint: 'http://127.0.0.1:1/token' };
    await withProfiles(t, { bad: { issuer: server.issuer } }, [server]);
    await assert.rejects(world.agent.token('bad'), { name: 'insecure-url' });
  });

  test('takes metadata that list ES256 among others', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    server.metadata = { dpop_signing_alg_values_supported: ['RS256', 'ES256'] };
    await withProfiles(t, { good: { issuer: server.issuer } }, [server]);
    await world.agent.token('good');
  });
});

describe('the way to the server', () => {
  test('may be plain http on loopback with allow-http-loopback, all the way to the 200', async (t) => {
    const as = await startAuthorizationServer({ host: '127.0.0.1', secrets: world.secrets });
    const rs = await startResourceServer({ host: '127.0.0.1', issuer: as.issuer });
    as.addResource(rs.origin);
    await withProfiles(t, { plain: { issuer: as.issuer, resource: rs.origin, origins: rs.origin, 'ca-file': null, 'allow-http-loopback': 'yes' } }, [as, rs]);
    const answer = await requestResource(world, { profile: 'plain', url: `${rs.origin}/x` });
    assert.deepEqual([answer.status, answer.body.jkt], [200, world.jkt.work]);
  });

  test('is refused when TLS fails, and each reason has a clear error of its own', async (t) => {
    const bad = await makeBadCertificates(world.authority);
    const servers = {};
    for (const [name, { tls }] of Object.entries(bad)) servers[name] = await listen({ tls }, (_req, res) => res.end('{}'));
    servers.plain = await listen({}, (_req, res) => res.end('{}'));
    const profiles = Object.fromEntries(Object.entries(servers).map(([name, { port }]) => [name, { issuer: `https://localhost:${port}` }]));
    await withProfiles(t, { ...profiles, distrusted: { 'ca-file': null } }, Object.values(servers));
    const expected = { unknownCa: [/issuer certificate/, /ca-file/], distrusted: [/issuer certificate/, /ca-file/],
      expired: [/expired/, /renewed/], wrongHost: [/not for host localhost/, /name that the certificate is for/], plain: [/cannot agree on TLS/, /speaks TLS/] };
    for (const [profile, [message, next]] of Object.entries(expected)) {
      await assert.rejects(world.agent.token(profile), { name: 'server-unreachable', message, next });
    }
  });

  test('names the CA file that cannot be loaded', async (t) => {
    await withProfiles(t, { basic: { 'ca-file': join(world.dir, 'no-such.pem') } });
    await assert.rejects(world.agent.token('basic'), { name: 'configuration', next: /ca-file/ });
  });

  test('that is gone gives server-unreachable, and works again as soon as the server is back', async (t) => {
    const first = await startScriptedServer({ tls: world.authority.tls });
    await withProfiles(t, { away: { issuer: first.issuer } });
    await world.agent.token('away');
    await first.close();
    await assert.rejects(world.agent.token({ profile: 'away', force: true }), { name: 'server-unreachable', retryable: true, next: /server runs/ });
    assert.ok((await world.agent.token('away')).access_token, 'the good token is still served');
    const second = await startScriptedServer({ tls: world.authority.tls, port: first.port });
    t.after(second.close);
    await until('a new token comes', () => world.agent.token({ profile: 'away', force: true }));
    assert.equal(second.sends.length, 1);
  });

  test('leaves no secret, token or proof in the log at its highest level', async () => {
    const log = await readFile(world.logPath, 'utf8');
    assert.match(log, /debug: POST https:\/\/localhost/);
    assert.doesNotMatch(log, /eyJ|opaque-|not-the-secret/);
    for (const secret of Object.values(world.secrets)) assert.ok(!log.includes(secret) && !log.includes(encodeURIComponent(secret)));
  });
});
