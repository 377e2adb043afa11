// The hostile list: what a token endpoint, its metadata and its TLS can do to a client. Each case ends with an error of its
// own type, in time and with a bounded number of sends, or succeeds. Redirects of a login: login.test.mjs; the other
// endpoints, codes and refresh tokens: hostile-login.test.mjs; clocks: clock.test.mjs.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeBadCertificates } from '../servers/authority.mjs';
import { listen } from '../servers/transport.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';
import { bearerOf, startScriptedServer, unsignedJwt } from './scripted-server.mjs';
import { assertRefused, bytes, challenge, endOf, granting, huge, late, reset, resetInTheMiddle, saying, silent, startElsewhere } from './hostile-server.mjs';

const TIMEOUT = 3; // seconds of a profile, where a case has no other
const AT_ONCE = 6; // cases; more would have to wait for this machine, and not for the servers
const misbehaved = (message, more) => ({ name: 'server-misbehaved', stage: 'token request', retryable: false, message, ...more });
const unreachable = (message, more) => ({ name: 'server-unreachable', stage: 'token request', retryable: true, message, ...more });
const unavailable = (http_status, more) => ({ name: 'server-unavailable', stage: 'token request', retryable: true, http_status, ...more });
const json = (members) => JSON.stringify(bearerOf(members));

let elsewhere;
const flood = huge();
const now = () => Math.floor(Date.now() / 1000);

