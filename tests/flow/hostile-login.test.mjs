// The hostile list, beyond the token endpoint: pushed authorization requests, device codes, revocation, introspection and
// resource metadata that are no good; codes and refresh tokens whose fate is not known. Each case ends with an error of its
// own type, in time and with a bounded number of sends, or succeeds; a user has to log in again only where the server's own
// events say so.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { hashOf } from '../servers/events.mjs';
import { fetchTrusting } from '../servers/transport.mjs';
import { addClient, comeBack, logIn } from './login-steps.mjs';
import { assertRefused, bytes, challenge, endOf, granting, huge, reset, resetInTheMiddle, saying, silent, startElsewhere } from './hostile-server.mjs';
import { bearerOf, startScriptedServer, unsignedJwt } from './scripted-server.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';

const TIMEOUT = 3; // seconds of a profile at a scripted server
const AT_ONCE = 6; // cases; more would have to wait for this machine, and not for the servers
const NONCE_FRESH = 20; // seconds: so long the agent takes a server's last nonce for good
const LIFE = 9; // seconds of an access token, where its end is waited for

let world;
let ca;
let elsewhere;
const closing = [];
const servers = {}; // scripted ones, by profile
const as = {}; //     real ones, by profile
showLogOnFailure(() => world);

// ---- scripted servers ---------------------------------------------------------------------------------------------

const public_ = { client: 'app', resource: null, scope: 'read', timeout: TIMEOUT };
const browser = { ...public_, grant: 'authorization_code' };
const device = { ...public_, grant: 'device_code' };
const paths = {
  authorization_endpoint: '/auth', pushed_authorization_request_endpoint: '/par', device_authorization_endpoint: '/device',
  revocation_endpoint: '/revoke', introspection_endpoint: '/introspect',
};
const profiles = {};

// A server for one profile; what it does is told by path: { '/par': script, … }. Without a script /token gives a token and a
// refresh token, /device a code whose user never comes.
async function addScripted(name, options, scripts = {}, { without = [] } = {}) {
  const server = await startScriptedServer({ tls: world.authority.tls });
  closing.push(server);
  servers[name] = server;
  profiles[name] = { issuer: server.issuer, ...options };
  const told = Object.entries(paths).filter(([member]) => !without.includes(member));
  server.metadata = Object.fromEntries(told.map(([member, path]) => [member, server.issuer + path]));
  server.at = scripts;
  let issued = 0;
  const usual = {
    '/token': (answer) => answer(200, bearerOf({ refresh_token: `refresh-${++issued}` })),
    '/device': (answer) => answer(200, deviceAnswer()),
  };
  server.token = (answer, request, n) => (server.at[request.path] ?? usual[request.path])(answer, request, n);
  return server;
}

const deviceAnswer = (members = {}) => ({
  device_code: 'the-device-code', user_code: 'ABCD-EFGH', verification_uri: 'https://as.example/device', expires_in: 5, interval: 1, ...members,
});
const sentTo = (server, path) => server.sends.filter((send) => send.path === path);
const redirecting = (answer) => answer(302, '', { Location: elsewhere.url });

// ---- the cases ----------------------------------------------------------------------------------------------------

const failure = (stage) => ({
  misbehaved: (message) => ({ name: 'server-misbehaved', stage, message }),
  unavailable: (http_status) => ({ name: 'server-unavailable', stage, http_status }),
  unreachable: (message) => ({ name: 'server-unreachable', stage, message }),
});

