// fapi2 = yes: a login at oidc-provider's FAPI 2.0 profile with each client authentication that it has, and a server that
// offers less, each thing by itself: an error that names the rule, before anything is sent.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { addClient, logIn } from './login-steps.mjs';
import { bearerOf, startScriptedServer } from './scripted-server.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';

let world;
let fapi; // { as, rs }
const servers = [];
showLogOnFailure(() => world);

const clients = ['private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'];
const strict = { fapi2: 'yes', grant: 'authorization_code', scope: 'openid read' };

before(async () => {
  world = await makeWorld({ keys: ['work', 'client', 'signed', 'alone'] });
  const { tls, ca } = world.authority;
  const as = await startAuthorizationServer({ tls, fapi2: true, mtls: {}, refreshTokens: 'always', requirePar: true });
  const rs = await startResourceServer({ tls, issuer: as.issuer, ca });
  as.addResource(rs.origin);
  servers.push(as, rs);
  fapi = { as, rs };
  const keys = { private_key_jwt: 'client', tls_client_auth: 'signed', self_signed_tls_client_auth: 'alone' };
  for (const client of clients) await addClient(world, client, client, { as, clientKey: keys[client] });
});
after(async () => {
  await world?.stop();
  for (const server of servers) await server.close();
});

describe('fapi2 = yes', () => {
  const at = () => ({ issuer: fapi.as.issuer, resource: fapi.rs.origin, origins: fapi.rs.origin });

  test('logs in, requests, refreshes and logs out with each client authentication that the profile has', async () => {
    await world.configure({ profiles: Object.fromEntries(clients.map((client) => [client, { client, ...strict, ...at() }])) });
    for (const profile of clients) {
      const from = fapi.as.requests.length;
      const { status, stdout } = await world.dpop('profile', 'test', profile);
      assert.equal(status, 0, stdout);
      const { result, begun } = await logIn(world, profile);
      assert.deepEqual([result.subject, result.token_type, result.jkt], ['alice', 'DPoP', world.jkt.work]);
      assert.deepEqual([...new URL(begun.url).searchParams.keys()].sort(), ['client_id', 'request_uri'], 'nothing but a reference goes through the browser');
      const first = await world.agent.token(profile);
      const second = await world.agent.token({ profile, force: true });
      assert.notEqual(first.access_token, second.access_token);
      const request = await world.dpop('request', '--ca-file', world.authority.ca, profile, `${fapi.rs.origin}/x`);
      assert.equal(request.status, 0, request.stderr);
      assert.equal(JSON.parse(request.stdout).client_id, profile);
      const sent = fapi.as.requests.slice(from).filter(({ method }) => method === 'POST');
      const pushed = sent.filter(({ path }) => path === '/request');
      assert.ok(pushed.length > 0 && pushed.at(-1).fields.includes('code_challenge') && pushed.at(-1).status === 201);
      for (const record of sent.filter(({ path }) => path === '/token' || path === '/request')) {
        assert.equal(record.fields.includes('client_assertion'), profile === 'private_key_jwt');
        assert.equal(record.certificate !== null, profile !== 'private_key_jwt');
      }
      assert.equal((await world.agent.logout(profile)).revoked, true);
    }
  });

  test('gets tokens for a service too', async () => {
    await world.configure({ profiles: { service: { client: 'private_key_jwt', ...strict, grant: 'client_credentials', scope: 'read', ...at() } } });
    assert.equal((await world.agent.token('service')).jkt, world.jkt.work);
  });
});

