// Every grant with every client authentication at the real oidc-provider, with nonces required by both servers: each token
// is of the type DPoP, bound to the key in the token, and gets a 200 from the resource server. One agent, a profile for
// each pair; certificates made by dpop key cert and dpop key csr.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { authentications, grantTypes } from '../servers/clients.mjs';
import { makeAssertion } from '../servers/oauth-client.mjs';
import { addClient, logIn, useToken, writeToken } from './login-steps.mjs';
import { jose, makeWorld, showLogOnFailure } from './world.mjs';

const idp = 'https://idp.example';
const idpKeys = await jose.generateKeyPair('ES256', { extractable: true });
const idpJwk = await jose.exportJWK(idpKeys.publicKey);
const clientKeys = { private_key_jwt: 'jwt', tls_client_auth: 'signed', self_signed_tls_client_auth: 'alone' };

let world;
showLogOnFailure(() => world);
const certificates = {}; // thumbprints, by client

const assertionOf = (sub, issuer = world.as.issuer) => makeAssertion(idpKeys.privateKey, { iss: idp, sub, aud: issuer });
const fileOf = (name) => join(world.dir, `${name}.token`);

// The profiles of one client: what each grant needs besides.
const profilesOf = (client) => ({
  [`${client}.code`]: { client, grant: 'authorization_code', 'pushed-authorization-requests': 'no' },
  [`${client}.par`]: { client, grant: 'authorization_code', 'pushed-authorization-requests': 'yes' },
  [`${client}.device`]: { client, grant: 'device_code' },
  ...(client === 'none' ? {} : { [`${client}.client`]: { client, grant: 'client_credentials' } }),
  [`${client}.exchange-profile`]: { client, grant: 'token-exchange', 'subject-token-profile': `${client}.code` },
  [`${client}.exchange-file`]: { client, grant: 'token-exchange', 'subject-token-file': fileOf(`${client}.subject`) },
  [`${client}.exchange-caller`]: { client, grant: 'token-exchange' },
  [`${client}.bearer-own`]: { client, grant: 'jwt-bearer', 'assertion-subject': 'carol' },
  [`${client}.bearer-file`]: { client, grant: 'jwt-bearer', 'assertion-file': fileOf(`${client}.assertion`) },
  [`${client}.bearer-caller`]: { client, grant: 'jwt-bearer' },
});

before(async () => {
  world = await makeWorld({
    keys: ['work', 'jwt', 'signed', 'alone'],
    asOptions: { mtls: {}, refreshTokens: 'always', deviceInterval: 1, assertionKeys: { keys: [idpJwk] } },
  });
  for (const authentication of authentications) {
    const jwks = { keys: [...new Set(['work', clientKeys[authentication] ?? 'work'])].map((key) => ({ ...world.jwk[key], kid: world.jkt[key] })) };
    const { certificate } = await addClient(world, authentication, authentication, { clientKey: clientKeys[authentication], jwks });
    certificates[authentication] = certificate ?? null;
  }
  await world.configure({ profiles: Object.assign({}, ...authentications.map(profilesOf)) });
});
after(() => world?.stop());

const toEndpointsOf = (record) => ['/token', '/request', '/device/auth'].includes(record.path);

async function tokenOf(profile, ...args) {
  const { status, stdout, stderr } = await world.dpop('token', '--json', profile, ...args);
  assert.equal(status, 0, stderr + stdout);
  const token = JSON.parse(stdout);
  assert.deepEqual([token.token_type, token.jkt], ['DPoP', world.jkt.work]);
  const claims = jose.decodeJwt(token.access_token);
  assert.deepEqual([claims.cnf.jkt, claims.aud], [world.jkt.work, world.rs.origin]);
  return token;
}

async function requestIsGood(profile, { sub, client }) {
  const { status, stdout, stderr } = await world.dpop('request', '--ca-file', world.authority.ca, profile, `${world.rs.origin}/things`);
  assert.equal(status, 0, stderr);
  const answer = JSON.parse(stdout);
  assert.deepEqual([answer.jkt, answer.sub, answer.client_id], [world.jkt.work, sub, client]);
  assert.equal(world.rs.requests.at(-1).status, 200);
}