const pushing = failure('authorization');
const pushes = { // what: [script, error, sends]
  'no request_uri': [saying(201, { expires_in: 60 }), pushing.misbehaved(/request_uri/), 1],
  'an empty request_uri': [saying(201, { request_uri: '', expires_in: 60 }), pushing.misbehaved(/request_uri/), 1],
  'a request_uri that is a number': [saying(201, { request_uri: 7 }), pushing.misbehaved(/request_uri/), 1],
  'a request_uri of 100 KB': [saying(201, { request_uri: `urn:${'x'.repeat(100_000)}` }), pushing.misbehaved(/request_uri/), 1],
  'no JSON': [bytes('<html>', 201), pushing.misbehaved(/request_uri/), 1],
  'a 302': [redirecting, pushing.misbehaved(/redirect/), 1],
  'a 404': [saying(404, 'nothing here'), pushing.misbehaved(/404/), 1],
  'a 500': [saying(500, ''), pushing.unavailable(500), 1],
  'a refusal': [saying(400, { error: 'invalid_request', error_description: 'no' }), { name: 'server-refused', stage: 'authorization', oauth_error: 'invalid_request', oauth_description: 'no' }, 1],
  'a nonce for ever': [(answer, _request, n) => challenge(`n${n}`)(answer), pushing.misbehaved(/again and again/), 2],
  'silence': [silent, pushing.unreachable(/in time/), 1],
  'a reset': [reset, pushing.unreachable(/closed before/), 1],
  '100 MB': [huge(), pushing.misbehaved(/larger than 1 MiB/), 1],
};

const authorizing = failure('device authorization');
const deviceAnswers = { // what: [script, error]
  'no user_code': [saying(200, deviceAnswer({ user_code: undefined })), authorizing.misbehaved(/user_code/)],
  'no device_code': [saying(200, deviceAnswer({ device_code: undefined })), authorizing.misbehaved(/device_code/)],
  'no verification_uri': [saying(200, deviceAnswer({ verification_uri: undefined })), authorizing.misbehaved(/verification_uri/)],
  'a user_code with control characters': [saying(200, deviceAnswer({ user_code: 'A\u001b]0;title\u0007' })), authorizing.misbehaved(/user_code/)],
  'a verification_uri that is a script': [saying(200, deviceAnswer({ verification_uri: 'javascript:alert(1)' })), authorizing.misbehaved(/verification_uri/)],
  'a verification_uri that is a file': [saying(200, deviceAnswer({ verification_uri: 'file:///etc/passwd' })), authorizing.misbehaved(/verification_uri/)],
  'a verification_uri_complete that is a script': [saying(200, deviceAnswer({ verification_uri_complete: 'javascript:alert(1)' })), authorizing.misbehaved(/verification_uri/)],
  'no JSON': [bytes('<html>'), authorizing.misbehaved()],
  'a 302': [redirecting, authorizing.misbehaved(/redirect/)],
  'a 500': [saying(500, ''), authorizing.unavailable(500)],
  'silence': [silent, authorizing.unreachable(/in time/)],
  'a reset in the middle': [resetInTheMiddle, authorizing.unreachable(/closed before/)],
};

const polling = failure('token request');
const refusing = (error) => saying(400, { error });
const tooSlow = { name: 'login-required', retryable: false, next: /dpop login/ };
const polls = { // what: [the token endpoint, error, most polls, seconds that the code lives]
  'slow_down for ever': [refusing('slow_down'), tooSlow, 2, 9],
  'authorization_pending for ever': [refusing('authorization_pending'), tooSlow, 5, 4],
  '503 for ever': [saying(503, ''), tooSlow, 4, 7],
  'a 302': [redirecting, polling.misbehaved(/redirect/), 1, 5],
  'truncated JSON': [bytes('{"access_to'), polling.misbehaved(/not a JSON object/), 1, 5],
  'a Bearer token': [granting({ token_type: 'Bearer' }), { name: 'token-not-dpop', stage: 'token request' }, 1, 5],
  'a token of another key': [granting({ access_token: unsignedJwt({ cnf: { jkt: 'A'.repeat(43) } }) }), { name: 'token-other-key', stage: 'token request' }, 1, 5],
  'invalid_grant': [refusing('invalid_grant'), { name: 'server-refused', stage: 'token request', oauth_error: 'invalid_grant' }, 1, 5],
  'a nonce for ever': [(answer, _request, n) => challenge(`n${n}`)(answer), polling.misbehaved(/again and again/), 2, 5],
};

