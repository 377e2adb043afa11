// How a login with the authorization code grant ends: the redirect that the user's browser brings, rightly or wrongly, by the
// listener or by hand; nobody who comes at all; and what becomes of the code.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { addClient, comeBack, logIn, loginCommand } from './login-steps.mjs';
import { startScriptedServer, unsignedJwt } from './scripted-server.mjs';
import { childrenOf, makeWorld, showLogOnFailure, until } from './world.mjs';
import { logIn as userLogsIn } from './user.mjs';

const code = { client: 'app', grant: 'authorization_code', scope: 'openid offline_access read write' };
const profiles = {
  work: code,
  plain: { ...code, 'pushed-authorization-requests': 'no' },
  web: { ...code, client: 'web' },
  brief: { ...code, 'login-timeout': 2 },
  ipv6: { ...code, 'redirect-uri': 'http://[::1]/callback' },
};

let world;
let ca;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld();
  ({ ca } = world.authority);
  await addClient(world, 'app', 'none');
  await addClient(world, 'web', 'client_secret_basic');
  await world.configure({ profiles });
});
after(() => world?.stop());

// A server, or more profiles, for one test.
async function withProfiles(t, more, servers = []) {
  t.after(async () => {
    for (const server of servers) await server.close();
    await world.configure({ profiles });
  });
  await world.configure({ profiles: { ...profiles, ...more } });
}

const codesSent = (from) => world.as.tokenRequests().slice(from).filter(({ grantType }) => grantType === 'authorization_code');

// Begins, answers as if the server had sent the browser back, and gives the end of the login: { begun, page, error }.
async function answered(profile, parameters, how) {
  const begun = await world.agent.loginBegin(profile);
  const waiting = world.agent.loginWait(begun, { timeout: 20_000 }).then(() => null, (error) => error);
  const { searchParams } = new URL(begun.url);
  const page = await comeBack(begun, parameters({ state: searchParams.get('state'), iss: world.as.issuer, code: 'a-code' }), how);
  return { begun, page, error: await waiting };
}

async function assertClosed({ redirect_uri: uri }) {
  await until('the listener is closed', () => fetch(uri).then(() => false, () => true), { timeout: 5000 });
}

describe('a redirect', () => {
  const refusals = {
    'with a wrong state': [({ iss, code: value }) => ({ code: value, iss, state: 'another' }), { name: 'server-misbehaved', message: /state/ }],
    'without a state': [({ iss, code: value }) => ({ code: value, iss }), { name: 'server-misbehaved', message: /state/ }],
    'with a wrong iss': [({ state, code: value }) => ({ code: value, state, iss: 'https://other.example' }),
      { name: 'server-misbehaved', message: /another issuer/ }],
    'without the iss that this server sends': [({ state, code: value }) => ({ code: value, state }), { name: 'server-misbehaved', message: /no iss/ }],
    'with two codes': [({ state, iss }) => [['code', 'one'], ['code', 'two'], ['state', state], ['iss', iss]], { name: 'server-misbehaved', message: /twice/ }],
    'with neither code nor error': [({ state, iss }) => ({ state, iss }), { name: 'server-misbehaved', message: /neither a code nor an error/ }],
    'with an error': [
      ({ state, iss }) => ({ state, iss, error: 'temporarily_unavailable', error_description: 'come <b>later</b>', error_uri: 'https://as.example/e' }),
      {
        name: 'server-refused', oauth_error: 'temporarily_unavailable', oauth_description: 'come <b>later</b>', oauth_uri: 'https://as.example/e',
        next: /try again later/,
      },
    ],
  };
  for (const [what, [parameters, expected]] of Object.entries(refusals)) {
    test(`${what} ends the login with an error of its own, and no code is sent`, async () => {
      const from = world.as.tokenRequests().length;
      const { begun, page, error } = await answered('plain', parameters);
      assert.throws(() => { throw error; }, { ...expected, stage: 'redirect' });
      assert.equal(codesSent(from).length, 0);
      assert.match(page.body, /has failed/);
      assert.doesNotMatch(page.body, /<b>/);
      await assertClosed(begun);
    });
  }

  test('with an error of another login does not end with that error', async () => {
    const { error } = await answered('plain', ({ iss }) => ({ error: 'access_denied', iss, state: 'another' }));
    assert.deepEqual([error.name, error.oauth_error], ['server-misbehaved', undefined]);
  });

  test('with a code that the server did not give is refused by it, once', async () => {
    await logIn(world, 'work'); // the agent has a nonce now
    const from = world.as.tokenRequests().length;
    const { error } = await answered('plain', (parameters) => parameters);
    assert.deepEqual([error.name, error.oauth_error, error.stage], ['server-refused', 'invalid_grant', 'token request']);
    assert.equal(codesSent(from).length, 1);
  });

  test('to another path, or with another method, is refused and ends nothing', async () => {
    const begun = await world.agent.loginBegin('plain');
    const waiting = world.agent.loginWait(begun, { timeout: 20_000 });
    const state = new URL(begun.url).searchParams.get('state');
    for (const path of ['/', '/favicon.ico', '/callback/', '/Callback']) assert.equal((await comeBack(begun, { code: 'x', state }, { path })).status, 404);
    assert.equal((await comeBack(begun, { code: 'x', state }, { method: 'POST' })).status, 405);
    const { page } = await userLogsIn(begun.url, { ca });
    assert.equal(page.status, 200);
    assert.equal((await waiting).subject, 'alice');
  });

  test('is taken once: a second code finds nobody, by the browser or by hand', async () => {
    const { begun, redirect } = await logIn(world, 'plain');
    const from = world.as.tokenRequests().length;
    await assertClosed(begun);
    const second = redirect.replace(/code=[^&]*/, 'code=second');
    await assert.rejects(fetch(second));
    await assert.rejects(world.agent.loginRedirect(begun, second), { name: 'invalid-argument' });
    assert.equal(world.as.tokenRequests().length, from);
  });

  test('may be brought by hand, after one that was not for this login', async () => {
    const begun = await world.agent.loginBegin('work');
    const { redirect } = await userLogsIn(begun.url, { ca, follow: false });
    for (const wrong of ['https://elsewhere.example/?code=1', 'nonsense', begun.redirect_uri, redirect.replace('callback', 'callbak')]) {
      await assert.rejects(world.agent.loginRedirect(begun, wrong), { name: 'invalid-argument', next: /address line/ });
    }
    await world.agent.loginRedirect(begun, redirect);
    assert.equal((await world.agent.loginWait(begun, { timeout: 20_000 })).subject, 'alice');
    await assertClosed(begun);
  });

  test('of one login is not the other\'s, when several are under way', async () => {
    const names = ['work', 'plain', 'web', 'ipv6'];
    const begun = await Promise.all(names.map((name) => world.agent.loginBegin(name)));
    const users = ['ann', 'ben', 'cid', 'dan'];
    const waiting = begun.map((login) => world.agent.loginWait(login, { timeout: 30_000 }));
    await Promise.all(begun.map((login, i) => userLogsIn(login.url, { ca, login: users[i] })).reverse());
    assert.deepEqual((await Promise.all(waiting)).map(({ profile, subject }) => [profile, subject]), names.map((name, i) => [name, users[i]]));
  });
});

