// The end of a login, and what the server says of a token: dpop logout and dpop introspect at the real oidc-provider, with
// opaque tokens, which it can revoke and introspect.

import { after, before, beforeEach, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { fetchTrusting } from '../servers/transport.mjs';
import { addClient, askServer, logIn, useToken } from './login-steps.mjs';
import { entries, makeWorld, showLogOnFailure, until } from './world.mjs';

const introspectionSecret = 'the resource server asks';
const code = { client: 'app', grant: 'authorization_code', scope: 'openid offline_access read write' };
const profiles = {
  work: code, other: { ...code, client: 'web' }, memory: { ...code, persist: 'no' }, short: { ...code, scope: 'openid read' },
  basic: {}, web: { client: 'web', grant: 'client_credentials' },
};

let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({
    asOptions: { introspectionSecret, accessTokenFormat: 'opaque' },
    rsOptions: { introspection: { clientId: 'resource-server', clientSecret: introspectionSecret } },
  });
  await addClient(world, 'app', 'none');
  await addClient(world, 'web', 'client_secret_basic');
  await world.configure({ profiles });
});
after(() => world?.stop());

const records = async () => (await entries(world.stateFolder)).filter((name) => name.startsWith('login-'));
const profileInfo = async (name) => (await world.agent.profiles()).find((profile) => profile.name === name);
const eventsSince = (from) => world.as.events.slice(from).map(({ event }) => event);

describe('dpop logout', () => {
  beforeEach(async () => {
    for (const profile of ['work', 'other']) await world.agent.logout(profile);
    assert.deepEqual(await records(), []);
  });

  test('revokes the login at the server, removes its record, and the next token needs a user', async () => {
    await logIn(world, 'work');
    const { access_token: token } = await world.agent.token('work');
    assert.deepEqual([(await askServer(world, token)).active, (await useToken(world, 'work', token)).status], [true, 200]);
    assert.equal((await records()).length, 1);

    const from = world.as.events.length;
    const { status, stdout, stderr } = await world.dpop('logout', 'work');
    assert.deepEqual([status, stdout, stderr], [0, 'work: logged out; the server has revoked its tokens\n', '']);
    assert.ok(eventsSince(from).includes('grant_revoked'));
    assert.equal((await askServer(world, token)).active, false);
    assert.equal((await useToken(world, 'work', token)).status, 401);
    assert.deepEqual(await records(), []);
    const info = await profileInfo('work');
    assert.deepEqual([info.login, info.subject, info.persisted, info.state], ['login required', undefined, false, 'no token']);

    const sends = world.as.tokenRequests().length;
    await assert.rejects(world.agent.token('work'), { name: 'login-required', next: /dpop login work/ });
    await assert.rejects(world.agent.token({ profile: 'work', scope: 'read' }), { name: 'login-required' });
    assert.equal(world.as.tokenRequests().length, sends);
    const { status: failed, stderr: told } = await world.dpop('token', 'work');
    assert.notEqual(failed, 0);
    assert.match(told, /next: .*dpop login work/);
  });

  test('of one profile leaves the other profile\'s login', async () => {
    await logIn(world, 'work');
    await logIn(world, 'other');
    const { access_token: token } = await world.agent.token('other');
    await world.agent.logout('work');
    assert.equal((await askServer(world, token)).active, true);
    assert.equal((await world.agent.token('other')).access_token, token);
    assert.equal((await world.agent.token({ profile: 'other', force: true })).token_type, 'DPoP');
    assert.equal((await records()).length, 1);
  });

  test('authenticates the client, and tells it as JSON', async () => {
    await logIn(world, 'other');
    const from = world.as.requests.length;
    const { status, stdout } = await world.dpop('logout', '--json', 'other');
    assert.equal(status, 0);
    const answer = JSON.parse(stdout);
    assert.deepEqual([answer.profile, answer.logged_in, answer.revoked, answer.note ?? null], ['other', true, true, null]);
    const sent = world.as.requests.slice(from).filter(({ path }) => path === '/token/revocation');
    assert.deepEqual(sent.map(({ clientId, status: answered, fields }) => [clientId, answered, fields]), [['web', 200, ['token', 'token_type_hint']]]);
  });

  test('without a refresh token revokes the access token', async () => {
    await logIn(world, 'short');
    const { access_token: token } = await world.agent.token('short');
    assert.deepEqual(await world.agent.logout('short').then(({ logged_in: was, revoked }) => [was, revoked]), [true, true]);
    assert.equal((await askServer(world, token)).active, false);
  });

  test('of a login that was in memory only revokes it, too', async () => {
    await logIn(world, 'memory');
    const { access_token: token } = await world.agent.token('memory');
    assert.equal((await world.agent.logout('memory')).revoked, true);
    assert.equal((await askServer(world, token)).active, false);
    await assert.rejects(world.agent.token('memory'), { name: 'login-required' });
  });

  test('says that nobody was logged in, and asks no server then', async () => {
    const from = world.as.requests.length;
    const { status, stdout } = await world.dpop('logout', 'work');
    assert.deepEqual([status, stdout], [0, 'work: was not logged in\n']);
    assert.equal(world.as.requests.length, from);
  });

  test('of a profile without logins is refused', async () => {
    await assert.rejects(world.agent.logout('basic'), { name: 'invalid-argument', message: /client_credentials/ });
    await assert.rejects(world.agent.logout('nobody'), { name: 'unknown-profile' });
  });

  test('that the server refuses still forgets everything here, and says what was not done', async (t) => {
    t.after(() => world.as.intercept(null));
    await logIn(world, 'work');
    world.as.intercept(async (_req, res, { path }) => path === '/token/revocation' && void res.writeHead(503).end() === undefined);
    const { status, stdout, stderr } = await world.dpop('logout', 'work');
    assert.deepEqual([status, stdout], [0, 'work: logged out\n']);
    assert.match(stderr, /not revoked at the server: .*503/);
    assert.deepEqual(await records(), []);
    await assert.rejects(world.agent.token('work'), { name: 'login-required' });
  });

  test('when the server is down still forgets everything here, and a new login works when it is back', async (t) => {
    const options = { tls: world.authority.tls, resources: [world.rs.origin] };
    const first = await startAuthorizationServer(options);
    await addClient(world, 'fleeting', 'none', { as: first });
    t.after(() => world.configure({ profiles }));
    await world.configure({ profiles: { ...profiles, fleeting: { ...code, client: 'fleeting', issuer: first.issuer } } });
    await logIn(world, 'fleeting');
    await first.close();
    const began = Date.now();
    const answer = await world.agent.logout('fleeting');
    assert.ok(Date.now() - began < 10_000);
    assert.deepEqual([answer.logged_in, answer.revoked], [true, false]);
    assert.match(answer.note, /connect|reach|refused/i);
    assert.deepEqual(await records(), []);
    await assert.rejects(world.agent.token('fleeting'), { name: 'login-required' });

    const second = await startAuthorizationServer({ ...options, port: first.port });
    t.after(second.close);
    await addClient(world, 'fleeting', 'none', { as: second });
    await until('a login begins', () => logIn(world, 'fleeting'));
    assert.equal((await profileInfo('fleeting')).login, 'logged in');
    await world.agent.logout('fleeting');
  });

  test('at a server that cannot revoke says so', async (t) => {
    const as = await startAuthorizationServer({ tls: world.authority.tls, revocation: false, resources: [world.rs.origin] });
    await addClient(world, 'lasting', 'none', { as });
    t.after(async () => {
      await world.configure({ profiles });
      await as.close();
    });
    await world.configure({ profiles: { ...profiles, lasting: { ...code, client: 'lasting', issuer: as.issuer } } });
    await logIn(world, 'lasting');
    const answer = await world.agent.logout('lasting');
    assert.deepEqual([answer.logged_in, answer.revoked], [true, false]);
    assert.match(answer.note, /no revocation endpoint/);
    assert.deepEqual(await records(), []);
  });

  test('is still so after the agent was started again', async () => {
    await logIn(world, 'work');
    await world.agent.logout('work');
    world.agent.close();
    await world.process.stop();
    await world.start();
    await world.ready();
    await assert.rejects(world.agent.token('work'), { name: 'login-required' });
  });
});

