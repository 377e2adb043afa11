// Logins with a code that the user types on any device (RFC 8628), at the real oidc-provider: how it is shown, how often
// the agent asks, and each of its ends.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { grantTypes } from '../servers/clients.mjs';
import { addClient, logIn, loginCommand, useToken } from './login-steps.mjs';
import { approveDevice } from './user.mjs';
import { jose, makeWorld, showLogOnFailure, until } from './world.mjs';

const device = { client: 'app', grant: 'device_code', scope: 'openid offline_access read write' };
const completeAddress = /code in it:\n\n +(https:\/\/\S+)\n/;
let world;
let ca;
let plain; //    a server that says nothing of an interval
let hurried; //  one whose codes live 3 seconds
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ asOptions: { deviceInterval: 1 } });
  ({ ca } = world.authority);
  const others = { tls: world.authority.tls, resources: [world.rs.origin] };
  plain = await startAuthorizationServer(others);
  hurried = await startAuthorizationServer({ ...others, deviceInterval: 1, deviceTtl: 3 });
  for (const as of [world.as, plain, hurried]) await addClient(world, 'app', 'none', { as });
  await addClient(world, 'web', 'client_secret_basic');
  await world.configure({ profiles: {
    work: { ...device, 'device-form': 'ui_locales=de' }, web: { ...device, client: 'web' }, plain: { ...device, issuer: plain.issuer },
    hurried: { ...device, issuer: hurried.issuer }, code: { ...device, grant: 'authorization_code' },
  } });
});
after(async () => {
  await world?.stop();
  await plain?.close();
  await hurried?.close();
});

const pollsOf = (as, from) => as.tokenRequests().slice(from).filter(({ grantType }) => grantType === grantTypes.device);
const asked = (as, from, count) => until(`${count} polls`, () => pollsOf(as, from).length >= count);
const gaps = (polls) => polls.slice(1).map(({ time }, i) => time - polls[i].time);
const approve = (begun, how) => approveDevice(begun.verification_uri_complete, { ca, ...how });

// A new login, and what comes of it: { begun, from, ended: Promise of its result or error }.
async function begin(profile, as = world.as) {
  const from = as.tokenRequests().length;
  const begun = await world.agent.loginBegin(profile);
  return { begun, from, ended: world.agent.loginWait(begun, { timeout: 40_000 }).catch((error) => error) };
}

describe('dpop login with a code', () => {
  test('shows the address, the code and, when asked, a QR code, and tells who is logged in', async () => {
    const { status, stdout, stderr } = await loginCommand(world, ['login', 'work', '--qr'], (uri) => approveDevice(uri, { ca }),
      { address: completeAddress });
    assert.equal(status, 0, stderr);
    const [, code] = /type this code there:\n\n +(\S+)\n/.exec(stderr);
    assert.match(code, /^[A-Z]{4}-[A-Z]{4}$/);
    assert.match(stderr, new RegExp(`Open this address, on any device:\n\n +${world.as.issuer}/device\n`));
    assert.match(stderr, /[█▀▄]{2}/);
    assert.match(stdout, /^subject +alice$/m);
    assert.match(stdout, /^kept +on disk, sealed$/m);
    const token = await world.agent.token('work');
    assert.deepEqual([token.token_type, jose.decodeJwt(token.access_token).cnf.jkt], ['DPoP', world.jkt.work]);
    assert.equal((await useToken(world, 'work', token.access_token)).status, 200);
  });

  test('as JSON gives them as members', async () => {
    const { status, stdout } = await loginCommand(world, ['login', '--json', 'work'], (uri) => approveDevice(uri, { ca, login: 'bob' }),
      { on: 'stdout', address: /"verification_uri_complete":\s*"([^"]+)"/ });
    assert.equal(status, 0);
    const [begun, ended] = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual([begun.event, begun.verification_uri, begun.expires_in], ['begun', `${world.as.issuer}/device`, begun.expires_in]);
    assert.equal(new URL(begun.verification_uri_complete).searchParams.get('user_code'), begun.user_code);
    assert.ok(!('url' in begun) || begun.url === null);
    assert.equal(ended.subject, 'bob');
  });

  test('is there for a profile of the authorization code grant too: --device', async () => {
    const { status, stdout, stderr } = await loginCommand(world, ['login', 'code', '--device'], (uri) => approveDevice(uri, { ca, login: 'carol' }),
      { address: completeAddress });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^subject +carol$/m);
    assert.equal(jose.decodeJwt((await world.agent.token({ profile: 'code', force: true })).access_token).sub, 'carol');
  });

  test('works with the code alone, typed by hand', async () => {
    const { begun, ended } = await begin('work');
    await approveDevice({ uri: begun.verification_uri, userCode: begun.user_code }, { ca, login: 'dora' });
    assert.equal((await ended).subject, 'dora');
  });

  test('sends what the profile says: scope, resource and extra parameters, with client authentication', async () => {
    const from = world.as.requests.length;
    await logIn(world, 'work');
    await logIn(world, 'web');
    const sent = world.as.requests.slice(from).filter(({ path }) => path === '/device/auth');
    assert.deepEqual(sent[0].fields, ['client_id', 'resource', 'scope', 'ui_locales']);
    assert.deepEqual([sent.at(-1).clientId, sent.at(-1).status], ['web', 200]);
  });
});