describe('a login', () => {
  test('that is cancelled ends for everybody who waits, and its listener with it', async () => {
    const begun = await world.agent.loginBegin('work');
    const other = await world.connect();
    const waiting = [world.agent, other].map((agent) => agent.loginWait(begun, { timeout: 20_000 }));
    for (const one of waiting) one.catch(() => {});
    await world.agent.loginCancel(begun);
    for (const one of waiting) await assert.rejects(one, { name: 'login-required', message: /cancelled/ });
    await assertClosed(begun);
    await assert.rejects(world.agent.loginRedirect(begun, `${begun.redirect_uri}?code=1`), { name: 'invalid-argument' });
    await world.agent.loginCancel(begun);
    await other.close();
  });

  test('for which the user is too slow ends at login-timeout, and its listener with it', async () => {
    const began = Date.now();
    const begun = await world.agent.loginBegin('brief');
    assert.ok(begun.expires_in <= 2);
    await assert.rejects(world.agent.loginWait(begun, { timeout: 20_000 }), { name: 'login-required', message: /within 2 s/, next: /dpop login/ });
    assert.ok(Date.now() - began >= 1900 && Date.now() - began < 5000);
    await assertClosed(begun);
  });

  test('goes on when a wait of it times out, and its end can be asked for afterwards', async () => {
    const begun = await world.agent.loginBegin('work');
    await assert.rejects(world.agent.loginWait(begun, { timeout: 100 }), { name: 'timeout', retryable: true });
    await userLogsIn(begun.url, { ca });
    for (let i = 0; i < 2; i++) assert.equal((await world.agent.loginWait(begun, { timeout: 20_000 })).subject, 'alice');
  });

  test('is nobody\'s who does not know its handle', async () => {
    const begun = await world.agent.loginBegin('work');
    const wrong = Buffer.from(begun.login);
    wrong[0] ^= 1;
    for (const operation of ['loginWait', 'loginCancel']) await assert.rejects(world.agent[operation](wrong), { name: 'invalid-argument' });
    await assert.rejects(world.agent.loginRedirect(wrong, begun.redirect_uri), { name: 'invalid-argument' });
    await world.agent.loginCancel(begun);
  });
});