const revocations = { // what: [script, was it revoked, note]
  'a 302': [redirecting, false, /redirect/],
  'a 500': [saying(500, ''), false, /500/],
  'a refusal': [saying(400, { error: 'unsupported_token_type' }), false, /unsupported_token_type/],
  'silence': [silent, false, /in time/],
  'a reset': [reset, false, /closed before/],
  '200 with a page': [bytes('<html>'), true],
  '200 with nothing': [saying(200, ''), true],
};

const asking = failure('introspection');
const introspections = { // what: [script, error; none: how `active` is]
  'no JSON': [bytes('<html>'), asking.misbehaved(/not a JSON object/)],
  'an array': [bytes('[true]'), asking.misbehaved(/not a JSON object/)],
  'no active': [saying(200, { sub: 'x' }), asking.misbehaved(/active/)],
  'active as a text': [saying(200, { active: 'true' }), asking.misbehaved(/active/)],
  'another key': [saying(200, { active: true, cnf: { jkt: 'A'.repeat(43) } }), { name: 'token-other-key', stage: 'introspection' }],
  'duplicate members': [bytes('{"active":false,"active":true}'), asking.misbehaved(/not a JSON object/)],
  'deep nesting': [bytes(`{"active":true,"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), asking.misbehaved(/not a JSON object/)],
  'invalid UTF-8': [bytes(Buffer.from('{"active":true,"sub":"\u00ff"}', 'latin1')), asking.misbehaved(/not a JSON object/)],
  '100 MB': [huge(), asking.misbehaved(/larger than 1 MiB/)],
  'a 302': [redirecting, asking.misbehaved(/redirect/)],
  'a 500': [saying(500, ''), asking.unavailable(500)],
  'silence': [silent, asking.unreachable(/in time/)],
  'a token that is not active': [saying(200, { active: false }), null, false],
  'a token that is active': [saying(200, { active: true, username: 'x' }), null, true],
};

const finding = failure('discovery');
// Of a document that was good before: change(what it said) → what it says.
const telling = (change) => (answer, _request, truth) => answer(200, change(truth));
const resources = { // what: [script, error; none: a token]
  'another resource': [telling((truth) => ({ ...truth, resource: 'https://other.example' })), finding.misbehaved(/another resource, "https:\/\/other\.example"/)],
  'a resource with another last slash': [telling((truth) => ({ ...truth, resource: `${truth.resource}/` })), finding.misbehaved(/another resource/)],
  'no resource': [telling(({ resource: _, ...rest }) => rest), finding.misbehaved(/another resource/)],
  'a plain http server': [telling((truth) => ({ ...truth, authorization_servers: ['http://localhost'] })), { name: 'insecure-url', stage: 'discovery', message: /plain http/ }],
  'no server': [telling(({ authorization_servers: _, ...rest }) => rest), finding.misbehaved(/no authorization server/)],
  'an empty list of servers': [telling((truth) => ({ ...truth, authorization_servers: [] })), finding.misbehaved(/no authorization server/)],
  'servers that are numbers': [telling((truth) => ({ ...truth, authorization_servers: [1] })), finding.misbehaved(/no authorization server/)],
  'a server that is a file': [telling((truth) => ({ ...truth, authorization_servers: ['file:///etc/passwd'] })), finding.misbehaved(/no issuer/)],
  'a server with a user': [telling((truth) => ({ ...truth, authorization_servers: ['https://user@localhost'] })), finding.misbehaved(/no issuer/)],
  'a server with a fragment': [telling((truth) => ({ ...truth, authorization_servers: ['https://localhost#x'] })), finding.misbehaved(/no issuer/)],
  'ten thousand servers, the first one good': [telling((truth) => ({ ...truth, authorization_servers: [...truth.authorization_servers, ...others] })), null],
  'a thousand servers, the first one good': [telling((truth) => ({ ...truth, authorization_servers: [...truth.authorization_servers, ...others.slice(0, 999)] })), null],
  'truncated JSON': [bytes('{"resource":'), finding.misbehaved(/not a JSON object/)],
  '100 MB': [huge(), finding.misbehaved(/larger than 1 MiB/)],
  'a 302': [redirecting, finding.misbehaved(/302/)],
  'a 404': [saying(404, ''), finding.misbehaved(/404/)],
  'silence': [silent, finding.unreachable(/in time/)],
};
const others = Array.from({ length: 9999 }, (_, i) => `https://localhost:1/as/${i}`);

const refreshing = failure('refresh');
// what: [the token endpoint at a refresh, error, is the refresh token in doubt then]
const refreshes = {
  'truncated JSON': [bytes('{"access_to'), refreshing.misbehaved(/not a JSON object/), true],
  '100 MB': [huge(), refreshing.misbehaved(/larger than 1 MiB/), true],
  'silence': [silent, refreshing.unreachable(/in time/), true],
  'a reset': [reset, refreshing.unreachable(/closed before/), true],
  'a reset in the middle': [resetInTheMiddle, refreshing.unreachable(/closed before/), true],
  'a 302': [redirecting, refreshing.misbehaved(/redirect/), false],
  'a 503': [saying(503, ''), refreshing.unavailable(503), false],
  'invalid_scope': [refusing('invalid_scope'), { name: 'server-refused', stage: 'refresh', oauth_error: 'invalid_scope' }, false],
  'a Bearer token': [granting({ token_type: 'Bearer', refresh_token: 'rotated' }), { name: 'token-not-dpop', stage: 'refresh' }, false],
  'a token of another key': [granting({ refresh_token: 'rotated', access_token: unsignedJwt({ cnf: { jkt: 'A'.repeat(43) } }) }), { name: 'token-other-key', stage: 'refresh' }, false],
  'expires_in negative': [granting({ refresh_token: 'rotated', expires_in: -1 }), refreshing.misbehaved(/expires_in/), false],
};

const codes = { // what: [the token endpoint at a code, error]
  'a Bearer token': [granting({ token_type: 'Bearer' }), { name: 'token-not-dpop', stage: 'token request' }],
  'truncated JSON': [bytes('{"access_to'), polling.misbehaved(/not a JSON object/)],
  'a 503': [saying(503, ''), polling.unavailable(503)],
  'silence': [silent, { ...polling.unreachable(/in time/), next: /log in again/ }],
  'a reset': [reset, { ...polling.unreachable(/closed before/), next: /log in again/ }],
  'a reset in the middle': [resetInTheMiddle, { ...polling.unreachable(/closed before/), next: /log in again/ }],
};

const withoutPar = { without: ['pushed_authorization_request_endpoint'] };

async function addReal(name, options = {}, profile = {}) {
  as[name] = await startAuthorizationServer({ tls: world.authority.tls, resources: [world.rs.origin], refreshTokens: 'always', ...options });
  closing.push(as[name]);
  await addClient(world, 'app', 'none', { as: as[name] });
  profiles[name] = { client: 'app', grant: 'authorization_code', issuer: as[name].issuer, timeout: 5, ...profile };
}

before(async () => {
  world = await makeWorld({ env: () => ({ ASAN_OPTIONS: 'quarantine_size_mb=4' }) });
  ({ ca } = world.authority);
  elsewhere = await startElsewhere();
  closing.push(elsewhere);
  await addClient(world, 'app', 'none');
  for (const [what, [script]] of Object.entries(pushes)) await addScripted(named('push', what), browser, { '/par': script });
  for (const [what, [script]] of Object.entries(deviceAnswers)) await addScripted(named('device', what), device, { '/device': script });
  for (const [what, [script, , , life]] of Object.entries(polls)) {
    await addScripted(named('poll', what), device, { '/token': script, '/device': saying(200, deviceAnswer({ expires_in: life })) });
  }
  for (const [what, [script]] of Object.entries(revocations)) await addScripted(named('revoke', what), browser, { '/revoke': script }, withoutPar);
  for (const [what, [script]] of Object.entries(introspections)) {
    await addScripted(named('introspect', what), { client: 'basic', resource: null, timeout: TIMEOUT }, { '/introspect': script });
  }
  for (const what of Object.keys(refreshes)) await addScripted(named('refresh', what), browser, {}, withoutPar);
  for (const [what, [script]] of Object.entries(codes)) await addScripted(named('code', what), browser, { '/token': script }, withoutPar);
  for (const [what, [told]] of Object.entries(resources)) {
    const name = named('find', what);
    const server = await addScripted(name, { client: 'jwt', timeout: TIMEOUT });
    Object.assign(profiles[name], { issuer: null, resource: server.origin });
    server.onMetadata = (answer, request) => {
      if (!request.path.includes('oauth-protected-resource')) return answer(200, { issuer: server.issuer, token_endpoint: `${server.issuer}/token` });
      return told(answer, request, { resource: server.origin, authorization_servers: [server.issuer] });
    };
  }
  await addReal('lost', { tokenTtl: LIFE });
  await addReal('unsent', { tokenTtl: LIFE });
  await addReal('twice', { tokenTtl: LIFE });
  await addReal('code-lost');
  await addReal('revoked');
  await addReal('expired', { refreshTtl: 2 });
  await addReal('spend');
  await addReal('spend-code', {}, { 'pushed-authorization-requests': 'no' });
  await addReal('restart');
  await addReal('probed', {}, { timeout: 5 });
  await world.configure({ profiles });
});
after(async () => {
  await world?.stop();
  for (const server of closing) await server.close();
});

// A login at a scripted server, where nobody needs to be asked: how it ended.
async function logInScripted(profile) {
  const begun = await world.agent.loginBegin(profile);
  const waiting = endOf(world.agent.loginWait(begun, { timeout: 30_000 }));
  await comeBack(begun, { code: 'the-code', state: new URL(begun.url).searchParams.get('state') });
  return waiting;
}
const force = (profile) => endOf(world.agent.token({ profile, force: true }));
const named = (...words) => words.join(' ').replaceAll(/[ ,]+/g, '-');

// ---- endpoints ----------------------------------------------------------------------------------------------------

describe('a pushed authorization request that is answered with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected, sends]] of Object.entries(pushes)) {
    test(what, async () => {
      const profile = named('push', what);
      assertRefused(await endOf(world.agent.loginBegin(profile)), expected, { timeout: TIMEOUT });
      assert.equal(servers[profile].sends.length, sends);
    });
  }
});

describe('a device authorization that is answered with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected]] of Object.entries(deviceAnswers)) {
    test(what, async () => {
      const profile = named('device', what);
      assertRefused(await endOf(world.agent.loginBegin(profile)), Object.fromEntries(Object.entries(expected).filter(([, value]) => value !== undefined)), { timeout: TIMEOUT });
      assert.equal(servers[profile].sends.length, 1);
    });
  }
});

