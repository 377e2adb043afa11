// Logins with the authorization code grant at the real oidc-provider, by the dpop command and by the wire: what is asked for,
// what is granted, and how long it lasts. How the user's browser comes back is in login-redirect.test.mjs.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { grantTypes } from '../servers/clients.mjs';
import { addClient, logIn, loginCommand, useToken } from './login-steps.mjs';
import { entries, jose, makeWorld, showLogOnFailure, until } from './world.mjs';
import { deny, logIn as userLogsIn } from './user.mjs';

const code = { client: 'app', grant: 'authorization_code', scope: 'openid offline_access read write' };
const profiles = {
  work: code,
  plain: { ...code, 'pushed-authorization-requests': 'no' },
  web: { ...code, client: 'web' },
  narrow: { ...code, scope: 'openid read' },
  memory: { ...code, persist: 'no' },
  elsewhere: { ...code, 'redirect-uri': 'http://127.0.0.1/elsewhere', 'pushed-authorization-requests': 'no', 'login-timeout': 600 },
  'elsewhere-pushed': { ...code, 'redirect-uri': 'http://127.0.0.1/elsewhere' },
  derived: { client: 'app', grant: 'token-exchange', 'subject-token-profile': 'work' },
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

const profileInfo = async (name) => (await world.agent.profiles()).find((profile) => profile.name === name);
const records = async () => (await entries(world.stateFolder)).filter((name) => name.startsWith('login-'));
const codesSent = (from) => world.as.tokenRequests().slice(from).filter(({ grantType }) => grantType === 'authorization_code');

async function restart() {
  world.agent.close();
  await world.process.stop();
  await world.start();
  await world.ready();
}

async function assertClosed({ redirect_uri: uri }) {
  await until('the listener is closed', () => fetch(uri).then(() => false, () => true), { timeout: 5000 });
}

describe('dpop login', () => {
  test('shows where to log in, waits for the user, and tells who is logged in; then there is a token', async () => {
    const { status, stdout, stderr, acted } = await loginCommand(world, ['login', 'work', '--no-browser'], (url) => userLogsIn(url, { ca }));
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^logged in +work$/m);
    assert.match(stdout, /^subject +alice$/m);
    assert.match(stdout, /^token +DPoP, until \d{4}-.* \((59\d|600) s\)$/m);
    assert.match(stdout, /^kept +on disk, sealed$/m);
    assert.match(stderr, /Open this address in a browser/);
    assert.equal(acted.page.status, 200);

    const { stdout: token } = await world.dpop('token', 'work');
    const claims = jose.decodeJwt(token);
    assert.deepEqual([claims.sub, claims.cnf.jkt, claims.aud, claims.scope], ['alice', world.jkt.work, world.rs.origin, 'read write']);
    assert.equal((await useToken(world, 'work', token.trim())).status, 200);
    const info = await profileInfo('work');
    assert.deepEqual([info.login, info.subject, info.persisted], ['logged in', 'alice', true]);
    assert.match((await world.dpop('status')).stdout, /alice/);
  });

  test('as JSON is a line for the beginning and one for the end', async () => {
    const { status, stdout, stderr } = await loginCommand(world, ['login', 'work', '--no-browser', '--json'], (url) => userLogsIn(url, { ca, login: 'bob' }),
      { on: 'stdout', address: /"url":\s*"([^"]+)"/ });
    assert.equal(status, 0, stderr);
    const [begun, ended] = stdout.trim().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual([begun.event, begun.profile, new URL(begun.redirect_uri).hostname], ['begun', 'work', '127.0.0.1']);
    assert.deepEqual([ended.event, ended.profile, ended.subject, ended.jkt, ended.refresh, ended.persisted],
      ['logged in', 'work', 'bob', world.jkt.work, true, true]);
  });

  test('ends with the page that the user sees, which loads nothing and leaves no trace', async () => {
    const { page } = await logIn(world, 'work');
    assert.equal(page.status, 200);
    assert.match(page.body, /Profile work is logged in\. You can close this page\./);
    assert.doesNotMatch(page.body, /<(script|link|img|iframe|style|form|a)\b|src=|href=|url\(|https?:/i);
    assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
    assert.equal(page.headers.get('cache-control'), 'no-store');
    assert.match(page.headers.get('content-security-policy'), /^default-src 'none'/);
    assert.match(page.headers.get('content-type'), /^text\/html; charset=utf-8/i);
  });

  test('that the user refuses fails with what the server says, in the command and on the page', async () => {
    const { status, stderr, acted } = await loginCommand(world, ['login', 'work', '--no-browser'], (url) => deny(url, { ca }));
    assert.notEqual(status, 0);
    assert.match(stderr, /access_denied: the user refused/);
    assert.match(stderr, /next: .*allow the access/);
    assert.match(acted.page.body, /has failed/);
    assert.match(acted.page.body, /the user refused/);
  });

  test('takes the address at which the browser ended, typed at the terminal', async () => {
    const { status, stdout, stderr } = await loginCommand(world, [], async (url, child) => {
      const { redirect } = await userLogsIn(url.trim(), { ca, follow: false });
      child.stdin.write('http://127.0.0.1/nothing\n');
      await sleep(300);
      child.stdin.write(`${redirect}\n`);
    }, {
      wrap: ['sh', '-c', 'exec script -qefc "$0 login work --no-browser" /dev/null'], env: { SHELL: '/bin/sh' },
      on: 'stdout', address: /^ +(https:\/\/\S+)\r?$/m,
    });
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /paste the address/);
    assert.match(stdout, /paste the whole address/);
    assert.match(stdout, /^subject +alice\r?$/m);
  });

  test('that is interrupted is cancelled: nothing listens any longer', async () => {
    const before = await profileInfo('work');
    const { status, stderr, acted } = await loginCommand(world, ['login', 'work', '--no-browser'], (url, child) => {
      child.kill('SIGINT');
      return url;
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /cancelled/);
    const { redirect } = await userLogsIn(acted, { ca, follow: false });
    await assertClosed({ redirect_uri: redirect });
    assert.equal((await profileInfo('work')).login, before.login, 'the login that was there stays');
  });

  test('of a profile that needs none, or that is not there, is refused', async () => {
    await world.writeConfig({ profiles: { ...profiles, basic: {} } });
    await world.reload();
    await assert.rejects(world.agent.loginBegin('basic'), { name: 'invalid-argument', next: /authorization_code/ });
    await assert.rejects(world.agent.loginBegin('nobody'), { name: 'unknown-profile' });
    await assert.rejects(world.agent.loginWait(Buffer.alloc(16)), { name: 'invalid-argument' });
    await world.configure({ profiles });
  });
});

describe('an authorization request', () => {
  test('is pushed where the server can take it, else goes through the browser, with the same parameters', async () => {
    const wanted = [
      'client_id', 'code_challenge', 'code_challenge_method', 'dpop_jkt', 'nonce', 'prompt', 'redirect_uri', 'resource', 'response_type',
      'scope', 'state',
    ];
    const from = world.as.requests.length;
    await logIn(world, 'work');
    await logIn(world, 'web');
    const pushed = world.as.requests.slice(from).filter(({ path }) => path === '/request');
    assert.deepEqual(pushed.map(({ fields }) => fields.filter((name) => !/^client_(id|secret)$/.test(name))),
      Array(pushed.length).fill(wanted.filter((name) => name !== 'client_id')));
    assert.ok(pushed.every(({ jti }) => jti), 'each with a proof');
    const { begun } = await logIn(world, 'plain');
    const parameters = new URL(begun.url).searchParams;
    assert.deepEqual([...parameters.keys()].sort(), wanted);
    assert.deepEqual([parameters.get('code_challenge_method'), parameters.get('dpop_jkt'), parameters.get('resource'), parameters.get('prompt')],
      ['S256', world.jkt.work, world.rs.origin, 'consent']);
    assert.ok(parameters.get('state').length >= 43 && parameters.get('nonce').length >= 43 && parameters.get('code_challenge').length === 43);
  });

  test('has new random values each time', async () => {
    const all = [];
    for (let i = 0; i < 5; i++) {
      const begun = await world.agent.loginBegin('plain');
      const parameters = new URL(begun.url).searchParams;
      all.push(parameters.get('state'), parameters.get('nonce'), parameters.get('code_challenge'), begun.redirect_uri, begun.login.toString('hex'));
      await world.agent.loginCancel(begun);
    }
    assert.equal(new Set(all).size, 25);
  });

  test('carries extra parameters of the profile, and so do the pushed request and the token request', async (t) => {
    const extra = { 'authorization-form': ['ui_locales=de', 'login_hint=a&b=ü'], form: 'hint=x y' };
    await withProfiles(t, { extra: { ...code, ...extra }, 'extra-plain': { ...profiles.plain, ...extra } });
    const from = world.as.requests.length;
    await logIn(world, 'extra');
    const ofPath = (path) => world.as.requests.slice(from).filter((record) => record.path === path);
    assert.ok(['ui_locales', 'login_hint'].every((name) => ofPath('/request').at(-1).fields.includes(name)));
    assert.ok(ofPath('/token').every(({ fields }) => fields.includes('hint')));
    const { begun } = await logIn(world, 'extra-plain');
    assert.equal(new URL(begun.url).searchParams.get('login_hint'), 'a&b=ü');
  });

  test('is pushed to a server that requires it, and a profile that does not push there is told so', async (t) => {
    const as = await startAuthorizationServer({ tls: world.authority.tls, requirePar: true, resources: [world.rs.origin] });
    await addClient(world, 'strict', 'client_secret_post', { as });
    const strict = { ...code, client: 'strict', issuer: as.issuer };
    await withProfiles(t, { auto: strict, never: { ...strict, 'pushed-authorization-requests': 'no' } }, [as]);
    assert.equal((await logIn(world, 'auto')).result.subject, 'alice');
    assert.ok(as.requests.some(({ path, status }) => path === '/request' && status === 201));
    await assert.rejects(world.agent.loginBegin('never'), {
      name: 'configuration', message: /requires pushed authorization requests/, next: /pushed-authorization-requests = auto/,
    });
  });

  test('goes through the browser at a server without pushed requests, and a profile that wants them is told so', async (t) => {
    const as = await startAuthorizationServer({ tls: world.authority.tls, par: false, resources: [world.rs.origin] });
    await addClient(world, 'simple', 'none', { as });
    const simple = { ...code, client: 'simple', issuer: as.issuer };
    await withProfiles(t, { auto: simple, always: { ...simple, 'pushed-authorization-requests': 'yes' } }, [as]);
    assert.ok(new URL((await logIn(world, 'auto')).begun.url).searchParams.has('code_challenge'));
    await assert.rejects(world.agent.loginBegin('always'), { name: 'server-misbehaved', message: /pushed_authorization_request_endpoint/ });
  });

  test('that the server refuses when it is pushed fails at once, with its error', async () => {
    await assert.rejects(world.agent.loginBegin('elsewhere-pushed'), {
      name: 'server-refused', oauth_error: 'invalid_request', oauth_description: /redirect_uri/, http_status: 400, stage: 'authorization',
    });
  });

  test('with a redirect URI that the server does not know shows the server\'s page, and the login waits on', async () => {
    const begun = await world.agent.loginBegin('elsewhere');
    const { redirect, page } = await userLogsIn(begun.url, { ca });
    assert.deepEqual([redirect, JSON.parse(page.body).error], [null, 'invalid_redirect_uri']);
    await assert.rejects(world.agent.loginWait(begun, { timeout: 200 }), { name: 'timeout' });
    await world.agent.loginCancel(begun);
  });

  test('may come back at ::1', async () => {
    const { begun, result, page } = await logIn(world, 'ipv6');
    assert.match(begun.redirect_uri, /^http:\/\/\[::1\]:\d+\/callback$/);
    assert.deepEqual([result.subject, page.status], ['alice', 200]);
  });
});

describe('what is granted', () => {
  test('has a refresh token with offline_access, and none without', async () => {
    assert.equal((await logIn(world, 'work')).result.refresh, true);
    const { result } = await logIn(world, 'narrow');
    assert.deepEqual([result.refresh, result.subject], [false, 'alice']);
    await assert.rejects(world.agent.token({ profile: 'narrow', force: true }), { name: 'login-required', next: /dpop login narrow/ });
    assert.ok((await world.agent.token('narrow')).access_token, 'the token that is there is served until its end');
  });

  test('may be less than what was asked for, and the answer says so', async () => {
    const { result } = await logIn(world, 'work', { refuse: 'write' });
    assert.ok(!result.scope.split(' ').includes('write') && result.scope.split(' ').includes('read'));
    assert.equal(jose.decodeJwt((await world.agent.token('work')).access_token).scope, 'read');
  });

  test('is for another scope when a caller asks for less, by the same refresh token', async () => {
    await logIn(world, 'work');
    const token = await world.agent.token({ profile: 'work', scope: 'read' });
    assert.equal(jose.decodeJwt(token.access_token).scope, 'read');
    assert.equal(jose.decodeJwt((await world.agent.token('work')).access_token).scope, 'read write');
  });

  // oidc-provider spends a rotating refresh token before it looks at the resource, and refuses then.
  test('is for the resource that was consented to: another one is refused here, sends nothing, and the login stays', async () => {
    await logIn(world, 'work');
    world.as.addResource('https://other.example/api');
    const from = world.as.tokenRequests().length;
    await assert.rejects(world.agent.token({ profile: 'work', resources: ['https://other.example/api'] }), {
      name: 'invalid-argument', message: /has not asked for the resource https:\/\/other\.example\/api/,
    });
    assert.equal(world.as.tokenRequests().length, from);
    const token = await world.agent.token({ profile: 'work', resources: [world.rs.origin], force: true });
    assert.equal(jose.decodeJwt(token.access_token).aud, world.rs.origin);
    assert.equal((await profileInfo('work')).login, 'logged in');
  });

  test('is for the audience, where a server wants that instead of resource', async (t) => {
    const options = { audienceParameter: true, resources: ['https://api.example'], refreshTokens: 'always' };
    const as = await startAuthorizationServer({ tls: world.authority.tls, ...options });
    await addClient(world, 'hearer', 'none', { as });
    await withProfiles(t, { hearer: { ...code, scope: 'read', client: 'hearer', issuer: as.issuer, resource: null, audience: 'https://api.example' } }, [as]);
    await logIn(world, 'hearer');
    assert.equal(jose.decodeJwt((await world.agent.token('hearer')).access_token).aud, 'https://api.example');
    assert.equal(jose.decodeJwt((await world.agent.token({ profile: 'hearer', force: true })).access_token).aud, 'https://api.example');
  });

  test('has the authorization_details that were asked for, after a refresh too', async (t) => {
    const options = { authorizationDetails: ['payment'], resources: [world.rs.origin], refreshTokens: 'always' };
    const as = await startAuthorizationServer({ tls: world.authority.tls, ...options });
    await addClient(world, 'payer', 'none', { as });
    const details = [{ type: 'payment', actions: ['initiate'], amount: { currency: 'EUR', value: '12.50' } }];
    await withProfiles(t, { payer: { ...code, client: 'payer', issuer: as.issuer, 'authorization-details': JSON.stringify(details) } }, [as]);
    await logIn(world, 'payer');
    for (const force of [false, true]) {
      const token = await world.agent.token({ profile: 'payer', force, raw: true });
      assert.deepEqual(jose.decodeJwt(token.access_token).authorization_details, details);
      assert.deepEqual(JSON.parse(token.raw).authorization_details, details);
    }
  });

  test('is given with every other member of the answer by dpop token --json, and never the refresh token', async () => {
    const { result } = await logIn(world, 'work');
    const { status, stdout, stderr } = await world.dpop('token', '--json', 'work');
    assert.equal(status, 0, stderr);
    const token = JSON.parse(stdout);
    assert.deepEqual([token.token_type, token.jkt, result.refresh], ['DPoP', world.jkt.work, true]);
    assert.deepEqual(Object.keys(token.raw), ['id_token']);
    assert.equal(jose.decodeJwt(token.raw.id_token).sub, 'alice');
    assert.ok(!('refresh_token' in token));
    const { stdout: refreshed } = await world.dpop('token', '--json', '--force', 'work');
    assert.doesNotMatch(refreshed, /refresh_token/);
  });

  test('is another user\'s after another login, and nothing of the former is left', async () => {
    await logIn(world, 'work');
    const kept = await records();
    for (const scope of ['read', 'write']) await world.agent.token({ profile: 'work', scope });
    await logIn(world, 'work', { login: 'bob' });
    assert.deepEqual(await records(), kept);
    for (const scope of ['read', 'write']) assert.equal(jose.decodeJwt((await world.agent.token({ profile: 'work', scope })).access_token).sub, 'bob');
    assert.equal((await profileInfo('work')).subject, 'bob');
    for (const force of [false, true]) assert.equal(jose.decodeJwt((await world.agent.token({ profile: 'work', force })).access_token).sub, 'bob');
  });
});

describe('a token that was made of a login\'s token', () => {
  test('is another user\'s after another login, and needs one after the logout', async () => {
    for (const login of ['alice', 'bob']) {
      await logIn(world, 'work', { login });
      assert.equal(jose.decodeJwt((await world.agent.token('derived')).access_token).sub, login);
    }
    await world.agent.logout('work');
    await assert.rejects(world.agent.token('derived'), { name: 'login-required', next: /dpop login work/ });
  });
});

describe('a token that was being made of a login\'s token when another user logged in', () => {
  test('is given to who asked before, and kept for nobody', async (t) => {
    t.after(() => world.as.amend(null));
    let release;
    let held = false;
    const released = new Promise((resolve) => (release = resolve));
    world.as.amend(async (ctx, { grantType }) => {
      if (grantType !== grantTypes.exchange || held || ctx.status !== 200) return;
      held = true;
      await released;
    });
    await logIn(world, 'work');
    const asked = world.agent.token('derived');
    await until('the exchange is under way', () => held);
    await logIn(world, 'work', { login: 'bob' });
    release();
    assert.equal(jose.decodeJwt((await asked).access_token).sub, 'alice');
    assert.equal(jose.decodeJwt((await world.agent.token('derived')).access_token).sub, 'bob');
  });
});

describe('an agent that starts again', () => {
  test('is still logged in, and asks no server for a token that is still good', async () => {
    await logIn(world, 'work');
    const { access_token: before, raw } = await world.agent.token({ profile: 'work', raw: true });
    const from = world.as.tokenRequests().length;
    await restart();
    const token = await until('it serves the token', () => world.agent.token({ profile: 'work', raw: true }));
    assert.equal(token.access_token, before);
    assert.equal(token.raw, raw);
    assert.ok(token.expires_in > 500 && token.expires_in <= 600);
    const info = await profileInfo('work');
    assert.deepEqual([info.login, info.subject, info.persisted], ['logged in', 'alice', true]);
    assert.equal(world.as.tokenRequests().length, from);
    const refreshed = await world.agent.token({ profile: 'work', force: true });
    assert.equal(jose.decodeJwt(refreshed.access_token).sub, 'alice');
    assert.deepEqual([...new Set(world.as.tokenRequests().slice(from).map(({ grantType }) => grantType))], ['refresh_token']);
  });

  test('has a nonce before it sends a code to a server that asked for one at an earlier login', async () => {
    await logIn(world, 'plain');
    await restart();
    const from = world.as.tokenRequests().length;
    await logIn(world, 'plain');
    assert.deepEqual(codesSent(from).map(({ status, nonce }) => [status, nonce !== undefined]), [[200, true]]);
  });

  test('is not where persist = no: that login was in memory only, and left nothing on disk', async () => {
    const before = await records();
    const { result } = await logIn(world, 'memory');
    assert.deepEqual([result.refresh, result.persisted, result.note], [true, false, 'persist = no']);
    await world.agent.token({ profile: 'memory', force: true });
    assert.deepEqual(await records(), before);
    assert.deepEqual([(await profileInfo('memory')).persisted, (await profileInfo('memory')).login], [false, 'logged in']);
    await restart();
    await assert.rejects(world.agent.token('memory'), { name: 'login-required', next: /dpop login memory/ });
    assert.equal((await profileInfo('memory')).login, 'login required');
  });

  test('or reloads ends the logins that are under way, and says so', async () => {
    const begun = await world.agent.loginBegin('work');
    const waiting = world.agent.loginWait(begun, { timeout: 20_000 });
    waiting.catch(() => {});
    await world.reload();
    await assert.rejects(waiting, { name: /restarted|Error/ });
    await assertClosed(begun);
  });
});
