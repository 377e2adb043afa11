// The three policies dpop = required | refresh-only | optional, at servers that answer with Bearer tokens: the real
// oidc-provider whose answers were changed, and one that knows no DPoP at all.

import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { listen } from '../servers/transport.mjs';
import { addClient, logIn } from './login-steps.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';

const code = { client: 'app', grant: 'authorization_code', scope: 'openid offline_access read' };
let world;
let old; // a server without DPoP
let api; // answers what it was sent
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld();
  old = await startAuthorizationServer({ tls: world.authority.tls, dpopBound: false, nonceSecret: null, par: false, resources: [world.rs.origin] });
  old.advertise({ dpop_signing_alg_values_supported: null });
  old.intercept(async (req) => { // oidc-provider binds a token whenever a proof comes, and a code whenever dpop_jkt does
    delete req.headers.dpop;
    req.url = req.url.replace(/&dpop_jkt=[^&]*/, '');
    return false;
  });
  api = await listen({ tls: world.authority.tls }, ({ headers: { authorization, dpop = null } }, res) => res.end(JSON.stringify({ authorization, dpop })));
  await addClient(world, 'app', 'none');
  await addClient(world, 'web', 'client_secret_basic');
  await addClient(world, 'old-web', 'client_secret_basic', { as: old });
  await addClient(world, 'user', 'none', { as: old });
  const client = { client: 'web', grant: 'client_credentials', origins: [world.rs.origin, api.origin].join(' ') };
  const login = { ...code, origins: client.origins };
  await world.configure({ profiles: {
    required: client, optional: { ...client, dpop: 'optional' }, 'login-required': login, 'login-refresh-only': { ...login, dpop: 'refresh-only' },
    'login-optional': { ...login, dpop: 'optional' }, 'old-required': { ...client, client: 'old-web', issuer: old.issuer },
    'old-optional': { ...client, client: 'old-web', issuer: old.issuer, dpop: 'optional' },
    'old-login': { ...login, client: 'user', issuer: old.issuer, dpop: 'refresh-only' },
  } });
});
after(async () => {
  await world?.stop();
  await old?.close();
  await api?.close();
});
afterEach(() => world.as.amend(null));

// null: without the member
const answerBearer = (type = 'Bearer') => world.as.amend(async (ctx) => {
  if (ctx.body?.access_token) ctx.body = { ...ctx.body, token_type: type ?? undefined };
});
const profileInfo = async (name) => (await world.agent.profiles()).find((profile) => profile.name === name);

// dpop headers, and a request by dpop request: an Authorization of Bearer, and no proof.
async function isUsedAsBearer(profile) {
  const { status, stdout, stderr } = await world.dpop('headers', profile, 'GET', `${api.origin}/x`);
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^Authorization: Bearer \S+\n$/);
  const { stdout: json } = await world.dpop('headers', '--json', profile, 'GET', `${api.origin}/x`);
  assert.deepEqual(Object.keys(JSON.parse(json).headers), ['Authorization']);
  const sent = await world.dpop('request', '--ca-file', world.authority.ca, profile, `${api.origin}/x`);
  assert.equal(sent.status, 0, sent.stderr);
  assert.deepEqual(JSON.parse(sent.stdout), { authorization: stdout.trim().replace('Authorization: ', ''), dpop: null });
}

describe('dpop = required, the default,', () => {
  test('discards a Bearer token: token-not-dpop, and nothing is kept or used', async () => {
    await answerBearer();
    for (let i = 0; i < 2; i++) {
      await assert.rejects(world.agent.token({ profile: 'required', force: true }), {
        name: 'token-not-dpop', retryable: false, next: /DPoP/, stage: 'token request',
      });
    }
    const { status, stdout, stderr } = await world.dpop('headers', 'required', 'GET', `${api.origin}/x`);
    assert.notEqual(status, 0);
    assert.equal(stdout, '');
    assert.match(stderr, /Bearer/);
    await world.as.amend(null);
    assert.equal((await world.agent.token('required')).token_type, 'DPoP');
  });

  test('discards what a login brings with a Bearer token', async () => {
    await answerBearer();
    await assert.rejects(logIn(world, 'login-required'), { name: 'token-not-dpop' });
    const info = await profileInfo('login-required');
    assert.deepEqual([info.login, info.persisted], ['login required', false]);
    await assert.rejects(world.agent.token('login-required'), { name: 'login-required' });
  });

  test('takes no Bearer token from a refresh, and the rotated refresh token that came with it is not lost', async () => {
    await logIn(world, 'login-required');
    await answerBearer();
    await assert.rejects(world.agent.token({ profile: 'login-required', force: true }), { name: 'token-not-dpop', stage: 'refresh' });
    await world.as.amend(null);
    assert.equal((await world.agent.token({ profile: 'login-required', force: true })).token_type, 'DPoP');
    assert.ok(!world.as.events.some(({ event, description }) => event === 'refused' && /already used/.test(description ?? '')));
  });

  test('takes the type in any case', async () => {
    for (const type of ['dpop', 'DPOP', 'dPoP']) {
      await answerBearer(type);
      assert.equal((await world.agent.token({ profile: 'required', force: true })).token_type, 'DPoP');
    }
  });

  test('refuses another type, and a missing one', async () => {
    await answerBearer('mac');
    await assert.rejects(world.agent.token({ profile: 'required', force: true }), { name: 'token-not-dpop' });
    await answerBearer(null);
    await assert.rejects(world.agent.token({ profile: 'required', force: true }), { name: 'server-misbehaved', message: /token_type/ });
  });

  test('refuses the token of a server that knows no DPoP', async () => {
    await assert.rejects(world.agent.token('old-required'), { name: 'token-not-dpop' });
  });
});