// What the server saw: only this client, under its own certificate or none, and no success without a nonce.
function sawOnly(client, from, grantType) {
  const records = world.as.requests.slice(from).filter(toEndpointsOf);
  assert.ok(records.length > 0);
  assert.deepEqual([...new Set(records.map(({ clientId }) => clientId))], [client]);
  assert.deepEqual([...new Set(records.map(({ certificate }) => certificate))], [certificates[client]]);
  const good = records.filter(({ path, status }) => path === '/token' && status === 200);
  assert.ok(good.length > 0 && good.every(({ nonce, jti }) => nonce && jti));
  assert.equal(good.at(-1).grantType, grantTypes[grantType]);
  return records;
}

for (const client of authentications) {
  describe(`with ${client}`, () => {
    const cell = (name, grant, sub, get) =>
      test(`${name}: a token bound to the key, and a 200 with it`, async () => {
        const from = world.as.requests.length;
        const { profile, token, records: more } = await get();
        const records = sawOnly(client, from, grant);
        more?.(records);
        if (token) {
          const { status, body } = await useToken(world, profile, token.access_token);
          assert.deepEqual([status, body.jkt, body.sub, body.client_id], [200, world.jkt.work, sub, client]);
        } else {
          await requestIsGood(profile, { sub, client });
        }
      });

    cell('authorization code', 'code', 'alice', async () => {
      const { result } = await logIn(world, `${client}.code`);
      assert.deepEqual([result.token_type, result.jkt, result.refresh, result.persisted], ['DPoP', world.jkt.work, true, true]);
      await tokenOf(`${client}.code`);
      return { profile: `${client}.code`, records: (records) => assert.ok(records.every(({ path }) => path !== '/request')) };
    });

    cell('authorization code, pushed', 'code', 'bob', async () => {
      const { begun } = await logIn(world, `${client}.par`, { login: 'bob' });
      assert.deepEqual([...new URL(begun.url).searchParams.keys()].sort(), ['client_id', 'request_uri']);
      await tokenOf(`${client}.par`);
      return { profile: `${client}.par`, records: (records) => assert.ok(records.some(({ path, status }) => path === '/request' && status === 201)) };
    });

    cell('refresh token', 'refresh', 'bob', async () => {
      const before = await tokenOf(`${client}.par`);
      const from = world.as.events.length;
      const token = await tokenOf(`${client}.par`, '--force');
      assert.notEqual(token.access_token, before.access_token);
      const rotated = world.as.events.slice(from).map(({ event }) => event).filter((event) => event.startsWith('refresh'));
      assert.deepEqual(rotated.sort(), ['refresh_consumed', 'refresh_issued']);
      return { profile: `${client}.par` };
    });

    cell('device code', 'device', 'dora', async () => {
      await logIn(world, `${client}.device`, { login: 'dora' });
      await tokenOf(`${client}.device`);
      return { profile: `${client}.device` };
    });

    if (client !== 'none') {
      cell('client credentials', 'client', client, async () => {
        await tokenOf(`${client}.client`);
        return { profile: `${client}.client` };
      });
    }

    cell('token exchange, the subject token being another profile\'s', 'exchange', 'alice', async () => {
      const { raw } = await tokenOf(`${client}.exchange-profile`);
      assert.deepEqual(raw, { issued_token_type: 'urn:ietf:params:oauth:token-type:access_token' });
      return { profile: `${client}.exchange-profile` };
    });

    cell('token exchange, the subject token being in a file', 'exchange', 'bob', async () => {
      await writeToken(fileOf(`${client}.subject`), `${(await tokenOf(`${client}.par`)).access_token}\n`);
      await tokenOf(`${client}.exchange-file`);
      return { profile: `${client}.exchange-file` };
    });

    cell('token exchange, subject and actor token being the caller\'s', 'exchange', 'alice', async () => {
      const [subject, actor] = [fileOf(`${client}.caller`), fileOf(`${client}.actor`)];
      await writeToken(subject, (await tokenOf(`${client}.code`)).access_token);
      await writeToken(actor, (await tokenOf(`${client}.par`)).access_token);
      const token = await tokenOf(`${client}.exchange-caller`, '--subject-token-file', subject, '--actor-token-file', actor);
      assert.deepEqual(jose.decodeJwt(token.access_token).act, { sub: 'bob' });
      return { profile: `${client}.exchange-caller`, token };
    });

    cell('JWT bearer, the agent signs the assertion', 'bearer', 'carol', async () => {
      await tokenOf(`${client}.bearer-own`);
      return { profile: `${client}.bearer-own`, records: (records) => assert.ok(records.at(-1).assertionJti) };
    });

    cell('JWT bearer, the assertion is in a file', 'bearer', 'erin', async () => {
      await writeToken(fileOf(`${client}.assertion`), `${await assertionOf('erin')}\n`);
      await tokenOf(`${client}.bearer-file`);
      return { profile: `${client}.bearer-file` };
    });

    cell('JWT bearer, the assertion is the caller\'s', 'bearer', 'frank', async () => {
      const file = fileOf(`${client}.given`);
      await writeToken(file, await assertionOf('frank'));
      return { profile: `${client}.bearer-caller`, token: await tokenOf(`${client}.bearer-caller`, '--assertion-file', file) };
    });
  });
}

