// dpop profile test: a set-up that works passes with every client authentication, and each of many broken ones is named in
// the output, with what to do, and exit status 3.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { makeBadCertificates } from '../servers/authority.mjs';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { authentications } from '../servers/clients.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { startShiftedAuthorizationServer } from '../servers/shifted-authorization-server.mjs';
import { listen } from '../servers/transport.mjs';
import { addClient } from './login-steps.mjs';
import { bearerOf, startScriptedServer } from './scripted-server.mjs';
import { childrenOf, entries, makeWorld, parseIni, showLogOnFailure, until } from './world.mjs';

let world;
let tls;
const servers = [];
showLogOnFailure(() => world);

const started = async (server) => {
  servers.push(await server);
  return servers.at(-1);
};

before(async () => {
  world = await makeWorld({ keys: ['work', 'spare'], asOptions: { mtls: {}, refreshTokens: 'always' } });
  ({ tls } = world.authority);
});
after(async () => {
  await world?.stop();
  for (const server of servers) await server.close();
});

// → { status, checks: { name: { result, detail, next } }, text }
async function tested(profile, ...args) {
  const { status, stdout, stderr } = await world.dpop('profile', 'test', '--json', profile, ...args);
  const text = await world.dpop('profile', 'test', profile, ...args);
  assert.equal(text.status, status, stderr + text.stderr);
  const { checks, passed } = JSON.parse(stdout);
  assert.equal(passed, status === 0);
  return { status, checks: Object.fromEntries(checks.map(({ name, ...check }) => [name, check])), text: text.stdout };
}

const failedIn = (checks) => Object.keys(checks).filter((name) => checks[name].result === 'failed');

// Exactly this check fails (and those in `more`), says so, and says what to do.
async function fails(profile, check, detail, { next = /./, more = [] } = {}) {
  const { status, checks, text } = await tested(profile);
  assert.equal(status, 3, `${profile}: ${text}`);
  assert.deepEqual(failedIn(checks), [check, ...more], `${profile}: ${text}`);
  assert.match(checks[check].detail, detail, profile);
  assert.match(checks[check].next ?? '', next, `${profile}: ${text}`);
  assert.match(text, new RegExp(`^failed     ${check}: `, 'm'));
  return checks;
}

describe('dpop profile test passes', () => {
  test('for a client of each authentication, with and without a login', async () => {
    for (const authentication of authentications) await addClient(world, authentication, authentication, { clientKey: authentication.includes('tls') ? 'spare' : 'work' });
    const profiles = {};
    for (const client of authentications) {
      profiles[`${client}.code`] = { client, grant: 'authorization_code' };
      profiles[`${client}.device`] = { client, grant: 'device_code' };
      if (client !== 'none') profiles[`${client}.service`] = { client };
    }
    await world.configure({ profiles });
    for (const profile of Object.keys(profiles)) {
      const from = world.as.requests.length;
      const { status, checks, text } = await tested(profile);
      assert.equal(status, 0, `${profile}: ${text}`);
      for (const name of ['configuration', 'key', 'server', 'tls', 'discovery', 'dpop', 'clock', 'client authentication']) {
        assert.equal(checks[name].result, 'passed', `${profile}: ${text}`);
      }
      assert.ok(['passed', 'warning'].includes(checks['client authentication method'].result) && ['passed', 'warning'].includes(checks.grant.result), text);
      assert.equal(checks.token.result, profile.endsWith('.service') ? 'passed' : 'not tried', `${profile}: ${text}`);
      assert.equal('PAR' in checks && 'PKCE' in checks && 'iss' in checks, profile.endsWith('.code'), text);
      assert.ok(world.as.requests.slice(from).every(({ path }) => !['/request', '/device/auth'].includes(path)), 'no login is begun');
    }
  });

  test('and changes nothing: no token is kept, a login stays what it was', async () => {
    const { tokens_cached: cached } = await world.agent.status();
    await tested('client_secret_basic.service');
    assert.equal((await world.agent.status()).tokens_cached, cached);
  });

  test('and refuses what is no profile', async () => {
    const { status, stderr } = await world.dpop('profile', 'test', 'nobody');
    assert.equal(status, 2);
    assert.match(stderr, /no profile "nobody"/);
  });
});