describe('a revocation that is answered with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, revoked, note]] of Object.entries(revocations)) {
    test(`${what}: the login is gone here, and the answer says what is not done there`, async () => {
      const profile = named('revoke', what);
      assert.ifError((await logInScripted(profile)).error);
      const { value, error, seconds } = await endOf(world.agent.logout(profile));
      assert.ifError(error);
      assert.ok(seconds < TIMEOUT + 1.5);
      assert.deepEqual([value.logged_in, value.revoked], [true, revoked]);
      if (note) assert.match(value.note, note);
      assert.equal(sentTo(servers[profile], '/revoke').length, 1);
      assertRefused(await force(profile), { name: 'login-required', stage: 'refresh', next: /dpop login/ });
    });
  }
});

describe('an introspection that is answered with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected, active]] of Object.entries(introspections)) {
    test(what, async () => {
      const profile = named('introspect', what);
      const { access_token: token } = await world.agent.token(profile);
      const ended = await endOf(world.agent.introspect(profile));
      if (expected) assertRefused(ended, expected, { timeout: TIMEOUT });
      else assert.equal(ended.value?.active, active, ended.error?.message);
      assert.equal(sentTo(servers[profile], '/introspect').length, 1);
      assert.equal((await world.agent.token(profile)).access_token, token, 'the token is served on');
    });
  }
});