describe('fapi2 = yes refuses a server', () => {
  const good = (server) => ({
    authorization_endpoint: `${server.origin}/auth`, pushed_authorization_request_endpoint: `${server.origin}/par`,
    code_challenge_methods_supported: ['S256'], authorization_response_iss_parameter_supported: true,
    token_endpoint_auth_methods_supported: ['private_key_jwt', 'tls_client_auth'], token_endpoint_auth_signing_alg_values_supported: ['ES256', 'PS256'],
    dpop_signing_alg_values_supported: ['ES256'],
  });
  const weaker = {
    'without PAR': [{ pushed_authorization_request_endpoint: null }, /has no pushed_authorization_request_endpoint \(PAR, RFC 9126\)/],
    'without PKCE': [{ code_challenge_methods_supported: null }, /does not list S256 in code_challenge_methods_supported/],
    'with plain PKCE alone': [{ code_challenge_methods_supported: ['plain'] }, /does not list S256 in code_challenge_methods_supported/],
    'that does not name itself in redirects': [{ authorization_response_iss_parameter_supported: null }, /authorization_response_iss_parameter_supported \(RFC 9207\)/],
    'that says it does not': [{ authorization_response_iss_parameter_supported: false }, /authorization_response_iss_parameter_supported/],
    'that does not list the client authentication': [{ token_endpoint_auth_methods_supported: ['client_secret_basic'] }, /does not list private_key_jwt in token_endpoint_auth_methods_supported/],
    'that lists none': [{ token_endpoint_auth_methods_supported: null }, /does not list private_key_jwt/],
    'that takes no ES256 assertions': [{ token_endpoint_auth_signing_alg_values_supported: ['RS256'] }, /does not list ES256 in token_endpoint_auth_signing_alg_values_supported/],
    'without DPoP for our key': [{ dpop_signing_alg_values_supported: ['PS256'] }, /does not list ES256 in dpop_signing_alg_values_supported/],
    'with a plain http endpoint': [{ authorization_endpoint: 'http://localhost/auth' }, /plain http authorization_endpoint/],
  };

  test('each weakness by itself, with the rule, and nothing is sent', async () => {
    const names = Object.keys(weaker);
    const made = {};
    for (const name of [...names, 'good']) {
      made[name] = await startScriptedServer({ tls: world.authority.tls });
      servers.push(made[name]);
      made[name].metadata = { ...good(made[name]), ...weaker[name]?.[0] };
      made[name].token = (answer, { path }) => (path === '/par' ? answer(201, { request_uri: 'urn:it', expires_in: 60 }) : answer(200, bearerOf()));
    }
    const profileOf = (name) => [name.replaceAll(' ', '-'), { client: 'private_key_jwt', ...strict, issuer: made[name].issuer, resource: null }];
    await world.configure({ profiles: Object.fromEntries([...names, 'good'].map(profileOf)) });
    const begun = await world.agent.loginBegin('good');
    assert.deepEqual(Object.fromEntries(new URL(begun.url).searchParams), { client_id: 'private_key_jwt', request_uri: 'urn:it' });
    await world.agent.loginCancel(begun);
    for (const name of names) {
      const profile = profileOf(name)[0];
      await assert.rejects(world.agent.loginBegin(profile), (error) => {
        assert.match(error.message, weaker[name][1], name);
        assert.ok(['server-misbehaved', 'insecure-url'].includes(error.name), name);
        assert.equal(error.stage, 'discovery', name);
        assert.ok(error.next, name);
        return true;
      });
      assert.equal(made[name].sends.length, 0, name);
      const { status, stdout } = await world.dpop('profile', 'test', profile);
      assert.equal(status, 3, `${name}: ${stdout}`);
      assert.match(stdout, weaker[name][1], name);
    }
  });

  test('whose redirect does not name it, or whose token is a bearer token', async () => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    servers.push(server);
    server.metadata = good(server);
    let type = 'DPoP';
    server.token = (answer, { path }) => (path === '/par' ? answer(201, { request_uri: 'urn:it', expires_in: 60 }) : answer(200, bearerOf({ token_type: type })));
    await world.configure({ profiles: { mute: { client: 'private_key_jwt', ...strict, issuer: server.issuer, resource: null } } });
    const pushed = () => server.sends.filter(({ path }) => path === '/par').at(-1).form;
    const ended = async (parameters) => {
      const begun = await world.agent.loginBegin('mute');
      const waiting = world.agent.loginWait(begun, { timeout: 10_000 }).then(() => null, (error) => error);
      const url = new URL(begun.redirect_uri);
      url.search = new URLSearchParams({ code: 'a-code', state: pushed().get('state'), ...parameters });
      await world.agent.loginRedirect(begun, url.href).catch(() => {});
      return waiting;
    };
    assert.match((await ended({})).message, /iss/);
    type = 'Bearer';
    assert.equal((await ended({ iss: server.issuer })).name, 'token-not-dpop');
  });
});

describe('fapi2 = yes refuses a configuration', () => {
  for (const [what, options, message] of [
    ['with a client secret', { client: 'basic' }, /fapi2 wants private_key_jwt, tls_client_auth or self_signed_tls_client_auth, not client_secret_basic/],
    ['with a public client', { 'client-authentication': 'none', 'client-key': null }, /fapi2 wants private_key_jwt.* not none/],
    ['with bearer tokens', { dpop: 'optional' }, /dpop = required/],
    ['without pushed requests', { 'pushed-authorization-requests': 'no' }, /fapi2 wants pushed authorization requests/],
    ['with the device grant', { grant: 'device_code' }, /authorization_code, pushed requests and PKCE only/],
    ['with endpoints of its own', { 'token-endpoint': 'https://as.example/token' }, /endpoints from metadata only/],
    ['without an issuer', { issuer: null }, /lacks the option "issuer"/],
    ['with plain http', { 'allow-http-loopback': 'yes' }, /https everywhere/],
  ]) {
    test(what, async () => {
      await world.writeConfig({ profiles: { weak: { client: 'private_key_jwt', ...strict, ...options } } });
      await assert.rejects(world.agent.reload(), (error) => {
        assert.deepEqual([error.name, message.test(error.message)], ['configuration', true], error.message);
        assert.match(error.message, /agent\.conf:\d+: /);
        return true;
      });
    });
  }
});