describe('dpop = refresh-only', () => {
  test('takes a Bearer token with a refresh token that is bound by its proof, and gives it without a proof', async () => {
    await answerBearer();
    const { result } = await logIn(world, 'login-refresh-only');
    assert.deepEqual([result.token_type, result.refresh], ['Bearer', true]);
    const from = world.as.tokenRequests().length;
    assert.equal((await world.agent.token('login-refresh-only')).token_type, 'Bearer');
    await isUsedAsBearer('login-refresh-only');
    assert.equal((await world.agent.token({ profile: 'login-refresh-only', force: true })).token_type, 'Bearer');
    assert.ok(world.as.tokenRequests().slice(from).every(({ jti }) => jti), 'every refresh has a proof');
    assert.equal((await profileInfo('login-refresh-only')).dpop, 'refresh-only');
  });

  test('still uses a DPoP token as one', async () => {
    await logIn(world, 'login-refresh-only');
    const { stdout } = await world.dpop('headers', 'login-refresh-only', 'GET', `${api.origin}/x`);
    assert.match(stdout, /^Authorization: DPoP \S+\nDPoP: \S+\n$/);
  });

  test('sends its proofs to a server that does not say that it knows them', async () => {
    const from = old.tokenRequests().length;
    assert.equal((await logIn(world, 'old-login')).result.token_type, 'Bearer');
    assert.ok(old.tokenRequests().slice(from).every(({ jti }) => jti));
    await isUsedAsBearer('old-login');
  });
});

describe('dpop = optional', () => {
  test('takes a Bearer token, of client credentials and of a login', async () => {
    await answerBearer();
    assert.equal((await world.agent.token({ profile: 'optional', force: true })).token_type, 'Bearer');
    await isUsedAsBearer('optional');
    assert.equal((await logIn(world, 'login-optional')).result.token_type, 'Bearer');
    await isUsedAsBearer('login-optional');
  });

  test('takes a real Bearer token of a server that knows no DPoP', async () => {
    const token = await world.agent.token('old-optional');
    assert.equal(token.token_type, 'Bearer');
    await isUsedAsBearer('old-optional');
  });

  test('sends no proof to a server whose list of algorithms has not ES256', async (t) => {
    t.after(async () => {
      old.advertise({ dpop_signing_alg_values_supported: null });
      await world.reload();
    });
    old.advertise({ dpop_signing_alg_values_supported: ['RS256'] });
    await world.reload();
    const from = old.tokenRequests().length;
    assert.equal((await world.agent.token({ profile: 'old-optional', force: true })).token_type, 'Bearer');
    assert.ok(old.tokenRequests().slice(from).every(({ jti }) => jti === undefined));
    await assert.rejects(world.agent.token('old-required'), { name: 'server-misbehaved', message: /ES256/ });
  });

  test('still uses a DPoP token as one, and says so in the status', async () => {
    assert.equal((await world.agent.token({ profile: 'optional', force: true })).token_type, 'DPoP');
    const { stdout } = await world.dpop('headers', 'optional', 'GET', `${api.origin}/x`);
    assert.match(stdout, /^Authorization: DPoP \S+\nDPoP: \S+\n$/);
    assert.equal((await profileInfo('optional')).dpop, 'optional');
    assert.equal((await profileInfo('required')).dpop, 'required');
  });
});
