// Authorization servers that do not do what they should: nonces without end, tokens that are not what was asked for,
// redirects, floods and silence. Each has its typed error, in time, and at most two sends.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { listen } from '../servers/transport.mjs';
import { makeWorld, showLogOnFailure } from './world.mjs';
import { bearerOf, startScriptedServer, startScriptedServers, unsignedJwt } from './scripted-server.mjs';

let world, servers, close;
showLogOnFailure(() => world);

// Failures of a server are counted, and the second in a row makes the agent wait: each kind has a server of its own.
const failing = ['limited', 'slow', 'broken'];
const nonceServers = ['for-ever', 'same-again', 'two', 'illegal', 'long', 'absent', 'www', 'on-200', 'on-error', 'realm', 'two-sends'];

before(async () => {
  world = await makeWorld({ profiles: {} });
  const scripted = await startScriptedServers(world.authority.tls, [...nonceServers, ...failing, 'any'], { timeout: 2 });
  ({ servers, close } = scripted);
  await world.configure({ profiles: scripted.profiles });
});
after(async () => {
  await close?.();
  await world?.stop();
});

// What one forced token request ends with at a server that answers like this.
async function ask(profile, token, values = {}) {
  servers[profile].token = token;
  servers[profile].sends.length = 0;
  return world.agent.token({ profile, force: true, ...values });
}
const rejects = (profile, token, expected, values) => assert.rejects(ask(profile, token, values), expected);
const challenge = (nonce, status = 400) => (answer) => answer(status, { error: 'use_dpop_nonce' }, nonce === undefined ? {} : { 'DPoP-Nonce': nonce });
const sends = (profile) => servers[profile].sends.length;
const granting = (members) => (answer) => answer(200, bearerOf(members));

describe('a nonce challenge', () => {
  test('that comes again with a new nonce each time ends after two sends', async () => {
    await rejects('for-ever', (answer, _request, n) => challenge(`n${n}`)(answer), { name: 'server-misbehaved', message: /again and again/, oauth_error: 'use_dpop_nonce' });
    assert.equal(sends('for-ever'), 2);
    const proofs = servers['for-ever'].sends.map(({ proof }) => proof);
    assert.notEqual(proofs[0].jti, proofs[1].jti);
    assert.deepEqual(proofs.map(({ nonce }) => nonce), [undefined, 'n1']);
  });

  test('with the nonce that was just sent is not tried again', async () => {
    await rejects('same-again', challenge('always-this'), { name: 'server-misbehaved', message: /refuses the DPoP nonce that it issued/ });
    assert.equal(sends('same-again'), 2);
    await rejects('same-again', challenge('always-this'), { name: 'server-misbehaved' });
    assert.equal(sends('same-again'), 1, 'a nonce that is known and refused needs no second send');
  });

  for (const [profile, nonce, what] of [
    ['two', ['n1', 'n2'], 'with two DPoP-Nonce headers'], ['illegal', 'a "quoted" nonce', 'with a nonce of illegal characters'],
    ['long', 'n'.repeat(5000), 'with a nonce of over 4 KiB'], ['absent', undefined, 'without a nonce'],
  ]) {
    test(`${what} is an error after one send`, async () => {
      await rejects(profile, challenge(nonce), { name: 'server-misbehaved', message: /sends none that may be used/ });
      assert.equal(sends(profile), 1);
    });
  }

  test('in the form of a resource server (401, WWW-Authenticate) is understood too', async () => {
    await ask('www', (answer, _request, n) => (n === 1 ? answer(401, '', { 'DPoP-Nonce': 'w1', 'WWW-Authenticate': 'DPoP algs="ES256", error="use_dpop_nonce"' }) : answer(200, bearerOf())));
    assert.deepEqual(servers.www.sends.map(({ proof }) => proof.nonce), [undefined, 'w1']);
  });

  test('is not read out of a realm', async () => {
    await rejects('realm', (answer) => answer(401, { error: 'invalid_client' }, { 'DPoP-Nonce': 'r1', 'WWW-Authenticate': 'Basic realm="use_dpop_nonce"' }), { name: 'server-refused' });
    assert.equal(sends('realm'), 1);
  });

  test('is never needed for a nonce that came with a 200 or with another error', async () => {
    await ask('on-200', (answer, _request, n) => answer(200, bearerOf(), { 'DPoP-Nonce': `next-${n}` }));
    await world.agent.token({ profile: 'on-200', force: true });
    assert.deepEqual(servers['on-200'].sends.map(({ proof }) => proof.nonce), [undefined, 'next-1']);
    await rejects('on-error', (answer) => answer(400, { error: 'invalid_scope' }, { 'DPoP-Nonce': 'e1' }), { name: 'server-refused' });
    await ask('on-error', granting());
    assert.equal(servers['on-error'].sends[0].proof.nonce, 'e1');
  });

  test('goes to no other origin: each server gets its own nonces', () => {
    for (const [name, { sends: all }] of Object.entries(servers)) {
      for (const { proof } of all) assert.ok(!['n1', 'always-this', 'w1'].includes(proof.nonce) || ['for-ever', 'same-again', 'www'].includes(name));
    }
  });
});