describe('resource metadata with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected]] of Object.entries(resources)) {
    test(what, async () => {
      const profile = named('find', what);
      const ended = await endOf(world.agent.token(profile));
      const { requests, sends } = servers[profile];
      if (expected) {
        assertRefused(ended, expected, { timeout: TIMEOUT });
        assert.equal(sends.length, 0);
        assert.equal(requests.length, 1);
      } else {
        assert.ifError(ended.error);
        assert.equal(sends.length, 1);
      }
    });
  }
});

test('no other host has seen anything of it', () => assert.equal(elsewhere.connections(), 0));

// ---- codes and refresh tokens -------------------------------------------------------------------------------------

describe('a code whose answer is', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected]] of Object.entries(codes)) {
    test(`${what} is sent once`, async () => {
      const profile = named('code', what);
      assertRefused(await logInScripted(profile), expected, { timeout: TIMEOUT });
      await sleep(1500);
      assert.equal(sentTo(servers[profile], '/token').filter(({ form }) => form.get('code') === 'the-code').length, 1);
      assertRefused(await force(profile), { name: 'login-required' });
    });
  }
});

describe('a refresh that is answered with', { concurrency: AT_ONCE }, () => {
  for (const [what, [script, expected, inDoubt]] of Object.entries(refreshes)) {
    test(`${what} ${inDoubt ? 'leaves the refresh token in doubt' : 'leaves a refresh token that is good'}, and the access token is served on`, async () => {
      const profile = named('refresh', what);
      const server = servers[profile];
      assert.ifError((await logInScripted(profile)).error);
      const { access_token: token } = await world.agent.token(profile);
      server.at['/token'] = script;
      assertRefused(await force(profile), expected, { timeout: TIMEOUT });
      delete server.at['/token'];
      assert.equal((await world.agent.token(profile)).access_token, token);
      const again = await force(profile);
      const sent = sentTo(server, '/token').map(({ form }) => form.get('refresh_token')).filter(Boolean);
      if (inDoubt) {
        assertRefused(again, { name: 'server-unavailable', stage: 'refresh', message: /without an answer/, next: /once more/ });
        assert.deepEqual(sent, ['refresh-1']);
        assert.ok(again.error.retry_after > 590, 'when the access token has ended');
      } else {
        assert.ifError(again.error);
        assert.deepEqual(sent, ['refresh-1', script.length === 1 && /Bearer|key|expires/.test(what) ? 'rotated' : 'refresh-1']);
      }
    });
  }
});