describe('the agent asks', () => {
  test('again at the interval while the user has not decided, each time with a new proof', async () => {
    const { begun, from, ended } = await begin('work');
    await asked(world.as, from, 4);
    assert.equal((await approve(begun)).page.status, 200);
    const result = await ended;
    assert.deepEqual([result.subject, result.refresh, result.persisted], ['alice', true, true]);
    const polls = pollsOf(world.as, from);
    const waits = gaps(polls.filter(({ nonce }) => nonce));
    assert.ok(waits.every((gap) => gap >= 900 && gap < 2500), `gaps ${waits}`);
    assert.ok(polls.every(({ jti }) => jti));
    assert.equal(new Set(polls.map(({ jti }) => jti)).size, polls.length);
    assert.deepEqual([...new Set(polls.map(({ presented }) => presented))].length, 1);
  });

  test('5 seconds less often after slow_down', async (t) => {
    t.after(() => world.as.amend(null));
    let told = false;
    await world.as.amend(async (ctx, { grantType }) => {
      if (told || grantType !== grantTypes.device || ctx.body?.error !== 'authorization_pending') return;
      told = true;
      ctx.body = { error: 'slow_down' };
    });
    const { begun, from, ended } = await begin('work');
    await until('slow_down was told', () => told);
    await approve(begun);
    assert.equal((await ended).subject, 'alice');
    const [slow] = gaps(pollsOf(world.as, from).slice(-2));
    assert.ok(slow >= 5900 && slow < 8000, `${slow} ms after slow_down`);
  });

  test('on when an answer is lost, and when the server is not there for a moment', async (t) => {
    t.after(() => world.as.intercept(null));
    let lost = 0;
    world.as.intercept(async (req, _res, { path }) => {
      if (path !== '/token' || lost === 2) return false;
      lost++;
      req.socket.destroy();
      return true;
    });
    const { begun, ended } = await begin('work');
    await until('two polls failed', () => lost === 2);
    await approve(begun);
    assert.equal((await ended).subject, 'alice');
  });
});

describe('the agent asks a server of its own kind', { concurrency: true }, () => {
  test('every 5 seconds where it names no interval', async () => {
    const began = Date.now();
    const { begun, from, ended } = await begin('plain', plain);
    await approve(begun);
    assert.equal((await ended).subject, 'alice');
    const [first] = pollsOf(plain, from);
    assert.ok(first.time - began >= 4900 && first.time - began < 7500, `${first.time - began} ms`);
  });

  test('until the code has expired, and says then that the user was too slow', async () => {
    const { begun, from, ended } = await begin('hurried', hurried);
    assert.ok(begun.expires_in <= 3);
    const error = await ended;
    assert.deepEqual([error.name, error.retryable], ['login-required', false]);
    assert.match(error.message, /in time|within/);
    const count = pollsOf(hurried, from).length;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.equal(pollsOf(hurried, from).length, count, 'nobody asks any longer');
  });
});

describe('a login with a code ends', () => {
  for (const at of ['confirm', 'consent']) {
    test(`when the user refuses it (${at})`, async () => {
      const { begun, ended } = await begin('work');
      await approve(begun, { deny: true, at });
      const error = await ended;
      assert.deepEqual([error.name, error.oauth_error, error.stage], ['server-refused', 'access_denied', 'token request']);
    });
  }

  test('in the command, too', async () => {
    const { status, stderr } = await loginCommand(world, ['login', 'work'], (uri) => approveDevice(uri, { ca, deny: true }), { address: completeAddress });
    assert.notEqual(status, 0);
    assert.match(stderr, /access_denied/);
  });

  test('when it is cancelled, and nobody asks any longer', async () => {
    const { begun, from, ended } = await begin('work');
    await asked(world.as, from, 1);
    await world.agent.loginCancel(begun);
    assert.equal((await ended).name, 'login-required');
    const count = pollsOf(world.as, from).length;
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.ok(pollsOf(world.as, from).length <= count + 1);
    await assert.rejects(world.agent.loginRedirect(begun, 'http://127.0.0.1/?code=1'), { name: 'invalid-argument' });
  });

  test('at once where the server has no such endpoint', async (t) => {
    const as = await startAuthorizationServer({ tls: world.authority.tls, device: false });
    t.after(as.close);
    await addClient(world, 'other', 'none', { as, grants: ['code'] });
    await world.configure({ profiles: { none: { ...device, client: 'other', issuer: as.issuer } } });
    await assert.rejects(world.agent.loginBegin('none'), { name: 'server-misbehaved', message: /device_authorization_endpoint/ });
  });
});