describe('a token answer', () => {
  test('of the type Bearer, of no type, or of another one, is discarded: never a quiet fall back', async () => {
    await rejects('any', granting({ token_type: 'Bearer' }), { name: 'token-not-dpop', message: /"Bearer"/, next: /DPoP/ });
    await rejects('any', granting({ token_type: 'DPoP2' }), { name: 'token-not-dpop' });
    await rejects('any', granting({ token_type: undefined }), { name: 'server-misbehaved', message: /token_type/ });
  });

  test('has its type compared without regard to case', async () => {
    for (const token_type of ['dPoP', 'dpop', 'DPOP']) assert.ok((await ask('any', granting({ token_type }))).access_token);
  });

  test('with a JWT bound to another key is refused, with one bound to ours it is taken', async () => {
    const bound = (jkt) => granting({ access_token: unsignedJwt({ cnf: { jkt } }) });
    await rejects('any', bound(world.jkt.work.split('').reverse().join('')), { name: 'token-other-key', message: /cnf\.jkt/ });
    await ask('any', bound(world.jkt.work));
    await ask('any', granting({ access_token: unsignedJwt({ sub: 'not every server binds visibly' }) }));
  });

  test('whose expires_in is missing counts by the token itself, else as five minutes', async () => {
    const now = Math.floor(Date.now() / 1000);
    assert.ok(Math.abs((await ask('any', granting({ expires_in: undefined }))).expires_in - 300) <= 2);
    const jwt = unsignedJwt({ iat: now, exp: now + 120, cnf: { jkt: world.jkt.work } });
    assert.ok(Math.abs((await ask('any', granting({ expires_in: undefined, access_token: jwt }))).expires_in - 120) <= 2);
  });

  test('whose expires_in is no number of seconds is refused; digits in a text are one, and a huge one is a day', async () => {
    for (const expires_in of ['', 'soon', '-1', '6e2', '12.5', '9999999999', -1, 12.5, true, [600]]) await rejects('any', granting({ expires_in }), { name: 'server-misbehaved', message: /expires_in/ });
    const json = (number) => (answer) => answer(200, `{"access_token":"x","token_type":"DPoP","expires_in":${number}}`);
    for (const number of ['1e400', '99999999999999999999']) await rejects('any', json(number), { name: 'server-misbehaved' });
    assert.ok(Math.abs((await ask('any', granting({ expires_in: 4_000_000_000 }))).expires_in - 86_400) <= 2);
    assert.ok(Math.abs((await ask('any', granting({ expires_in: '600' }))).expires_in - 600) <= 2);
    for (const expires_in of [0, '0']) await rejects('any', granting({ expires_in }), { name: 'server-misbehaved', message: /expired already/ });
  });

  test('without a usable access_token is refused', async () => {
    for (const access_token of [undefined, '', 7, 'a\nb', 'é', 'x'.repeat(70_000)]) await rejects('any', granting({ access_token }), { name: 'server-misbehaved', message: /access_token/ });
  });

  test('that is no JSON object is refused, with what it is instead', async () => {
    for (const body of ['', '<html>', '[1]', '{"access_token":"a"', '{"access_token":"a","access_token":"b","token_type":"DPoP"}', '{} {}', '{"a":"\u0000"}', `${'['.repeat(5000)}`]) {
      await rejects('any', (answer) => answer(200, body), { name: 'server-misbehaved', message: /not a JSON object/ });
    }
  });

  test('that is an error keeps error, description, URI, status and Retry-After', async () => {
    const told = { error: 'invalid_grant', error_description: 'the reason', error_uri: 'https://as.example/why' };
    await rejects('any', (answer) => answer(400, told), {
      name: 'server-refused', oauth_error: 'invalid_grant', oauth_description: 'the reason', oauth_uri: told.error_uri, http_status: 400, retryable: false,
    });
    await rejects('any', (answer) => answer(418, 'no'), { name: 'server-misbehaved', http_status: 418 });
    assert.equal(sends('any'), 1);
    await rejects('limited', (answer) => answer(429, '', { 'Retry-After': '12' }), { name: 'server-unavailable', http_status: 429, retry_after: 12, retryable: true });
    assert.equal(sends('limited'), 1);
    const refused = await ask('limited', granting()).catch((error) => error);
    assert.deepEqual([refused.name, refused.retryable, refused.retry_after >= 11 && refused.retry_after <= 14, sends('limited')], ['server-unavailable', true, true, 0], 'nothing is sent before that');
  });
});

