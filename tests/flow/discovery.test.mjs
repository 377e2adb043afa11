// From a name to a server: metadata of an issuer, of an API that names its issuer (RFC 9728), what a profile says in their
// place, and a login that starts with nothing but an API's URL.

import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { listen } from '../servers/transport.mjs';
import { addClient, loginCommand } from './login-steps.mjs';
import { bearerOf, startScriptedServer } from './scripted-server.mjs';
import { logIn as userLogsIn } from './user.mjs';
import { jose, makeWorld, parseIni, showLogOnFailure, until } from './world.mjs';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';
let world;
let tls;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ asOptions: { mtls: {}, registration: {}, refreshTokens: 'always' }, rsOptions: { paths: ['/api'] } });
  ({ tls } = world.authority);
  world.as.addResource(`${world.rs.origin}/api`);
});
after(() => world?.stop());

async function withProfiles(t, profiles, servers = []) {
  t.after(async () => {
    for (const server of servers) await server.close();
    await world.configure();
  });
  await world.configure({ profiles });
}

// An API that answers requests for its metadata with what handler says; it keeps no requests but counts them.
async function startApi(handler) {
  const api = await listen({ tls }, (req, res) => {
    api.asked.push(req.url);
    return handler(req, res, api);
  });
  api.asked = [];
  return api;
}

const describing = (members) => (req, res, api) => {
  const told = typeof members === 'function' ? members(api) : { resource: api.origin, authorization_servers: [world.as.issuer], ...members };
  res.writeHead(200, { 'Content-Type': 'application/json' }).end(typeof told === 'string' ? told : JSON.stringify(told));
};