// Refresh tokens that arrived at a real server: [hash]. A probe for a nonce presents a text that the server never issued.
function presented(server, from = 0) {
  const issued = new Set(server.events.filter(({ event }) => event === 'refresh_issued').map(({ tokenHash }) => tokenHash));
  return server.requests.slice(from).filter(({ grantType, presented: hash }) => grantType === 'refresh_token' && issued.has(hash)).map(({ presented: hash }) => hash);
}
const isRefresh = ({ path, grantType }) => path === '/token' && grantType === 'refresh_token';
const refusals = (server) => server.events.filter(({ event }) => event === 'refused');

async function assertLoginRequired(profile, server) {
  const from = server.requests.length;
  for (let i = 0; i < 2; i++) assertRefused(await force(profile), { name: 'login-required', stage: 'refresh', next: /dpop login/ });
  assert.equal(server.requests.length, from, 'and the server is not asked any more');
}

// Together, since they wait most of the time.
describe('in its own time', { concurrency: true }, () => {
  describe('a device poll that is answered with', { concurrency: true }, () => {
    for (const [what, [, expected, most, life]] of Object.entries(polls)) {
      test(what, async () => {
        const profile = named('poll', what);
        const begun = await world.agent.loginBegin(profile);
        const ended = await endOf(world.agent.loginWait(begun, { timeout: 30_000 }));
        assertRefused(ended, expected, { timeout: life + 1 });
        const sent = sentTo(servers[profile], '/token');
        assert.ok(sent.length >= 1 && sent.length <= most, `${sent.length} polls`);
        assert.equal(new Set(sent.map(({ proof }) => proof.jti)).size, sent.length);
      });
    }
  });

  describe('at a real server', { concurrency: true }, () => {
    test('a rotated refresh token whose answer is lost is sent once more when the access token has ended, and then a user is needed', async () => {
      const server = as.lost;
      await logIn(world, 'lost');
      const ends = Date.now() + LIFE * 1000;
      const { access_token: token } = await world.agent.token('lost');
      server.loseAnswers(isRefresh);
      assertRefused(await force('lost'), { name: 'server-unreachable', stage: 'refresh' });
      server.loseAnswers(null);
      const [first, ...more] = presented(server);
      assert.equal(more.length, 0);
      assert.ok(server.events.some(({ event, tokenHash }) => event === 'refresh_consumed' && tokenHash === first), 'the server did its work');
      while (Date.now() < ends - 2500) {
        assert.equal((await world.agent.token('lost')).access_token, token, 'the good access token is served');
        await sleep(500);
      }
      assertRefused(await force('lost'), { name: 'server-unavailable', stage: 'refresh', message: /without an answer/, next: /once more/ });
      assert.deepEqual(presented(server), [first], 'nothing is sent while it works');
      await sleep(ends + 700 - Date.now());
      assertRefused(await endOf(world.agent.token('lost')), { name: 'login-required', stage: 'refresh', oauth_error: 'invalid_grant' });
      assert.deepEqual(presented(server), [first, first]);
      const [refused] = refusals(server).slice(-1);
      assert.deepEqual([refused.tokenHash, refused.description], [first, 'refresh token already used'], 'as the server\'s own events say');
      await assertLoginRequired('lost', server);
      assert.equal((await logIn(world, 'lost')).result.subject, 'alice');
    });

    test('a refresh token that never arrived is good when it is sent once more', async () => {
      const server = as.unsent;
      await logIn(world, 'unsent');
      const ends = Date.now() + LIFE * 1000;
      server.intercept(async (req, _res, { path }) => path === '/token' && (reset(null, { req }), true));
      assertRefused(await force('unsent'), { name: 'server-unreachable', stage: 'refresh' });
      server.intercept(null);
      await sleep(ends + 700 - Date.now());
      const { value, error } = await endOf(world.agent.token('unsent'));
      assert.ifError(error);
      assert.ok(value.expires_in > LIFE - 3);
      assert.equal(presented(server).length, 1);
      assert.equal(refusals(server).filter(({ error: code }) => code !== 'use_dpop_nonce' && code !== 'invalid_grant').length, 0);
    });

    test('a refresh token whose answers are lost twice is never sent a third time', async () => {
      const server = as.twice;
      await logIn(world, 'twice');
      const ends = Date.now() + LIFE * 1000;
      let cut = 0;
      server.intercept(async (req, _res, { path }) => path === '/token' && (cut++, reset(null, { req }), true));
      assertRefused(await force('twice'), { name: 'server-unreachable', stage: 'refresh' });
      await sleep(ends + 700 - Date.now());
      assertRefused(await endOf(world.agent.token('twice')), { name: 'login-required', stage: 'refresh', message: /once more in vain/ });
      server.intercept(null);
      assert.equal(cut, 2);
      await assertLoginRequired('twice', server);
    });

    test('a code whose answer is lost is never sent again, and the next login works', async () => {
      const server = as['code-lost'];
      server.loseAnswers(({ grantType }) => grantType === 'authorization_code');
      const ended = await logIn(world, 'code-lost').then(() => null, (error) => error);
      server.loseAnswers(null);
      assert.deepEqual([ended.name, ended.stage], ['server-unreachable', 'token request']);
      assert.match(ended.next, /log in again/);
      await sleep(1500);
      assertRefused(await endOf(world.agent.token('code-lost')), { name: 'login-required' });
      const sent = server.requests.filter(({ grantType }) => grantType === 'authorization_code');
      assert.equal(sent.filter(({ lost }) => lost === 200).length, 1);
      assert.equal(sent.length, 1);
      assert.equal((await logIn(world, 'code-lost')).result.subject, 'alice');
    });

    test('a refresh token that was revoked ends the login after one send', async () => {
      const server = as.revoked;
      let refreshToken;
      server.amend(async (ctx) => void (refreshToken = ctx.body?.refresh_token ?? refreshToken));
      await logIn(world, 'revoked');
      server.amend(null);
      const { status } = await fetchTrusting(ca)(`${server.issuer}/token/revocation`, {
        method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ client_id: 'app', token: refreshToken }),
      });
      assert.equal(status, 200);
      const from = server.requests.length;
      assertRefused(await force('revoked'), { name: 'login-required', stage: 'refresh', oauth_error: 'invalid_grant', http_status: 400 });
      assert.equal(presented(server, from).length, 1);
      assert.equal(refusals(server).at(-1).tokenHash, hashOf(refreshToken));
      await assertLoginRequired('revoked', server);
    });

    test('a refresh token that has expired ends the login after one send', async () => {
      const server = as.expired;
      await logIn(world, 'expired');
      const { access_token: token } = await world.agent.token('expired');
      await sleep(3000);
      assert.equal((await world.agent.token('expired')).access_token, token);
      const from = server.requests.length;
      assertRefused(await force('expired'), { name: 'login-required', stage: 'refresh', oauth_error: 'invalid_grant' });
      assert.ok(server.requests.length - from <= 2);
      await assertLoginRequired('expired', server);
    });

    test('that spends refresh tokens on the nonce challenge gets none with an old nonce: a fresh one is had first', async () => {
      const server = as.spend;
      await logIn(world, 'spend');
      await sleep((NONCE_FRESH + 1) * 1000);
      server.rotateNonces();
      server.spendOnChallenge();
      const from = server.requests.length;
      const { error } = await force('spend');
      assert.ifError(error);
      const sent = server.requests.slice(from);
      assert.deepEqual(sent.map(({ status }) => status), [400, 200]);
      assert.equal(presented(server, from).length, 1);
      assert.equal(new Set(sent.map(({ jti }) => jti)).size, 2);
      assert.ifError((await force('spend')).error);
    });

    test('that spends codes on the nonce challenge gets none with an old nonce', async () => {
      const server = as['spend-code'];
      await logIn(world, 'spend-code');
      await sleep((NONCE_FRESH + 1) * 1000);
      server.rotateNonces();
      server.spendOnChallenge();
      const from = server.requests.length;
      assert.equal((await logIn(world, 'spend-code', { login: 'bob' })).result.subject, 'bob');
      const sent = server.requests.slice(from).filter(({ path }) => path === '/token');
      assert.deepEqual(sent.map(({ grantType, status }) => [grantType, status]), [['refresh_token', 400], ['authorization_code', 200]]);
    });
  });
});