describe('the net process', () => {
  test('follows no redirect of the token endpoint or of the metadata', async (t) => {
    let visits = 0;
    const elsewhere = await listen({ tls: world.authority.tls }, (_req, res) => {
      visits++;
      res.end('{}');
    });
    t.after(elsewhere.close);
    for (const status of [301, 302, 303, 307, 308]) {
      await rejects('any', (answer) => answer(status, '', { Location: `${elsewhere.origin}/token` }), { name: 'server-misbehaved', http_status: status, message: /redirect/ });
      assert.equal(sends('any'), 1);
    }
    const server = await startScriptedServer({ tls: world.authority.tls });
    t.after(server.close);
    server.onMetadata = (answer) => answer(302, '', { Location: elsewhere.origin });
    t.after(() => world.configure({ profiles: Object.fromEntries(Object.entries(servers).map(([name, { issuer }]) => [name, { issuer, resource: null, timeout: 2 }])) }));
    await world.configure({ profiles: { moved: { issuer: server.issuer } } });
    await assert.rejects(world.agent.token('moved'), { name: 'server-misbehaved', http_status: 302 });
    assert.equal(visits, 0);
  });

  test('reads no body of over 1 MiB and no header of over 64 KiB', async () => {
    await rejects('any', (answer) => answer(200, JSON.stringify(bearerOf({ filler: 'x'.repeat(2_000_000) }))), { name: 'server-misbehaved', message: /larger than 1 MiB/ });
    await rejects('any', (answer) => answer(200, bearerOf(), Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`X-${i}`, 'y'.repeat(1000)]))), { name: 'server-misbehaved', message: /header/ });
  });

  test('gives a server that is silent, or drips, no more than the profile’s timeout', async () => {
    for (const token of [() => {}, (_answer, { res }) => {
      res.writeHead(200, { 'Content-Type': 'application/json' });
      const drip = setInterval(() => res.write(' '), 50);
      res.once('close', () => clearInterval(drip));
    }]) {
      const begun = Date.now();
      await rejects('slow', token, { name: 'server-unreachable', retryable: true, message: /in time/, next: /timeout/ });
      assert.ok(Date.now() - begun < 3500, 'after the two seconds of the profile');
      assert.equal(sends('slow'), 1);
    }
  });

  test('sends a request once when the connection breaks before the answer', async () => {
    await rejects('broken', (_answer, { req }) => req.socket.destroy(), { name: 'server-unreachable', message: /closed before/ });
    assert.equal(sends('broken'), 1);
    await rejects('broken', (_answer, { res, req }) => {
      res.writeHead(200, { 'Content-Length': 1000 }).write('{"access');
      setTimeout(() => req.socket.destroy(), 20);
    }, { name: 'server-unreachable' });
    assert.equal(sends('broken'), 1);
  });

  test('tells a port that takes connections and says nothing from one where nobody listens', async (t) => {
    const silent = createServer(() => {}).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    t.after(() => silent.close());
    const closed = createServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address();
    closed.close();
    await world.configure({ profiles: { silent: { issuer: `https://localhost:${silent.address().port}`, timeout: 1 }, nobody: { issuer: `https://localhost:${port}` } } });
    await assert.rejects(world.agent.token('silent'), { name: 'server-unreachable', message: /TLS|in time/ });
    await assert.rejects(world.agent.token('nobody'), { name: 'server-unreachable', message: /cannot connect/ });
  });
});