describe('all of them together', () => {
  test('used no proof, no client assertion and no JWT bearer assertion of the agent twice', () => {
    for (const member of ['jti', 'clientAssertionJti']) {
      const seen = [...world.as.requests, ...world.rs.requests].map((record) => record[member]).filter(Boolean);
      assert.ok(seen.length > 10);
      assert.equal(new Set(seen).size, seen.length, member);
    }
    const own = world.as.tokenRequests().filter(({ clientId, assertionJti }) => clientId && assertionJti);
    const good = own.filter(({ status }) => status === 200).map(({ assertionJti }) => assertionJti);
    assert.equal(new Set(good).size, good.length);
  });

  test('that came from a login end at logout: the server revokes each, the client authenticated as for its tokens', async () => {
    for (const client of authentications) {
      const from = world.as.requests.length;
      const { logged_in: was, revoked, note } = await world.agent.logout(`${client}.par`);
      assert.deepEqual([was, revoked, note], [true, true, undefined]);
      const sent = world.as.requests.slice(from).filter(({ path }) => path === '/token/revocation');
      assert.deepEqual(sent.map((record) => [record.status, record.clientId, record.certificate]), [[200, client, certificates[client]]]);
      await assert.rejects(world.agent.token(`${client}.par`), { name: 'login-required' });
      assert.equal((await world.agent.token(`${client}.code`)).token_type, 'DPoP', 'the other login of this client stays');
    }
  });

  test('of client_credentials without a client authentication is a mistake that the configuration check names', async () => {
    await world.writeConfig({ profiles: { bad: { client: 'none', grant: 'client_credentials' } } });
    await assert.rejects(world.agent.reload(), { name: 'configuration', message: /none/ });
    await world.configure({ profiles: Object.assign({}, ...authentications.map(profilesOf)) });
  });
});

