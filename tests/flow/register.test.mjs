// dpop register: a client registered at the real oidc-provider (RFC 7591), at one that wants an initial access token, and at
// ones that refuse or change what was asked for; a profile that works at once, or nothing left behind.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { chmod, copyFile, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { logIn } from './login-steps.mjs';
import { bearerOf, startScriptedServer } from './scripted-server.mjs';
import { assertRoot, dpopBinary, entries, makeWorld, nobody, parseIni, run, showLogOnFailure } from './world.mjs';

const initialAccessToken = 'the-initial-access-token-8261';
let world;
let guarded; // a server that lets only those register who have the initial access token
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ asOptions: { registration: {}, refreshTokens: 'always' } });
  guarded = await startAuthorizationServer({ tls: world.authority.tls, registration: { initialAccessToken }, resources: [world.rs.origin] });
});
after(async () => {
  await world?.stop();
  await guarded?.close();
});

const register = (name, ...args) => world.dpop('register', '--name', name, '--ca-file', world.authority.ca, ...args);
const atIssuer = () => ['--issuer', world.as.issuer, '--origin', world.rs.origin];
const sectionOf = async (name) => parseIni(await readFile(world.configPath, 'utf8'))[`profile ${name}`];

// Everything that a registration may write: the configuration, and the names and modes beside it.
async function written() {
  const folder = dirname(world.configPath);
  const files = await entries(folder);
  return { text: await readFile(world.configPath, 'utf8'), files, state: (await entries(world.stateFolder)).filter((name) => !name.startsWith('login-')) };
}

async function refused(args, { error: expected = null, name, message, next = /./, stage = 'registration' }) {
  const before = await written();
  const { status, stdout } = await world.dpop('--json', 'register', '--ca-file', world.authority.ca, ...args);
  assert.notEqual(status, 0, stdout);
  const { error } = JSON.parse(stdout);
  assert.deepEqual([error.name, error.stage, error.error], [name, stage, expected], error.message);
  assert.match(error.message, message);
  assert.match(error.next, next);
  assert.deepEqual(await written(), before, 'nothing is left behind');
  return error;
}