describe('an API\'s own metadata', () => {
  test('name the authorization server of a profile without an issuer', async (t) => {
    await withProfiles(t, { found: { issuer: null, client: 'jwt' }, path: { issuer: null, client: 'jwt', resource: `${world.rs.origin}/api` } });
    const from = world.rs.requests.length;
    for (const [profile, audience] of [['found', world.rs.origin], ['path', `${world.rs.origin}/api`]]) {
      const claims = jose.decodeJwt((await world.agent.token(profile)).access_token);
      assert.deepEqual([claims.iss, claims.aud, claims.cnf.jkt], [world.as.issuer, audience, world.jkt.work]);
    }
    assert.deepEqual(world.rs.requests.slice(from).map(({ path }) => path), [WELL_KNOWN, `${WELL_KNOWN}/api`]);
    const { status, stderr } = await world.dpop('request', '--ca-file', world.authority.ca, 'path', `${world.rs.origin}/api/things`);
    assert.equal(status, 0, stderr);
    const told = (await world.agent.profiles()).find(({ name }) => name === 'found');
    assert.deepEqual([told.issuer, told.token_endpoint], [world.as.issuer, `${world.as.issuer}/token`]);
    await world.agent.token({ profile: 'found', force: true });
    assert.equal(world.rs.requests.slice(from).filter(({ path }) => path === WELL_KNOWN).length, 1, 'they are kept');
  });

  test('are not enough for a client with a secret, which only a server that the configuration names may see', async (t) => {
    t.after(() => world.writeConfig());
    await world.writeConfig({ profiles: { lured: { issuer: null, client: 'basic' } } });
    await assert.rejects(world.agent.reload(), { name: 'configuration', message: /a client secret is shown only to a server that the configuration names/ });
  });

  test('lead to an issuer of any form, the first that they name', async (t) => {
    const options = { tls, jwks: { keys: [{ ...world.jwk.work, kid: world.jkt.work }] } };
    const servers = [
      await startAuthorizationServer({ ...options, path: '/tenant', metadata: 'oauth' }),
      await startAuthorizationServer({ ...options, path: '/tenant/', metadata: 'oidc' }),
    ];
    const apis = [];
    for (const { issuer } of servers) apis.push(await startApi(describing({ authorization_servers: [issuer, 'https://as.invalid'] })));
    servers.forEach((server, i) => server.addResource(apis[i].origin));
    const profiles = Object.fromEntries(apis.map(({ origin }, i) => [`p${i}`, { issuer: null, client: 'jwt', resource: origin, origins: origin }]));
    await withProfiles(t, profiles, [...servers, ...apis]);
    for (const [i, { issuer }] of servers.entries()) {
      assert.equal(jose.decodeJwt((await world.agent.token(`p${i}`)).access_token).iss, issuer);
    }
  });

  test('that are no good are an error of their own, and no authorization server is asked', async (t) => {
    const status = (code, headers = {}) => (_req, res) => res.writeHead(code, headers).end();
    const cases = {
      another: [describing({ resource: 'https://api.example' }), 'server-misbehaved', /of another resource, "https:\/\/api\.example"/],
      slash: [describing((api) => ({ resource: `${api.origin}/`, authorization_servers: [world.as.issuer] })), 'server-misbehaved', /of another resource/],
      unnamed: [describing({ resource: undefined }), 'server-misbehaved', /of another resource/],
      none: [describing({ authorization_servers: undefined }), 'server-misbehaved', /name no authorization server/],
      empty: [describing({ authorization_servers: [] }), 'server-misbehaved', /name no authorization server/],
      text: [describing({ authorization_servers: 'https://as.example' }), 'server-misbehaved', /name no authorization server/],
      plain: [describing({ authorization_servers: ['http://as.example'] }), 'insecure-url', /plain http authorization server/],
      query: [describing({ authorization_servers: ['https://as.example/?a=b'] }), 'server-misbehaved', /no issuer's URL/],
      noUrl: [describing({ authorization_servers: ['as.example'] }), 'server-misbehaved', /no issuer's URL/],
      twice: [describing((api) => `{"resource":"${api.origin}","resource":"${api.origin}"}`), 'server-misbehaved', /duplicate|twice/i],
      html: [(_req, res) => res.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>hello'), 'server-misbehaved', /not a JSON object/],
      missing: [status(404), 'server-misbehaved', /no resource metadata \(RFC 9728\) of .*: status 404/],
      moved: [status(302, { Location: world.rs.origin }), 'server-misbehaved', /status 302/],
      down: [status(503), 'server-unavailable', /status 503/],
      cut: [(req) => req.socket.destroy(), 'server-unreachable', /./],
    };
    const apis = {};
    for (const [name, [handler]] of Object.entries(cases)) apis[name] = await startApi(handler);
    const gone = await listen({ tls }, () => {});
    await gone.close();
    apis.gone = { ...gone, asked: [], close: async () => {} };
    cases.gone = [null, 'server-unreachable', /refused/];
    const profiles = Object.fromEntries(Object.entries(apis).map(([name, { origin }]) => [name, { issuer: null, client: 'jwt', resource: origin, origins: origin }]));
    await withProfiles(t, profiles, Object.values(apis));
    const from = world.as.requests.length;
    for (const [profile, [, name, message]] of Object.entries(cases)) {
      await assert.rejects(world.agent.token(profile), (error) => {
        assert.deepEqual([error.name, error.stage], [name, 'discovery'], `${profile}: ${error.message}`);
        assert.match(error.message, message, profile);
        assert.match(error.message, new RegExp(`^profile "${profile}": `));
        assert.ok(error.next, profile);
        return true;
      });
      assert.ok(apis[profile].asked.every((url) => url === WELL_KNOWN), profile);
    }
    assert.equal(world.as.requests.length, from);
  });

  test('whose server does not speak for itself are refused: an issuer with the metadata of another', async (t) => {
    const impostor = await startScriptedServer({ tls });
    impostor.metadata = { issuer: world.as.issuer };
    const api = await startApi(describing({ authorization_servers: [impostor.issuer] }));
    await withProfiles(t, { lured: { issuer: null, client: 'jwt', resource: api.origin, origins: api.origin } }, [impostor, api]);
    await assert.rejects(world.agent.token('lured'), { name: 'server-misbehaved', message: /another issuer/, stage: 'discovery' });
    assert.equal(impostor.sends.length, 0);
  });
});

describe('an issuer\'s metadata', () => {
  test('name other endpoints for clients with a certificate: mtls_endpoint_aliases', async (t) => {
    const { certificate } = await addClient(world, 'tls', 'self_signed_tls_client_auth');
    const aside = await startScriptedServer({ tls });
    const scripted = await startScriptedServer({ tls });
    scripted.metadata = {
      mtls_endpoint_aliases: { token_endpoint: `${aside.origin}/mtls/token` },
      device_authorization_endpoint: `${scripted.origin}/device`,
    };
    for (const server of [scripted, aside]) {
      server.token = (answer, { path }) => (path === '/device'
        ? answer(200, { device_code: 'd', user_code: 'u', verification_uri: 'https://a.example/', expires_in: 60, interval: 60 }) : answer(200, bearerOf()));
    }
    await withProfiles(t, {
      real: { client: 'tls' }, plain: { client: 'basic' },
      part: { client: 'tls', issuer: scripted.issuer, resource: null }, secret: { client: 'basic', issuer: scripted.issuer, resource: null },
      device: { client: 'tls', issuer: scripted.issuer, resource: null, grant: 'device_code' },
    }, [scripted, aside]);
    await world.agent.token('real');
    assert.equal(world.as.tokenRequests().at(-1).certificate, certificate);
    const endpoints = Object.fromEntries((await world.agent.profiles()).map(({ name, token_endpoint: endpoint }) => [name, endpoint]));
    assert.equal(endpoints.real, `${world.as.mtlsUrl}/token`);
    await world.agent.token('plain');
    assert.equal(world.as.tokenRequests().at(-1).certificate, null);
    await world.agent.token('part');
    assert.deepEqual([aside.sends.length, scripted.sends.length], [1, 0]);
    await world.agent.token('secret');
    assert.deepEqual([aside.sends.length, scripted.sends.length], [1, 1]);
    const begun = await world.agent.loginBegin('device');
    assert.equal(scripted.sends.at(-1).path, '/device', 'what has no alias is where it always is');
    await world.agent.loginCancel(begun);
  });

  test('are kept while the server gives them no more, until the agent starts anew', async (t) => {
    const server = await startScriptedServer({ tls });
    await withProfiles(t, { one: { issuer: server.issuer, resource: null }, two: { issuer: server.issuer, resource: null } }, [server]);
    const documents = () => server.requests.filter(({ path }) => path.includes('.well-known')).length;
    await world.agent.token('one');
    assert.equal(documents(), 1);
    server.onMetadata = (answer) => answer(503);
    await world.agent.token({ profile: 'one', force: true });
    await world.agent.token('two');
    assert.equal(documents(), 1, 'one document serves every profile of its issuer');
    await world.reload();
    await assert.rejects(world.agent.token('one'), { name: 'server-unavailable', stage: 'discovery', http_status: 503, retryable: true });
    await assert.rejects(world.agent.token('two'), { name: 'server-unavailable' });
    server.onMetadata = null;
    await until('the server is asked again', () => world.agent.token('one'), { every: 200 });
  });

  test('count only where the profile names no endpoint itself, one by one', async (t) => {
    const named = {
      'token-endpoint': 'token', 'authorization-endpoint': 'authorization', 'pushed-authorization-request-endpoint': 'pushed_authorization_request',
      'device-authorization-endpoint': 'device_authorization', 'revocation-endpoint': 'revocation', 'introspection-endpoint': 'introspection',
    };
    const server = await startScriptedServer({ tls });
    server.metadata = Object.fromEntries(Object.values(named).map((name) => [`${name}_endpoint`, `${server.origin}/theirs/${name}`]));
    server.metadata.code_challenge_methods_supported = ['S256'];
    server.token = (answer, { path }) => {
      if (path.endsWith('/pushed_authorization_request')) return answer(201, { request_uri: 'urn:x', expires_in: 60 });
      if (path.endsWith('/device_authorization')) {
        return answer(200, { device_code: 'device', user_code: 'AB', verification_uri: 'https://as.example/', expires_in: 60, interval: 1 });
      }
      if (path.endsWith('/revocation')) return answer(200);
      if (path.endsWith('/introspection')) return answer(200, { active: true });
      return answer(200, bearerOf({ refresh_token: 'a-refresh-token' }));
    };
    const profiles = { none: { issuer: server.issuer, resource: null, grant: 'authorization_code' } };
    for (const option of Object.keys(named)) profiles[option] = { ...profiles.none, [option]: `${server.origin}/ours/${named[option]}` };
    await withProfiles(t, profiles, [server]);
    for (const profile of Object.keys(profiles)) {
      const from = server.sends.length;
      const begun = await world.agent.loginBegin(profile);
      await world.agent.loginCancel(begun);
      const device = await world.agent.loginBegin({ profile, device: true });
      await world.agent.loginWait(device, { timeout: 10_000 });
      await world.agent.token(profile);
      await world.agent.introspect(profile);
      await world.agent.logout(profile);
      const paths = new Set([new URL(begun.url).pathname, ...server.sends.slice(from).map(({ path }) => path)]);
      const expected = Object.entries(named).map(([option, name]) => `/${option === profile ? 'ours' : 'theirs'}/${name}`);
      assert.deepEqual([...paths].sort(), expected.sort(), profile);
    }
  });
});

describe('a login that starts from an API\'s URL alone', () => {
  const login = (...args) => loginCommand(world, ['login', '--no-browser', '--ca-file', world.authority.ca, ...args],
    (url) => userLogsIn(url, { ca: world.authority.ca }));

  beforeEach(() => world.configure({ profiles: { other: { origins: 'https://elsewhere.example' } } }));
  after(() => world.configure());

  test('registers a client, logs the user in, and ends with a request that is answered', async () => {
    const api = `${world.rs.origin}/api`;
    const { status, stdout, stderr } = await login('--scope', 'openid offline_access read', api);
    assert.equal(status, 0, stderr + stdout);
    assert.match(stderr, /^Registered a client for it:$/m);
    assert.match(stdout, /^subject +alice$/m);
    const [, profile] = /^logged in +(\S+)$/m.exec(stdout);
    assert.equal(profile, 'localhost');
    await world.ready();
    const request = await world.dpop('request', '--ca-file', world.authority.ca, profile, `${api}/things`);
    assert.equal(request.status, 0, request.stderr);
    const answer = JSON.parse(request.stdout);
    assert.deepEqual([answer.ok, answer.sub, answer.jkt], [true, 'alice', world.jkt.work]);
    const options = parseIni(await readFile(world.configPath, 'utf8'))[`profile ${profile}`];
    assert.deepEqual([options.issuer, options.resource, options.origins, options['client-id'], options['client-authentication']],
      [world.as.issuer, api, world.rs.origin, answer.client_id, 'private_key_jwt']);

    const registrations = () => world.as.requests.filter(({ path }) => path === '/reg').length;
    const before = registrations();
    const again = await login(`${api}`);
    assert.equal(again.status, 0, again.stderr);
    assert.equal(registrations(), before, 'the second time the profile is there');
    assert.doesNotMatch(again.stderr, /Registered/);
  });

  test('works without a name in common: --name, and the lines of JSON say all of it', async () => {
    const { status, stdout, stderr } = await loginCommand(world,
      ['login', '--json', '--no-browser', '--ca-file', world.authority.ca, '--name', 'api', '--scope', 'read', world.rs.origin],
      (url) => userLogsIn(url, { ca: world.authority.ca, login: 'bob' }), { on: 'stdout', address: /"url":\s*"([^"]+)"/ });
    assert.equal(status, 0, stderr + stdout);
    const events = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual(events.map(({ event, profile }) => [event, profile]), [['registered', 'api'], ['begun', 'api'], ['logged in', 'api']]);
    assert.equal(events[2].subject, 'bob');
  });

  test('says what is wrong with an API that names no server, and leaves nothing behind', async (t) => {
    const silent = await startApi((_req, res) => res.writeHead(404).end());
    const closed = await startAuthorizationServer({ tls, registration: null });
    const unregistrable = await startResourceServer({ tls, issuer: closed.issuer, ca: world.authority.ca });
    t.after(() => Promise.all([silent, closed, unregistrable].map((server) => server.close())));
    const before = await readFile(world.configPath, 'utf8');
    for (const [url, message] of [
      [silent.origin, /no resource metadata \(RFC 9728\)/],
      [unregistrable.origin, /no registration_endpoint/],
      ['https://no-such-host.invalid', /no-such-host\.invalid/],
      ['ftp://localhost/', /no https URL/],
    ]) {
      const { status, stderr } = await login(url);
      assert.notEqual(status, 0);
      assert.match(stderr, message);
      assert.match(stderr, /next: /);
    }
    assert.equal(await readFile(world.configPath, 'utf8'), before);
  });
});