test('at a server that asks for a nonce after it took the probe\'s, a refresh is at most two sends for it', async () => {
  const server = as.probed;
  await logIn(world, 'probed');
  await world.reload(); // the agent has no nonce of it, and knows that it wants one
  let n = 0;
  server.intercept(async (_req, res, { path }) => {
    if (path !== '/token') return false;
    const error = ++n === 1 ? 'invalid_grant' : 'use_dpop_nonce';
    res.writeHead(400, { 'Content-Type': 'application/json', 'DPoP-Nonce': `nonce-${n}` }).end(JSON.stringify({ error }));
    return true;
  });
  const ended = await force('probed');
  server.intercept(null);
  assertRefused(ended, { name: 'server-misbehaved', stage: 'refresh' });
  assert.equal(n, 2, 'the probe and the refresh token');
  assert.ifError((await force('probed')).error);
});

test('after a restart of the agent, too, no refresh token is spent on a nonce challenge', async () => {
  const server = as.restart;
  await logIn(world, 'restart');
  world.agent.close();
  await world.process.stop();
  await world.start();
  await world.ready();
  server.rotateNonces();
  server.spendOnChallenge();
  const from = server.requests.length;
  assert.ifError((await force('restart')).error);
  assert.deepEqual(server.requests.slice(from).filter(({ path }) => path === '/token').map(({ status }) => status), [400, 200]);
  assert.equal(presented(server, from).length, 1);
});