// what: [what the server does, how it ends (an error, or null: with a token), sends, options]. A function is called with the
// world when the test begins. Options: profile (its own), lifetime (seconds
// of the token), waits (the Retry-After), slow.
const cases = {
  'a nonce for ever, a new one each time': [(answer, _request, n) => challenge(`n${n}`)(answer), misbehaved(/again and again/, { oauth_error: 'use_dpop_nonce', http_status: 400 }), 2],
  'the same nonce again': [challenge('always-this'), misbehaved(/refuses the DPoP nonce that it issued/), 2],
  'two nonce headers': [challenge(['n1', 'n2']), misbehaved(/sends none that may be used/), 1],
  'a nonce of 8 KiB': [challenge('n'.repeat(8192)), misbehaved(/sends none that may be used/), 1],
  'a nonce with a quote': [challenge('a"b'), misbehaved(/sends none that may be used/), 1],
  'a nonce with a blank': [challenge('a b'), misbehaved(/sends none that may be used/), 1],
  'a nonce with a backslash': [challenge('a\\b'), misbehaved(/sends none that may be used/), 1],
  'a nonce that is no ASCII': [challenge('n\u00e9'), misbehaved(/sends none that may be used/), 1],
  'an empty nonce': [challenge(''), misbehaved(/sends none that may be used/), 1],
  'a challenge without a nonce': [challenge(undefined), misbehaved(/sends none that may be used/), 1],
  'a nonce on 200': [granting({}, { 'DPoP-Nonce': 'n200' }), null, 1],
  'two nonces on 200': [granting({}, { 'DPoP-Nonce': ['n1', 'n2'] }), null, 1],
  'an 8 KiB nonce on 200': [granting({}, { 'DPoP-Nonce': 'n'.repeat(8192) }), null, 1],

  'a Bearer token': [granting({ token_type: 'Bearer' }), { name: 'token-not-dpop', stage: 'token request', message: /"Bearer"/, next: /DPoP/ }, 1],
  'a token of the type dPoP': [granting({ token_type: 'dPoP' }), null, 1],
  'a token without a type': [granting({ token_type: undefined }), misbehaved(/token_type/), 1],
  'a token bound to another key': [granting({ access_token: unsignedJwt({ cnf: { jkt: 'A'.repeat(43) } }) }), { name: 'token-other-key', stage: 'token request', message: /cnf\.jkt/ }, 1],
  'a token whose cnf.jkt is no text': [granting({ access_token: unsignedJwt({ cnf: { jkt: 7 } }) }), { name: 'token-other-key', stage: 'token request' }, 1],

  'a 302 to another host': [(answer) => answer(302, '', { Location: elsewhere.url }), misbehaved(/redirect/, { http_status: 302 }), 1],
  'a 307 to another host': [(answer) => answer(307, '', { Location: elsewhere.url }), misbehaved(/redirect/, { http_status: 307 }), 1],
  'a 302 to itself': [(answer, { req }) => answer(302, '', { Location: `https://${req.headers.host}/token2` }), misbehaved(/redirect/, { http_status: 302 }), 1],

  '429 without Retry-After': [saying(429, {}), unavailable(429, { retry_after: 0 }), 1],
  '429 with Retry-After': [saying(429, {}, { 'Retry-After': '60' }), unavailable(429, { retry_after: 60 }), 1, { waits: 60 }],
  '503 without Retry-After': [saying(503, 'closed'), unavailable(503, { retry_after: 0 }), 1],
  '503 with Retry-After': [saying(503, 'closed', { 'Retry-After': '90' }), unavailable(503, { retry_after: 90 }), 1, { waits: 90 }],
  '503 with a Retry-After that is a date': [saying(503, 'closed', { 'Retry-After': new Date(Date.now() + 3_600_000).toUTCString() }), unavailable(503, { retry_after: (seconds) => seconds > 3400 && seconds <= 3600 }), 1],
  '503 with a Retry-After that is no time': [saying(503, 'closed', { 'Retry-After': 'soon' }), unavailable(503, { retry_after: 0 }), 1],
  '500 that says use_dpop_nonce': [saying(500, { error: 'use_dpop_nonce' }, { 'DPoP-Nonce': 'n1' }), unavailable(500), 1],
  '403 that says use_dpop_nonce': [saying(403, { error: 'use_dpop_nonce' }, { 'DPoP-Nonce': 'n1' }), { name: 'server-refused', stage: 'token request', oauth_error: 'use_dpop_nonce' }, 1],
  '204 without a token': [saying(204, ''), misbehaved(/204/), 1],
  '200 that is an error': [saying(200, { error: 'invalid_grant' }), misbehaved(/access_token/), 1],
  'an error that is no text': [saying(400, { error: { code: 7 } }), misbehaved(/400/), 1],
  'an error of 100 KiB': [saying(400, { error: 'e'.repeat(100_000), error_description: 'd'.repeat(100_000) }), { name: 'server-refused', stage: 'token request' }, 1],
  'an error with control characters': [saying(400, { error: 'bad\u001b[31m', error_description: 'a\nb\u0007' }), { name: 'server-refused', stage: 'token request', message: /^[^\n\u001b\u0007]*$/ }, 1],

  'an answer after 10 s, within the time-out': [late(10), null, 1, { profile: { timeout: 15 }, slow: true }],
  'an answer after 10 s, beyond the time-out': [late(10), unreachable(/in time/, { next: /timeout/ }), 1, { slow: true }],
  'no answer': [silent, unreachable(/in time/, { next: /timeout/ }), 1, { slow: true }],
  'a reset before the answer': [reset, unreachable(/closed before/), 1],
  'a reset in the middle': [resetInTheMiddle, unreachable(/closed before/), 1],

  'truncated JSON': [bytes('{"access_token":"a","token_type":"DP'), misbehaved(/not a JSON object/), 1],
  'no bytes': [bytes(''), misbehaved(/not a JSON object/), 1],
  '100 MB of JSON': [flood, misbehaved(/larger than 1 MiB/), 1],
  'duplicate members': [bytes('{"access_token":"a","token_type":"DPoP","access_token":"b"}'), misbehaved(/not a JSON object/), 1],
  'deep nesting': [bytes(`{"access_token":"a","token_type":"DPoP","x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), misbehaved(/not a JSON object/), 1],
  'deep nesting of objects': [bytes(`${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}`), misbehaved(/not a JSON object/), 1],
  'invalid UTF-8': [bytes(Buffer.from(json({ access_token: 'a\u00ffb' }), 'latin1')), misbehaved(/not a JSON object/), 1],
  'an escaped NUL': [bytes(json().replace('opaque', 'opa\\u0000que')), misbehaved(/not a JSON object/), 1],
  'a NUL byte': [bytes(json().replace('opaque', 'opa\u0000que')), misbehaved(/not a JSON object/), 1],
  'a NUL behind the object': [bytes(`${json()}\u0000`), misbehaved(/not a JSON object/), 1],
  'a byte order mark': [bytes(`\ufeff${json()}`), misbehaved(/not a JSON object/), 1],
  'a lone surrogate': [bytes(json().replace('opaque', '\\ud800')), misbehaved(/not a JSON object/), 1],
  'an array': [bytes('[]'), misbehaved(/not a JSON object/), 1],
  'an access_token that is a number': [granting({ access_token: 12 }), misbehaved(/access_token/), 1],
  'an access_token that is an object': [granting({ access_token: { a: 1 } }), misbehaved(/access_token/), 1],
  'an access_token with a line end': [granting({ access_token: 'a\r\nX-Header: b' }), misbehaved(/access_token/), 1],
  'a token_type that is a list': [granting({ token_type: ['DPoP'] }), misbehaved(/token_type/), 1],
  'a refresh_token that is a number': [granting({ refresh_token: 7 }), null, 1],
  'a scope of 10 KiB': [granting({ scope: 's '.repeat(5120) }), misbehaved(/scope/), 1],

  'expires_in negative': [granting({ expires_in: -600 }), misbehaved(/expires_in/), 1],
  'expires_in huge': [granting({ expires_in: 2 ** 52 }), null, 1, { lifetime: 86_400 }],
  'expires_in beyond 64 bits': [bytes('{"access_token":"a","token_type":"DPoP","expires_in":99999999999999999999}'), misbehaved(/a number is too large/), 1],
  'expires_in missing': [granting({ expires_in: undefined }), null, 1, { lifetime: 300 }],
  'expires_in null': [granting({ expires_in: null }), null, 1, { lifetime: 300 }],
  'expires_in missing, with a JWT that has times': [(answer) => answer(200, bearerOf({ expires_in: undefined, access_token: unsignedJwt({ iat: now(), exp: now() + 90 }) })), null, 1, { lifetime: 90 }],
  'expires_in a string of digits': [granting({ expires_in: '600' }), null, 1, { lifetime: 600 }],
  'expires_in a string': [granting({ expires_in: 'ten minutes' }), misbehaved(/expires_in/), 1],
  'expires_in a fraction': [granting({ expires_in: 1.5 }), misbehaved(/expires_in/), 1],
  'expires_in 0': [granting({ expires_in: 0 }), misbehaved(/expired already/), 1],

  '80 header lines of 1 KB': [(answer) => answer(200, bearerOf(), Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`X-${i}`, 'y'.repeat(1000)]))), misbehaved(/header/), 1],
  'no HTTP': [(_answer, { req }) => req.socket.end('hello\r\n\r\n'), { stage: 'token request' }, 1],
  'a Content-Length that is too small': [(_answer, { res }) => {
    res.strictContentLength = false;
    res.socket.end(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n${json()}`);
  }, misbehaved(/not a JSON object/), 1],
};

