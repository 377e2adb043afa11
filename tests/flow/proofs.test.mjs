// Proofs through the socket and the command: exactly as STANDARDS asks, for the keys, profiles and origins that may have
// them, and for nothing else.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { jose, makeWorld, repository, showLogOnFailure, sized } from './world.mjs';
import { athOf, verifyProof } from './verify-proof.mjs';
import { OPERATION_ERROR, decode, encode, field, messages, operations, statuses } from './wire.mjs';

const vectors = JSON.parse(await readFile(join(repository, 'tests/vectors/htu.json'), 'utf8'));
const examples = ['https://example.com', 'https://[::1]:8443', 'https://[2001:db8::a]'];
// The configuration accepts no plain http origin but loopback's, so these cases end at the socket.
const isPlainHttp = (url) => /^http:/i.test(url);

let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({
    profiles: {
      basic: {}, examples: { origins: examples.join(' ') }, other: { key: 'other', origins: 'https://other.example' },
      loopback: { 'allow-http-loopback': 'yes', origins: 'http://127.0.0.1:8080 http://localhost' },
    },
    keys: ['work', 'other'],
    workers: 2,
  });
  await world.configure({ sections: { 'key work': { origins: 'https://key.example' } } });
});
after(() => world?.stop());

const url = (path = '/a') => world.rs.origin + path;
const check = (proof, expected) => verifyProof(proof, { jwk: world.jwk.work, ...expected });
const refused = (values, name) => assert.rejects(world.agent.proof({ profile: 'examples', htm: 'GET', htu: 'https://example.com/', ...values }), { name });

describe('a proof', () => {
  test('made through the socket verifies in jose every time, with a jti of its own', async (t) => {
    const count = sized(t, 'proofs', 10_000, 200);
    const jtis = new Set();
    const token = 'an.opaque~access_token';
    for (let begin = 0; begin < count; begin += 100) {
      const round = Array.from({ length: Math.min(100, count - begin) }, async (_, i) => {
        const nonce = i % 2 ? `nonce-${begin + i}` : undefined;
        const access_token = i % 3 ? token : undefined;
        const { proof, htu, jkt } = await world.agent.proof({ profile: 'basic', htm: 'POST', htu: url(`/${begin + i}?q=1`), nonce, access_token });
        assert.deepEqual([htu, jkt], [url(`/${begin + i}`), world.jkt.work]);
        jtis.add((await check(proof, { htm: 'POST', htu, nonce, ath: access_token && athOf(token) })).jti);
      });
      await Promise.all(round);
    }
    assert.equal(jtis.size, count);
  });

  test('states the key whose RFC 7638 thumbprint the agent names', async () => {
    assert.equal(await jose.calculateJwkThumbprint(world.jwk.work), world.jkt.work);
    assert.notEqual(world.jkt.work, world.jkt.other);
  });

  test('has no ath and no nonce unless they were given', async () => {
    const { proof } = await world.agent.proof({ profile: 'basic', htm: 'GET', htu: url() });
    await check(proof, { htm: 'GET', htu: url() });
  });

  test('keeps the method as it is written, and the nonce character by character', async () => {
    const nonce = '!#$%&\'()*+,-./:;<=>?@[]^_`{|}~09AZaz';
    const { proof } = await world.agent.proof({ profile: 'basic', htm: 'patch', htu: url(), nonce });
    await check(proof, { htm: 'patch', htu: url(), nonce });
  });

  test('takes ath as it is, or makes it from the access token', async () => {
    const token = 'Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU';
    for (const given of [{ access_token: token }, { ath: athOf(token) }]) {
      const { proof } = await world.agent.proof({ profile: 'basic', htm: 'GET', htu: url(), ...given });
      const { ath } = await check(proof, { htm: 'GET', htu: url(), ath: athOf(token) });
      assert.equal(ath, 'fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo', 'RFC 9449 section 7.1');
    }
  });
});