describe('a registration', () => {
  test('by issuer makes a profile with private_key_jwt, and a user can log in with it at once', async () => {
    const { status, stdout, stderr } = await register('mine', ...atIssuer(), '--scope', 'openid read', '--client-name', 'A client "of" mine');
    assert.equal(status, 0, stderr);
    const [, id] = /^client id +(\S+)$/m.exec(stdout);
    assert.match(stdout, /^profile +mine$/m);
    assert.match(stdout, /^authentication +private_key_jwt$/m);
    assert.doesNotMatch(stdout, /secret/);
    const client = await world.as.findClient(id);
    assert.deepEqual([client.client_name, client.dpop_bound_access_tokens, client.application_type, client.token_endpoint_auth_method, client.scope],
      ['A client "of" mine', true, 'native', 'private_key_jwt', 'openid read']);
    assert.deepEqual([client.grant_types.toSorted(), client.response_types], [['authorization_code', 'refresh_token'], ['code']]);
    const [key] = client.jwks.keys;
    assert.deepEqual([key.x, key.y, key.kid, key.alg, key.d], [world.jwk.work.x, world.jwk.work.y, world.jkt.work, 'ES256', undefined]);
    await world.ready();
    const { result } = await logIn(world, 'mine');
    assert.deepEqual([result.subject, result.jkt, result.token_type], ['alice', world.jkt.work, 'DPoP']);
  });

  test('by resource makes a profile whose token the API takes at once, its secret in a file for its owner only', async () => {
    const { status, stdout, stderr } = await register('service', '--resource', world.rs.origin, '--grant', 'client_credentials',
      '--client-authentication', 'client_secret_basic', '--scope', 'read', '--json');
    assert.equal(status, 0, stderr);
    const made = JSON.parse(stdout);
    assert.deepEqual([made.profile, made.issuer, made.client_authentication, made.configuration],
      ['service', world.as.issuer, 'client_secret_basic', world.configPath]);
    const { mode, uid } = await stat(made.secret_file);
    assert.deepEqual([mode & 0o777, uid], [0o600, process.geteuid()]);
    const secret = await readFile(made.secret_file, 'utf8');
    assert.equal(secret.trim(), (await world.as.findClient(made.client_id)).client_secret);
    assert.ok(!stdout.includes(secret.trim()) && !(await readFile(world.configPath, 'utf8')).includes(secret.trim()));
    const { status: answered, stdout: body, stderr: why } = await world.dpop('request', '--ca-file', world.authority.ca, 'service', `${world.rs.origin}/x`);
    assert.equal(answered, 0, why);
    assert.deepEqual([JSON.parse(body).client_id, JSON.parse(body).jkt], [made.client_id, world.jkt.work]);
    const section = await sectionOf('service');
    assert.deepEqual([section.resource, section.origins, section.scope, section['client-secret-file']], [world.rs.origin, world.rs.origin, 'read', made.secret_file]);
  });

  for (const [authentication, grant] of [['client_secret_post', 'client_credentials'], ['none', 'authorization_code'], ['private_key_jwt', 'device_code']]) {
    test(`with ${authentication} for ${grant} works as asked`, async () => {
      const name = `as-${authentication}`;
      const { status, stderr, stdout } = await register(name, '--resource', world.rs.origin, '--grant', grant, '--client-authentication', authentication, '--scope', 'read');
      assert.equal(status, 0, stderr);
      assert.match(stdout, new RegExp(`^authentication +${authentication}$`, 'm'));
      await world.ready();
      if (grant !== 'client_credentials') await logIn(world, name, { device: grant === 'device_code' });
      assert.equal((await world.agent.token(name)).jkt, world.jkt.work);
    });
  }

  test('presents the initial access token, from a file or from standard input', async () => {
    const path = join(world.dir, 'initial.token');
    await world.writeSecret(path, `${initialAccessToken}\n`);
    const args = (name) => ['register', '--name', name, '--ca-file', world.authority.ca, '--issuer', guarded.issuer, '--origin', world.rs.origin, '--grant', 'client_credentials'];
    const fromFile = await world.dpop(...args('invited'), '--initial-access-token-file', path);
    assert.equal(fromFile.status, 0, fromFile.stderr);
    const piped = await world.dpop(...args('invited-too'), '--initial-access-token-file', '-', { stdin: initialAccessToken });
    assert.equal(piped.status, 0, piped.stderr);
    await world.ready();
    assert.equal((await world.agent.token('invited')).jkt, world.jkt.work);
    assert.equal(guarded.requests.filter(({ path: at }) => at === '/reg').length, 2);
    for (const text of [await world.log(), await readFile(world.configPath, 'utf8')]) assert.ok(!text.includes(initialAccessToken));
  });

  test('keeps what manages it later, the registration access token, for its owner only', async () => {
    const folder = dirname(world.configPath);
    for (const name of (await entries(folder)).filter((entry) => /\.(registration|secret)$/.test(entry))) {
      assert.equal((await stat(join(folder, name))).mode & 0o777, 0o600, name);
    }
    const kept = JSON.parse(await readFile(join(folder, 'mine.registration'), 'utf8'));
    assert.ok(kept.registration_client_uri.startsWith(`${world.as.issuer}/reg/`) && kept.registration_access_token.length > 20);
  });
});