// Metadata: [what lies over the truth, how it ends].
const endpoints = ['token_endpoint', 'authorization_endpoint', 'pushed_authorization_request_endpoint', 'device_authorization_endpoint', 'revocation_endpoint',
  'introspection_endpoint', 'registration_endpoint'];
const discovery = (name, message, more) => ({ name, stage: 'discovery', message, ...more });
const documents = {
  ...Object.fromEntries(endpoints.map((name) => [`a plain http ${name}`, [{ [name]: 'http://localhost/x' }, discovery('insecure-url', new RegExp(`plain http ${name}`))]])),
  ...Object.fromEntries(endpoints.map((name) => [`a plain http ${name} for mutual TLS`, [{ mtls_endpoint_aliases: { [name]: 'http://localhost/x' } },
    discovery('insecure-url', new RegExp(`plain http .*${name}`))]])),
  'another issuer': [{ issuer: 'https://other.example' }, discovery('server-misbehaved', /another issuer, "https:\/\/other\.example"/)],
  'no issuer': [{ issuer: null }, discovery('server-misbehaved', /another issuer/)],
  'an issuer that is a list': [{ issuer: ['https://other.example'] }, discovery('server-misbehaved', /another issuer/)],
  'no token_endpoint': [{ token_endpoint: null }, discovery('server-misbehaved', /token_endpoint/)],
  'a token_endpoint that is a number': [{ token_endpoint: 7 }, discovery('server-misbehaved', /token_endpoint/)],
  'a token_endpoint that is a file': [{ token_endpoint: 'file:///etc/passwd' }, discovery('server-misbehaved', /token_endpoint/)],
  'a token_endpoint of 10 KiB': [{ token_endpoint: `https://localhost/${'x'.repeat(10_240)}` }, discovery('server-misbehaved', /token_endpoint/)],
  'only RS256': [{ dpop_signing_alg_values_supported: ['RS256'] }, discovery('server-misbehaved', /ES256/)],
  'no algorithm at all': [{ dpop_signing_alg_values_supported: [] }, discovery('server-misbehaved', /ES256/)],
  'algorithms that are numbers': [{ dpop_signing_alg_values_supported: [1, 2] }, discovery('server-misbehaved', /dpop_signing_alg_values_supported/)],
};
const scripts = {
  'metadata: a 302 to another host': [(answer) => answer(302, '', { Location: elsewhere.url }), discovery('server-misbehaved', /302/)],
  'metadata: 503': [saying(503, ''), discovery('server-unavailable', /503/)],
  'metadata: no answer': [silent, discovery('server-unreachable', /in time/)],
  'metadata: a reset in the middle': [resetInTheMiddle, discovery('server-unreachable', /closed before/)],
  'metadata: 100 MB': [huge(), discovery('server-misbehaved', /larger than 1 MiB/)],
  'metadata: truncated JSON': [bytes('{"issuer":'), discovery('server-misbehaved', /not a JSON object/)],
  'metadata: deep nesting': [bytes('['.repeat(100_000)), discovery('server-misbehaved', /not a JSON object/)],
  'metadata: duplicate members': [bytes('{"issuer":"a","issuer":"b"}'), discovery('server-misbehaved', /not a JSON object/)],
  'metadata: a page': [saying(200, '<!doctype html>'), discovery('server-misbehaved', /not a JSON object/)],
};