describe('dpop introspect', () => {
  test('prints what the server says of the token that the agent holds', async () => {
    await logIn(world, 'work');
    await world.agent.token('work');
    const from = world.as.tokenRequests().length;
    const { status, stdout, stderr } = await world.dpop('introspect', 'work');
    assert.equal(status, 0, stderr);
    const claims = JSON.parse(stdout);
    assert.deepEqual([claims.active, claims.client_id, claims.sub, claims.scope, claims.cnf.jkt], [true, 'app', 'alice', 'read write', world.jkt.work]);
    assert.equal(world.as.tokenRequests().length, from, 'no token is fetched for it');
  });

  test('knows the token of a login at once, and after the agent was started again', async () => {
    await logIn(world, 'work');
    assert.equal((await world.agent.introspect('work')).active, true);
    world.agent.close();
    await world.process.stop();
    await world.start();
    await world.ready();
    const { active, claims } = await until('the login is loaded', () => world.agent.introspect('work'));
    assert.deepEqual([active, claims.sub], [true, 'alice']);
  });

  test('authenticates the client, and takes the token of another scope', async () => {
    await world.agent.token('web');
    await world.agent.token({ profile: 'web', scope: 'write' });
    const { active, claims } = await world.agent.introspect({ profile: 'web', scope: 'write' });
    assert.deepEqual([active, claims.scope, claims.client_id], [true, 'write', 'web']);
    assert.equal((await world.agent.introspect('web')).claims.scope, 'read');
  });

  test('says that a token is not active when the server revoked it', async () => {
    await logIn(world, 'work');
    const { access_token: token } = await world.agent.token('work');
    await revoke(token);
    assert.deepEqual(await world.agent.introspect('work'), { active: false, claims: { active: false } });
  });

  test('of a token that the agent does not hold is an error, and fetches none', async () => {
    await world.agent.logout('work');
    const from = world.as.requests.length;
    await assert.rejects(world.agent.introspect('work'), { name: 'login-required', next: /dpop token/ });
    await assert.rejects(world.agent.introspect({ profile: 'web', scope: 'none of these' }), { name: 'invalid-argument', next: /dpop token/ });
    assert.equal(world.as.requests.length, from);
  });

  test('of a JWT, which this server does not introspect, gives its refusal', async (t) => {
    t.after(() => world.as.setAccessTokenFormat('opaque'));
    world.as.setAccessTokenFormat('jwt');
    assert.match((await world.agent.token({ profile: 'basic', force: true })).access_token, /^eyJ/);
    await assert.rejects(world.agent.introspect('basic'), { name: 'server-refused', oauth_error: 'unsupported_token_type', stage: 'introspection' });
  });

  // The user, at the server.
  async function revoke(token) {
    const answer = await fetchTrusting(world.authority.ca)(`${world.as.issuer}/token/revocation`, {
      method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ token, client_id: 'app' }),
    });
    assert.equal(answer.status, 200);
  }
});