describe('htu', () => {
  for (const [given, htu] of vectors.cases) {
    test(`of ${given} is ${htu}${isPlainHttp(given) ? ', which is refused as plain http' : ''}`, async () => {
      const answer = world.agent.proof({ profile: 'examples', htm: 'GET', htu: given });
      if (isPlainHttp(given)) return assert.rejects(answer, { name: 'insecure-url' });
      await check((await answer).proof, { htm: 'GET', htu });
      const { status, stdout, stderr } = await world.dpop('proof', '--profile', 'examples', 'GET', given);
      assert.equal(status, 0, stderr);
      await check(stdout.trim(), { htm: 'GET', htu });
    });
  }

  for (const [given, htu] of vectors.sent) {
    test(`of ${given}, sent by us, is ${htu}, and so is the URL to send`, async () => {
      const answer = await world.agent.authorize({ profile: 'examples', htm: 'GET', url: given });
      assert.equal(answer.url.split('?')[0], htu);
      assert.ok(!answer.url.includes('#'));
      await check(answer.dpop, { htm: 'GET', htu, ath: athOf(answer.authorization.slice('DPoP '.length)) });
    });
  }

  for (const given of vectors.refused) {
    test(`of ${JSON.stringify(given)} is refused`, async () => {
      await refused({ htu: given }, 'invalid-argument');
      if (given.includes('\0')) return; // no program can be given this argument
      const { status, stdout, stderr } = await world.dpop('proof', '--profile', 'examples', 'GET', given);
      assert.deepEqual([status, stdout], [2, ''], stderr);
      assert.match(stderr, /^dpop: /);
    });
  }
});

describe('the origins', () => {
  test('of a profile are where its proofs may go: any other host, port or scheme is refused', async () => {
    for (const htu of ['https://example.com:8443/', 'https://www.example.com/', 'https://example.org/', 'https://[::1]/']) await refused({ htu }, 'origin-refused');
    await refused({ htu: 'http://example.com/' }, 'insecure-url');
    await assert.rejects(world.agent.authorize({ profile: 'examples', htm: 'GET', url: 'https://example.org/' }), { name: 'origin-refused', next: /origins/ });
  });

  test('cannot be got around by userinfo or by another spelling', async () => {
    for (const htu of ['https://example.com@evil.example/', 'https://example.com%2eevil.example/', 'https://example.com.evil.example/', 'https://example.com:443@evil.example/']) {
      await assert.rejects(world.agent.proof({ profile: 'examples', htm: 'GET', htu }), (error) => ['origin-refused', 'invalid-argument'].includes(error.name));
    }
  });

  test('of a key are its own and those of the profiles that use it', async () => {
    for (const htu of ['https://key.example/x', 'https://example.com/x', url('/x')]) {
      const { proof } = await world.agent.proof({ key: 'work', htm: 'GET', htu });
      await check(proof, { htm: 'GET', htu });
    }
    await assert.rejects(world.agent.proof({ key: 'work', htm: 'GET', htu: 'https://other.example/' }), { name: 'origin-refused' });
    await assert.rejects(world.agent.proof({ profile: 'basic', htm: 'GET', htu: 'https://key.example/' }), { name: 'origin-refused' });
  });

  test('may be plain http on loopback where the profile allows it', async () => {
    const { proof, htu } = await world.agent.proof({ profile: 'loopback', htm: 'GET', htu: 'http://127.0.0.1:8080/x' });
    await check(proof, { htm: 'GET', htu });
    await assert.rejects(world.agent.proof({ profile: 'basic', htm: 'GET', htu: 'http://127.0.0.1:8080/x' }), { name: 'insecure-url' });
  });
});