let world;
let bad; // listeners with bad certificates
const servers = {}; // by profile
const profileOf = new Map(); // what → its profile
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ env: () => ({ ASAN_OPTIONS: 'quarantine_size_mb=4' }) }); // what is freed does not count as memory in use
  elsewhere = await startElsewhere();
  const profiles = { basic: {}, jwt: {} };
  const add = async (what, options, set) => {
    const name = `c${profileOf.size}`;
    servers[name] = await startScriptedServer({ tls: world.authority.tls });
    profileOf.set(what, name);
    profiles[name] = { issuer: servers[name].issuer, resource: null, timeout: TIMEOUT, ...options };
    set(servers[name]);
  };
  for (const [what, [script, , , { profile } = {}]] of Object.entries(cases)) await add(what, profile, (server) => (server.token = script));
  for (const [what, [members]] of Object.entries(documents)) await add(what, {}, (server) => (server.metadata = members));
  for (const [what, [script]] of Object.entries(scripts)) await add(what, {}, (server) => (server.onMetadata = script));
  bad = {};
  for (const [name, { tls }] of Object.entries(await makeBadCertificates(world.authority))) {
    bad[name] = await listen({ tls }, (_req, res) => void (bad[name].requests = (bad[name].requests ?? 0) + 1, res.end('{}')));
    profiles[name] = { issuer: bad[name].origin, resource: null };
    profiles[`${name}-token`] = { issuer: null, 'token-endpoint': `${bad[name].origin}/token`, resource: null };
  }
  await world.configure({ profiles });
});
after(async () => {
  await world?.stop();
  await elsewhere?.close();
  for (const server of [...Object.values(servers), ...Object.values(bad ?? {})]) await server.close();
});

// One forced request of one caller at the case's server.
async function ask(what, values = {}) {
  const profile = profileOf.get(what);
  const from = servers[profile].sends.length;
  const ended = await endOf(world.agent.token({ profile, force: true, ...values }));
  return { ...ended, server: servers[profile], sends: servers[profile].sends.slice(from) };
}

for (const slowly of [false, true]) {
  describe(`a token endpoint that answers ${slowly ? 'slowly ' : ''}with`, { concurrency: slowly || AT_ONCE }, () => {
    for (const [what, [, expected, sends, { lifetime = 600, slow = false, profile: { timeout = TIMEOUT } = {} } = {}]] of Object.entries(cases)) {
      if (slow !== slowly) continue;
      test(what, async () => {
        const ended = await ask(what);
        if (expected) {
          assertRefused(ended, expected, { timeout });
        } else {
          assert.ifError(ended.error);
          assert.ok(Math.abs(ended.value.expires_in - lifetime) <= (slow ? 13 : 2), `expires_in ${ended.value.expires_in}`);
          assert.equal(ended.value.token_type, 'DPoP');
        }
        assert.equal(ended.sends.length, sends, 'sends');
        const jtis = ended.sends.map(({ proof }) => proof.jti);
        assert.equal(new Set(jtis).size, sends, 'each with a proof of its own');
      });
    }
  });
}

test('no other host has seen anything, and most of the flood was not read', () => {
  assert.equal(elsewhere.connections(), 0);
  assert.ok(flood.written() < 8 * 1024 * 1024, `${flood.written()} bytes of it`);
});