describe('a registration that fails leaves nothing behind', () => {
  test('without the initial access token that the server wants, or with a wrong one', async () => {
    const args = ['--name', 'guest', '--issuer', guarded.issuer, '--origin', world.rs.origin];
    await refused(args, { name: 'server-refused', error: 'invalid_token', message: /does not let everybody register/, next: /initial access token/ });
    const path = join(world.dir, 'wrong.token');
    await world.writeSecret(path, 'not-the-token');
    await refused([...args, '--initial-access-token-file', path],
      { name: 'server-refused', error: 'invalid_token', message: /does not let everybody register/, next: /initial access token/ });
  });

  test('with a name that is taken, or that is none', async () => {
    const from = world.as.requests.length;
    await refused(['--name', 'basic', ...atIssuer()], { name: 'exists', message: /there is a profile "basic" already/ });
    for (const name of ['../x', '.x', 'a b', 'x'.repeat(64)]) await refused(['--name', name, ...atIssuer()], { name: 'invalid-argument', message: /no name for a profile/ });
    assert.equal(world.as.requests.length, from, 'the server is not even asked');
  });

  test('with wishes that the server or the agent cannot fulfil', async () => {
    const name = ['--name', 'wishful'];
    const from = world.as.requests.filter(({ path }) => path === '/reg').length;
    await refused([...name, ...atIssuer(), '--client-authentication', 'tls_client_auth'], { name: 'invalid-argument', message: /not registered by this/, next: /key csr/ });
    await refused([...name, ...atIssuer(), '--client-authentication', 'magic'], { name: 'invalid-argument', message: /no client authentication "magic"/ });
    await refused([...name, ...atIssuer(), '--grant', 'implicit'], { name: 'invalid-argument', message: /no grant "implicit"/ });
    await refused([...name, ...atIssuer(), '--grant', 'client_credentials', '--client-authentication', 'none'], { name: 'invalid-argument', message: /client_credentials needs/ });
    await refused([...name, '--issuer', 'http://as.example', '--origin', world.rs.origin], { name: 'insecure-url', message: /plain http/ });
    await refused([...name, '--issuer', world.as.issuer], { name: 'invalid-argument', message: /where the profile's tokens may go/ });
    await refused([...name, '--issuer', `${world.as.issuer}/`, '--origin', world.rs.origin], { name: 'server-misbehaved', message: /another issuer/, stage: 'discovery' });
    assert.equal(world.as.requests.filter(({ path }) => path === '/reg').length, from);
  });

  test('at a server that has no registration endpoint, or is not there', async (t) => {
    const closed = await startAuthorizationServer({ tls: world.authority.tls });
    await refused(['--name', 'x', '--issuer', closed.issuer, '--origin', world.rs.origin], { name: 'server-misbehaved', message: /no registration_endpoint \(RFC 7591\)/, next: /by hand/ });
    await closed.close();
    await refused(['--name', 'x', '--issuer', closed.issuer, '--origin', world.rs.origin], { name: 'server-unreachable', message: /./, stage: 'discovery' });
  });

  test('at a server whose answer is no good', async (t) => {
    const server = await startScriptedServer({ tls: world.authority.tls });
    t.after(server.close);
    server.metadata = { registration_endpoint: `${server.origin}/reg`, token_endpoint_auth_methods_supported: ['client_secret_basic', 'private_key_jwt', 'none'] };
    const good = { client_id: 'given', token_endpoint_auth_method: 'private_key_jwt' };
    const args = ['--name', 'unlucky', '--issuer', server.issuer, '--origin', world.rs.origin];
    const asked = [...args, '--client-authentication', 'private_key_jwt'];
    const bad = { name: 'server-misbehaved' };
    for (const [answer, expected, how = args] of [
      [[400, { error: 'invalid_client_metadata', error_description: 'no such thing' }], { name: 'server-refused', error: 'invalid_client_metadata', message: /refuses the registration: invalid_client_metadata/ }],
      [[403, { error: 'access_denied' }], { name: 'server-refused', error: 'access_denied', message: /does not let everybody register/ }],
      [[503, ''], { name: 'server-unavailable', message: /status 503/ }],
      [[302, '', { Location: world.as.issuer }], { ...bad, message: /status 302/ }],
      [[201, 'hello'], { ...bad, message: /registration endpoint/ }],
      [[201, {}], { ...bad, message: /no usable client_id/ }],
      [[201, { client_id: 7 }], { ...bad, message: /no usable client_id/ }],
      [[201, { client_id: 'a\nb' }], { ...bad, message: /no usable client_id/ }],
      [[201, { client_id: ' a' }], { ...bad, message: /no usable client_id/ }],
      [[201, { ...good, token_endpoint_auth_method: 'client_secret_basic' }], { ...bad, message: /no usable client_secret/ }, args],
      [[201, { ...good, token_endpoint_auth_method: 'client_secret_basic', client_secret: 'x' }], { ...bad, message: /client_secret_basic, which is weaker than private_key_jwt/ }, asked],
      [[201, { ...good, token_endpoint_auth_method: 'none' }], { ...bad, message: /none, which is weaker than private_key_jwt/ }, asked],
      [[201, { ...good, token_endpoint_auth_method: 'tls_client_auth' }], { ...bad, message: /which was not asked for/ }],
      [[201, { ...good, grant_types: ['implicit'] }], { ...bad, message: /without the grant authorization_code/ }],
      [[201, { ...good, client_secret: 'a\nkey = other', token_endpoint_auth_method: 'client_secret_post' }], { ...bad, message: /no usable client_secret/ }],
    ]) {
      server.token = (respond) => respond(...answer);
      await refused(how, expected);
    }
    server.token = (_respond, { req }) => req.socket.destroy();
    await refused(args, { name: 'server-unreachable', message: /./ });
  });

  test('for whoever is let in, but is not the agent\'s user', async () => {
    assertRoot();
    const theirs = await makeWorld({ servers: false, agent: { 'allow-users': 'nobody' }, profiles: {} });
    try {
      for (const path of [theirs.dir, join(theirs.dir, 'run'), dirname(theirs.socket)]) await chmod(path, 0o711);
      const binary = join(theirs.dir, 'dpop');
      await copyFile(dpopBinary, binary);
      await chmod(binary, 0o755);
      const before = await readFile(theirs.configPath, 'utf8');
      const member = { uid: nobody.uid, gid: (await stat(theirs.socket)).gid }; // of the socket's group
      const { status, stderr } = await run(binary, ['register', '--name', 'x', '--issuer', 'https://as.invalid', '--origin', 'https://a.invalid'],
        { env: theirs.environment, ...member });
      assert.equal(status, 3, stderr);
      assert.match(stderr, /uid 65534 may not register clients/);
      assert.equal(await readFile(theirs.configPath, 'utf8'), before);
    } finally {
      await theirs.stop();
    }
  });
});

test('a server that registers another client authentication than the default is followed, secret and all', async (t) => {
  const server = await startScriptedServer({ tls: world.authority.tls });
  t.after(server.close);
  server.metadata = { registration_endpoint: `${server.origin}/reg`, token_endpoint_auth_methods_supported: ['client_secret_basic', 'private_key_jwt'] };
  const secret = 'a secret: 100% "theirs" = #1';
  let sent;
  server.token = (answer, request) => (request.path === '/reg'
    ? answer(201, { client_id: 'given:id', token_endpoint_auth_method: 'client_secret_basic', client_secret: secret, client_secret_expires_at: 0, scope: 'read' })
    : ((sent = request), answer(200, bearerOf({ scope: 'read' }))));
  const { status, stdout, stderr } = await register('followed', '--issuer', server.issuer, '--origin', world.rs.origin, '--grant', 'client_credentials', '--scope', 'read admin');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^authentication +client_secret_basic$/m);
  assert.equal((await sectionOf('followed')).scope, 'read', 'what the server allows');
  await world.ready();
  await world.agent.token('followed');
  assert.equal(sent.basic, `${encodeURIComponent('given:id')}:${new URLSearchParams({ s: secret }).toString().slice(2)}`);
});

test('two registrations at the same time: one after the other, or one is told that the other is at work', async () => {
  const names = ['left', 'right'];
  const ended = await Promise.all(names.map((name) => register(name, ...atIssuer())));
  const good = ended.filter(({ status }) => status === 0).length;
  assert.ok(good >= 1, ended.map(({ stderr }) => stderr).join());
  for (const [i, name] of names.entries()) {
    if (ended[i].status !== 0) assert.match(ended[i].stderr, /another registration is at work|restarting|restarted/);
    assert.equal((await sectionOf(name)) !== undefined, ended[i].status === 0, name);
  }
});