describe('the code', () => {
  // A server that knows only what the agent sends it.
  async function scripted(t, { metadata = {}, idToken = {} } = {}) {
    const server = await startScriptedServer({ tls: world.authority.tls });
    server.metadata = { authorization_endpoint: `${server.issuer}/auth?tenant=1`, authorization_response_iss_parameter_supported: true, ...metadata };
    await withProfiles(t, { scripted: { ...code, issuer: server.issuer, resource: null } }, [server]);
    const begun = await world.agent.loginBegin('scripted');
    const asked = new URL(begun.url).searchParams;
    const now = Math.floor(Date.now() / 1000);
    const claims = { iss: server.issuer, aud: 'app', sub: 'zoe', exp: now + 300, iat: now, nonce: asked.get('nonce'), ...idToken };
    const tokens = { access_token: 'opaque-access', token_type: 'DPoP', expires_in: 60, refresh_token: 'opaque-refresh' };
    server.token = (answer) => answer(200, { ...tokens, id_token: unsignedJwt(claims) });
    const waiting = world.agent.loginWait(begun, { timeout: 20_000 });
    waiting.catch(() => {});
    const page = await comeBack(begun, { code: 'the+code /1', state: asked.get('state'), iss: server.issuer });
    return { server, begun, asked, page, waiting };
  }

  test('is sent once, with its verifier, redirect URI and proof; the challenge was of that verifier', async (t) => {
    const { server, begun, asked, waiting } = await scripted(t);
    assert.equal((await waiting).subject, 'zoe');
    assert.deepEqual([asked.get('tenant'), new URL(begun.url).pathname], ['1', '/auth']);
    const [{ form, proof }, ...more] = server.sends.filter((send) => send.form.get('grant_type') === 'authorization_code');
    assert.equal(more.length, 0);
    assert.deepEqual([form.get('code'), form.get('redirect_uri'), form.get('client_id')], ['the+code /1', begun.redirect_uri, 'app']);
    assert.equal(createHash('sha256').update(form.get('code_verifier')).digest('base64url'), asked.get('code_challenge'));
    assert.match(form.get('code_verifier'), /^[\w.~-]{43,128}$/);
    assert.deepEqual([proof.htm, proof.htu], ['POST', `${server.issuer}/token`]);
  });

  const badIdTokens = {
    'of another issuer': { iss: 'https://other.example' },
    'for another client': { aud: 'somebody' },
    'that has expired': { exp: Math.floor(Date.now() / 1000) - 600 },
    'with another nonce': { nonce: 'another' },
    'without a nonce': { nonce: undefined },
  };
  for (const [what, idToken] of Object.entries(badIdTokens)) {
    test(`brings nothing when it comes with an id_token ${what}`, async (t) => {
      const { page, waiting } = await scripted(t, { idToken });
      await assert.rejects(waiting, { name: 'server-misbehaved', message: /id_token/ });
      assert.match(page.body, /has failed/);
      await assert.rejects(world.agent.token('scripted'), { name: 'login-required' });
    });
  }

  test('is not sent again when its answer is lost', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    server.metadata = { authorization_endpoint: `${server.issuer}/auth` };
    server.token = (_answer, { req }) => req.socket.destroy();
    await withProfiles(t, { lost: { ...code, issuer: server.issuer, resource: null, scope: 'read' } }, [server]);
    const begun = await world.agent.loginBegin('lost');
    const waiting = world.agent.loginWait(begun, { timeout: 20_000 });
    waiting.catch(() => {});
    await comeBack(begun, { code: 'once', state: new URL(begun.url).searchParams.get('state') });
    await assert.rejects(waiting, { next: /log in again/ });
    await sleep(1500);
    assert.equal(server.sends.filter(({ form }) => form.get('code') === 'once').length, 1);
  });

  test('and its state and verifier, and every token, are in no log, no trace and no command line', async (t) => {
    const { server, asked, waiting } = await scripted(t);
    const pids = [world.process.pid, ...(await childrenOf(world.process.pid))];
    const seen = await loginCommand(world, ['login', 'work', '--no-browser'], async (url, child) => {
      const lines = await Promise.all([...pids, child.pid].map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
      const { redirect } = await userLogsIn(url, { ca });
      return { lines: lines.join('\n'), redirect: new URL(redirect).searchParams, url };
    });
    await waiting;
    await world.agent.token({ profile: 'scripted', force: true });
    const [first] = server.sends;
    const { access_token: token } = await world.agent.token('work');
    const canaries = {
      code: seen.acted.redirect.get('code'), state: seen.acted.redirect.get('state'), 'scripted code': 'the+code /1', 'encoded code': 'the%2Bcode',
      'scripted state': asked.get('state'), verifier: first.form.get('code_verifier'), nonce: asked.get('nonce'),
      access: 'opaque-access', refresh: 'opaque-refresh', token, request: new URL(seen.acted.url).searchParams.get('request_uri'),
    };
    const log = await world.log();
    const traces = JSON.stringify([await world.agent.trace({ profile: 'scripted' }), await world.agent.trace({ profile: 'work' })]);
    for (const [what, canary] of Object.entries(canaries)) {
      assert.ok(canary, what);
      assert.ok(!log.includes(canary), `the log has the ${what}`);
      assert.ok(!traces.includes(canary), `the trace has the ${what}`);
      assert.ok(!seen.acted.lines.includes(canary), `a command line has the ${what}`);
    }
    assert.match(traces, /awaited at/);
    assert.match(seen.acted.lines, /dpop\0login\0work/, 'the command lines were read');
    for (const name of await readdir(world.stateFolder)) {
      const bytes = await readFile(`${world.stateFolder}/${name}`).catch(() => Buffer.alloc(0)); // folders too
      for (const what of ['access', 'refresh', 'token', 'code', 'verifier']) assert.ok(!bytes.includes(canaries[what]), `${name} has the ${what}`);
    }
  });
});