describe('dpop profile test names', () => {
  // [what is broken, the check that fails, what it says, what to do]: each a profile of the one configuration below
  const wrong = {
    'wrong-issuer': ['discovery', /name another issuer/, { next: /exactly/ }],
    'unknown-ca': ['tls', /issuer certificate/, { next: /ca-file/ }],
    'other-host': ['tls', /not for host localhost/, { next: /name that the certificate is for/ }],
    expired: ['tls', /expired/, { next: /renewed/ }],
    'not-tls': ['tls', /cannot agree on TLS/],
    'no-es256': ['dpop', /does not list ES256 in dpop_signing_alg_values_supported/],
    'wrong-secret': ['client authentication', /knows client "basic", but refuses its client_secret_basic/, { next: /secret/ }],
    'wrong-key': ['client authentication', /knows client "private_key_jwt", but refuses its private_key_jwt/, { next: /key/ }],
    'unknown-client': ['client authentication', /does not know client "stranger"/, { next: /client-id/ }],
    'unknown-public-client': ['client authentication', /does not know client "stranger"/],
    'no-secret-file': ['configuration', /no-such\.secret/],
    'grant-not-allowed': ['token', /grant type is not allowed for this client/],
    'grant-refused': ['grant', /unauthorized_client/],
    'method-not-listed': ['client authentication method', /does not list client_secret_post/],
    'grant-not-listed': ['grant', /does not list client_credentials in grant_types_supported/],
    'fapi2-no-par': ['discovery', /fapi2: .*pushed_authorization_request_endpoint/, { more: ['PAR'] }],
    'fapi2-no-iss': ['discovery', /fapi2: .*authorization_response_iss_parameter_supported/, { more: ['iss'] }],
    'server-down': ['server', /refused/, { next: /runs/ }],
    'server-broken': ['server', /status 503/],
    'no-name': ['server', /no-such-host\.invalid/],
    'no-metadata': ['discovery', /status 404/, { next: /issuer|token-endpoint/ }],
    'wrong-resource': ['resource metadata', /of another resource/],
    'no-resource-metadata': ['resource metadata', /status 404/],
    bearer: ['token', /Bearer/, { next: /DPoP/ }],
    'other-scope': ['token', /invalid_scope/],
    'other-resource': ['token', /invalid_target/],
  };
  let unlisted;

  before(async () => {
    const bad = await makeBadCertificates(world.authority);
    const at = {};
    for (const [name, { tls: pair }] of Object.entries(bad)) at[name] = await started(listen({ tls: pair }, (_req, res) => res.end('{}')));
    at.plain = await started(listen({}, (_req, res) => res.end('{}')));
    const down = await listen({ tls }, () => {});
    await down.close();
    const scripted = async (metadata, more) => Object.assign(await started(startScriptedServer({ tls })), { metadata }, more);
    const methods = { token_endpoint_auth_methods_supported: ['client_secret_basic', 'private_key_jwt'], code_challenge_methods_supported: ['S256'] };
    const fapi = { ...methods, authorization_endpoint: 'https://localhost/auth' };
    unlisted = await scripted({ ...methods, dpop_signing_alg_values_supported: ['ES256'] });
    const noSuch = await started(listen({ tls }, (_req, res) => res.writeHead(404).end()));
    const misnamed = await started(startResourceServer({ tls, issuer: world.as.issuer, ca: world.authority.ca, advertise: { resource: 'https://other.example' } }));
    await world.as.putClient({ client_id: 'limited', client_secret: world.secrets.basic, grant_types: ['refresh_token'], redirect_uris: [], response_types: [] });
    await world.writeSecret(join(world.dir, 'wrong.secret'), 'not-the-secret');
    const local = (server, more = {}) => ({ client: 'basic', issuer: `https://localhost:${server.port}`, resource: null, ...more });
    const profiles = {
      'wrong-issuer': { issuer: `${world.as.issuer}/` },
      'unknown-ca': local(at.unknownCa), 'other-host': local(at.wrongHost), expired: local(at.expired), 'not-tls': local(at.plain),
      'no-es256': local(await scripted({ dpop_signing_alg_values_supported: ['RS256'] })),
      'wrong-secret': { 'client-secret-file': join(world.dir, 'wrong.secret') },
      'wrong-key': { client: 'private_key_jwt', 'client-key': 'spare' },
      'unknown-client': { 'client-id': 'stranger' },
      'unknown-public-client': { grant: 'authorization_code', 'client-id': 'stranger', 'client-authentication': 'none', 'client-secret-file': null },
      'no-secret-file': { 'client-secret-file': join(world.dir, 'no-such.secret') },
      'grant-not-allowed': { 'client-id': 'limited' },
      'method-not-listed': local(unlisted, { client: 'post' }),
      'grant-not-listed': local(await scripted({ ...methods, grant_types_supported: ['authorization_code'] })),
      'fapi2-no-par': local(await scripted({ ...fapi, authorization_response_iss_parameter_supported: true }), { client: 'jwt', grant: 'authorization_code', fapi2: 'yes' }),
      'fapi2-no-iss': local(await scripted({ ...fapi, pushed_authorization_request_endpoint: 'https://localhost/par' }), { client: 'jwt', grant: 'authorization_code', fapi2: 'yes' }),
      'server-down': local(down),
      'server-broken': local(await scripted({}, { onMetadata: (answer) => answer(503) })),
      'no-name': { issuer: 'https://no-such-host.invalid' },
      'no-metadata': local(noSuch),
      'wrong-resource': { client: 'jwt', issuer: null, resource: misnamed.origin, origins: misnamed.origin },
      'no-resource-metadata': { client: 'jwt', issuer: null, resource: noSuch.origin, origins: noSuch.origin },
      bearer: local(await scripted({}, { token: (answer) => answer(200, bearerOf({ token_type: 'Bearer' })) })),
      'grant-refused': local(await scripted({}, { token: (answer) => answer(400, { error: 'unauthorized_client' }) })),
      'other-scope': local(await scripted({}, { token: (answer) => answer(400, { error: 'invalid_scope' }) }), { scope: 'launch-missiles' }),
      'other-resource': { resource: 'https://other.example' },
    };
    assert.deepEqual(Object.keys(profiles).sort(), Object.keys(wrong).sort());
    await world.configure({ profiles });
  });

  for (const [profile, [check, detail, how]] of Object.entries(wrong)) test(profile, () => fails(profile, check, detail, how));

  test('a clock that is ten minutes off, in both directions', async () => {
    const profiles = {};
    for (const [name, clockOffset] of [['ahead', 600], ['behind', -600]]) {
      const { issuer } = await started(startShiftedAuthorizationServer({ tls: { key: `${tls.key}`, cert: `${tls.cert}` }, secrets: world.secrets, clockOffset }));
      profiles[name] = { client: 'basic', issuer, resource: null, scope: null };
    }
    await world.configure({ profiles });
    await fails('ahead', 'clock', /(59\d|60\d) s ahead of this machine's/, { next: /clock/ });
    await fails('behind', 'clock', /(59\d|60\d) s behind this machine's/, { next: /clock/ });
  });

  test('a token type that is allowed to be Bearer as a warning, which is no failure', async () => {
    const server = await started(startScriptedServer({ tls }));
    server.token = (answer) => answer(200, bearerOf({ token_type: 'Bearer' }));
    await world.configure({ profiles: { lax: { client: 'basic', issuer: server.issuer, resource: null, dpop: 'optional' } } });
    const { status, checks } = await tested('lax');
    assert.equal(status, 0);
    assert.equal(checks.token.result, 'warning');
  });

  test('a key whose token is away, and one whose PIN is wrong', async () => {
    await world.configure({ profiles: { basic: {} } });
    const { environment } = parseIni(await readFile(world.configPath, 'utf8'))['key work'];
    const conf = await readFile(environment.replace('SOFTHSM2_CONF=', ''), 'utf8');
    const [, folder] = /^directories\.tokendir *= *(.*)$/m.exec(conf);
    const restartKeys = async () => {
      for (const pid of await childrenOf(world.process.pid)) {
        const role = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
        if (role[2] === 'key') process.kill(pid, 'SIGKILL');
      }
    };
    const stateOf = async () => (await world.agent.keys()).find(({ name }) => name === 'work').state;

    const move = async (from, to) => {
      for (const name of await entries(from)) await rename(join(from, name), join(to, name));
    };

    await mkdir(`${folder}.away`);
    await move(folder, `${folder}.away`); // unplugged
    await restartKeys();
    await until('the key is absent', async () => (await stateOf()) === 'absent');
    await fails('basic', 'key', /key "work": no token "dpop-agent-work"/);
    await move(`${folder}.away`, folder);
    await until('the key is back', async () => (await stateOf()) === 'ready', { timeout: 30_000 });

    const pin = await readFile(world.pinFile.work, 'utf8');
    await world.writeSecret(world.pinFile.work, `${pin.trim()}-wrong`);
    await restartKeys();
    await until('the PIN is refused', async () => (await stateOf()) === 'locked');
    await fails('basic', 'key', /PIN/, { next: /PIN|pin-file/i });
    await world.writeSecret(world.pinFile.work, pin);
    await until('the key is back', async () => (await stateOf()) === 'ready', { timeout: 30_000 });
    assert.equal((await tested('basic')).status, 0);
  });
});