describe('a token exchange or an assertion', () => {
  test('without a subject token or an assertion asks for one', async () => {
    await assert.rejects(world.agent.token('none.exchange-caller'), { name: 'invalid-argument', next: /--subject-token-file/ });
    await assert.rejects(world.agent.token('none.bearer-caller'), { name: 'invalid-argument', next: /--assertion-file/ });
  });

  test('given to a profile of another grant is refused', async () => {
    await assert.rejects(world.agent.token({ profile: 'none.code', subject_token: 'x' }), { name: 'invalid-argument' });
    await assert.rejects(world.agent.token({ profile: 'none.exchange-file', assertion: 'x' }), { name: 'invalid-argument' });
  });

  test('that the server refuses comes back with its error', async () => {
    const exchange = { profile: 'none.exchange-caller', subject_token: 'not a token of this server' };
    await assert.rejects(world.agent.token(exchange), { name: 'server-refused', oauth_error: 'invalid_request', stage: 'token request' });
    const used = await assertionOf('gina');
    await world.agent.token({ profile: 'none.bearer-caller', assertion: used });
    const again = { profile: 'none.bearer-caller', assertion: used, force: true };
    await assert.rejects(world.agent.token(again), { name: 'server-refused', oauth_error: 'invalid_grant' });
  });

  test('in a file that is not there is an error that names the file, and nothing is sent', async () => {
    await world.configure({ profiles: { gone: { client: 'none', grant: 'token-exchange', 'subject-token-file': fileOf('gone') } } });
    const from = world.as.tokenRequests().length;
    await assert.rejects(world.agent.token('gone'), { message: /gone\.token/ });
    assert.equal(world.as.tokenRequests().slice(from).filter(({ grantType }) => grantType === grantTypes.exchange).length, 0);
    await world.configure({ profiles: Object.assign({}, ...authentications.map(profilesOf)) });
  });
});

describe('mutual TLS', () => {
  const tls = ['tls_client_auth', 'self_signed_tls_client_auth'];

  test('shows each of two profiles at one host under its own certificate, with their requests mixed', async () => {
    const from = world.as.requests.length;
    const wanted = Array.from({ length: 20 }, (_, i) => ({ profile: `${tls[i % 2]}.client`, scope: i % 4 < 2 ? 'read' : 'write', force: true }));
    await Promise.all(wanted.map((one) => world.agent.token(one)));
    const records = world.as.requests.slice(from).filter(toEndpointsOf);
    for (const client of tls) {
      const own = records.filter(({ clientId }) => clientId === client);
      assert.ok(own.length >= 2);
      assert.ok(own.every(({ certificate }) => certificate === certificates[client]));
    }
    assert.notEqual(certificates[tls[0]], certificates[tls[1]]);
  });

  test('certificates have the key in the token, and what was asked for', async () => {
    for (const [client, key] of [['tls_client_auth', 'signed'], ['self_signed_tls_client_auth', 'alone']]) {
      const certificate = new X509Certificate(await readFile(join(world.dir, `${client}.pem`)));
      const { x, y } = certificate.publicKey.export({ format: 'jwk' });
      assert.deepEqual([x, y], [world.jwk[key].x, world.jwk[key].y]);
      assert.equal(certificate.subject, `CN=${client}`);
      assert.ok(client === 'tls_client_auth' || certificate.verify(certificate.publicKey));
    }
  });

  test('works at the issuer itself where there are no aliases', async (t) => {
    const as = await startAuthorizationServer({ tls: world.authority.tls, mtls: { aliases: false }, resources: [world.rs.origin] });
    t.after(async () => {
      await as.close();
      await world.configure({ profiles: Object.assign({}, ...authentications.map(profilesOf)) });
    });
    const { certificate } = await addClient(world, 'here', 'self_signed_tls_client_auth', { as, clientKey: 'alone' });
    await world.configure({ profiles: { here: { client: 'here', issuer: as.issuer } } });
    const token = await world.agent.token('here');
    assert.equal(jose.decodeJwt(token.access_token).cnf.jkt, world.jkt.work);
    assert.deepEqual([...new Set(as.tokenRequests().map((record) => record.certificate))], [certificate]);
  });

  test('with a certificate of another key than client-key is refused before anything is sent', async (t) => {
    t.after(() => world.configure({ profiles: Object.assign({}, ...authentications.map(profilesOf)) }));
    await world.configure({ profiles: { mixed: { client: 'tls_client_auth', 'client-key': 'alone' } } });
    const from = world.as.tokenRequests().length;
    await assert.rejects(world.agent.token('mixed'), { message: /certificate/ });
    assert.equal(world.as.tokenRequests().length, from);
  });
});