describe('the key of a proof', () => {
  test("is the profile's, or the one that is named", async () => {
    for (const chosen of [{ key: 'other' }, { profile: 'other' }]) {
      const { proof, jkt } = await world.agent.proof({ ...chosen, htm: 'GET', htu: 'https://other.example/' });
      assert.equal(jkt, world.jkt.other);
      await verifyProof(proof, { jwk: world.jwk.other, htm: 'GET', htu: 'https://other.example/' });
    }
  });

  test('must be named where there is more than one', async () => {
    await assert.rejects(world.agent.proof({ htm: 'GET', htu: url() }), { name: 'invalid-argument', message: /which key/ });
  });

  test('is the only one where none is named', async (t) => {
    const own = await makeWorld({ servers: false, profiles: {}, key: { origins: 'https://api.example' } });
    t.after(own.stop);
    const { proof, htu } = await own.agent.proof({ htm: 'GET', htu: 'https://api.example/x' });
    await verifyProof(proof, { jwk: own.jwk.work, htm: 'GET', htu });
    assert.equal((await own.dpop('proof', 'GET', htu)).status, 0);
  });

  test('and its profile are refused where they are unknown, or given both', async () => {
    await refused({ profile: 'none' }, 'unknown-profile');
    await refused({ profile: undefined, key: 'none' }, 'unknown-key');
    await refused({ key: 'work' }, 'invalid-argument');
  });
});

describe('what a proof is asked for', () => {
  test('is refused where the method is no token', async () => {
    for (const htm of ['', 'GE T', 'GET/', 'GÉT']) await refused({ htm }, 'invalid-argument');
  });

  test('is refused where ath is not 43 base64url characters of 32 bytes', async () => {
    const good = athOf('x');
    for (const ath of ['', good.slice(1), `${good}A`, `${good.slice(0, 42)}=`, `${good.slice(0, 42)}+`, `${good.slice(0, 42)}B`]) await refused({ ath }, 'invalid-argument');
    await refused({ ath: good, access_token: 'x' }, 'invalid-argument');
  });

  test('is refused where the access token or the nonce has characters that none has', async () => {
    for (const access_token of ['', 'a\n', 'a\tb', 'é', 'a\x7f']) await refused({ access_token }, 'invalid-argument');
    for (const nonce of ['', 'a b', 'a"b', 'a\\b', 'é', 'a\r\nb']) await refused({ nonce }, 'invalid-argument');
  });

  test('is never jwk, alg, typ, jti or iat: a field that the agent does not know changes nothing, or is refused as critical', async () => {
    const fields = encode(messages.proofRequest, { profile: 'basic', htm: 'GET', htu: url() });
    const skipped = await world.agent.exchange(operations.proof, Buffer.concat([fields, field(30, '{"typ":"JWT","jti":"mine","iat":1}')]));
    await check(decode(messages.proofAnswer, skipped.fields).proof, { htm: 'GET', htu: url() });
    const critical = await world.agent.exchange(operations.proof, Buffer.concat([fields, field(0x8000 | 30, 'x')]));
    assert.equal(critical.operation, OPERATION_ERROR);
    assert.equal(statuses[decode(messages.error, critical.fields).status], 'unsupported-field');
  });

  test('may come from the command with a token file, standard input, ath and nonce', async () => {
    const file = join(world.dir, 'token');
    await writeFile(file, 'the-token\n', { mode: 0o600 });
    const ath = athOf('the-token');
    for (const [args, stdin] of [[['--token-file', file]], [['--token-file', '-'], 'the-token'], [['--ath', ath]]]) {
      const { status, stdout, stderr } = await world.dpop('proof', '--profile', 'basic', '--nonce', 'n-1', ...args, 'GET', url(), { stdin });
      assert.equal(status, 0, stderr);
      await check(stdout.trim(), { htm: 'GET', htu: url(), ath, nonce: 'n-1' });
    }
    const { stdout } = await world.dpop('--json', 'proof', '--key', 'work', 'GET', url());
    const { proof, htu, jkt } = JSON.parse(stdout);
    assert.deepEqual([htu, jkt], [url(), world.jkt.work]);
    await check(proof, { htm: 'GET', htu });
  });
});