describe('the nonce', () => {
  test('that came with a 200 is in the next proof, and of two headers or one too long none is', async () => {
    for (const [what, nonce] of [['a nonce on 200', 'n200'], ['two nonces on 200', undefined], ['an 8 KiB nonce on 200', undefined]]) {
      const { error, sends } = await ask(what);
      assert.ifError(error);
      assert.deepEqual(sends.map(({ proof }) => proof.nonce), [nonce], what);
    }
  });

  test('that is refused although it is the newest is not sent a second time: one send', async () => {
    const ended = await ask('the same nonce again');
    assertRefused(ended, { name: 'server-misbehaved', message: /refuses the DPoP nonce that it issued/ });
    assert.equal(ended.sends.length, 1);
  });

  for (const profile of ['basic', 'jwt']) {
    test(`that has expired costs one more send (${profile}), with another proof and assertion`, async () => {
      await world.agent.token({ profile, force: true });
      await world.as.rotateNonces();
      const from = world.as.tokenRequests().length;
      await world.agent.token({ profile, force: true });
      const sent = world.as.tokenRequests().slice(from);
      assert.deepEqual(sent.map(({ status }) => status), [400, 200]);
      assert.notEqual(sent[0].jti, sent[1].jti);
      if (profile === 'jwt') assert.notEqual(sent[0].clientAssertionJti, sent[1].clientAssertionJti);
    });
  }
});

describe('a server that is unavailable', { concurrency: true }, () => {
  for (const what of ['429 with Retry-After', '503 with Retry-After']) {
    test(`is not asked again before that (${what})`, async () => {
      const ended = await ask(what);
      const seconds = cases[what][3].waits;
      assertRefused(ended, { name: 'server-unavailable', stage: 'token request' }, { timeout: 0 });
      assert.ok(ended.error.retry_after > 0 && ended.error.retry_after <= Math.ceil(seconds * 1.1) + 1, `${ended.error.retry_after} s`);
      assert.equal(ended.sends.length, 0);
    });
  }

  for (const what of ['429 without Retry-After', '503 without Retry-After', 'a reset in the middle']) {
    test(`may be asked once more at once, and then later (${what})`, async () => {
      const second = await ask(what);
      assertRefused(second, cases[what][1]);
      assert.equal(second.sends.length, 1);
      const third = await ask(what);
      assertRefused(third, { name: 'server-unavailable', stage: 'token request', retry_after: 1 }, { timeout: 0 });
      assert.equal(third.sends.length, 0);
      await sleep(1100);
      const fourth = await ask(what);
      assertRefused(fourth, cases[what][1]);
      assert.equal(fourth.sends.length, 1);
    });
  }
});

describe('metadata with', { concurrency: AT_ONCE }, () => {
  for (const [what, [, expected]] of Object.entries(documents)) {
    test(what, async () => {
      const ended = await ask(what);
      assertRefused(ended, expected, { timeout: TIMEOUT });
      assert.equal(ended.sends.length, 0, 'nothing is sent');
      const { requests } = ended.server;
      assert.ok(requests.length <= 2 && requests.every(({ headers }) => !headers.dpop && !headers.authorization), 'at most both forms of the document are asked for');
    });
  }
  for (const [what, [, expected]] of Object.entries(scripts)) {
    test(what, async () => {
      const ended = await ask(what);
      assertRefused(ended, expected, { timeout: TIMEOUT });
      assert.equal(ended.sends.length, 0);
      assert.ok(ended.server.requests.length <= 2);
    });
  }
  test('a 302: the other host has seen nothing', () => assert.equal(elsewhere.connections(), 0));
});

describe('a certificate', () => {
  const expected = { expired: [/expired/, /renewed/], wrongHost: [/not for host localhost/, /name that the certificate is for/], unknownCa: [/issuer certificate/, /ca-file/] };
  for (const [name, [message, next]] of Object.entries(expected)) {
    test(`${name} is refused when metadata are fetched and at the token endpoint: no request is sent`, async () => {
      assertRefused(await endOf(world.agent.token(name)), { name: 'server-unreachable', stage: 'discovery', message, next });
      assertRefused(await endOf(world.agent.token(`${name}-token`)), { name: 'server-unreachable', stage: 'token request', message, next });
      assert.equal(bad[name].requests, undefined);
    });
  }
});

test('after all of it the processes are those that were started, and a good server gives a token', async () => {
  assert.ok((await world.agent.token({ profile: 'basic', force: true })).access_token);
  const { processes } = await world.agent.status();
  for (const { name, starts, pid } of processes) {
    assert.equal(starts, 1, `${name} was started ${starts} times`);
    const [, kib] = /VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8'));
    assert.ok(Number(kib) < 200_000, `${name} had ${kib} KiB`);
  }
});
