// The configuration file: every mistake is named with file and line, and a reload with a mistake changes nothing.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentBinary, entries, makeWorld, run, showLogOnFailure, startAgent, until } from './world.mjs';
import { requestResource } from './resource-request.mjs';

let world, file;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ env: (dir) => ({ CREDENTIALS_DIRECTORY: join(dir, 'credentials') }) });
  file = join(world.dir, 'tried.conf');
});
after(() => world?.stop());

const key = ['[key k]', 'uri = pkcs11:token=t;object=o?module-path=/usr/lib/softhsm/libsofthsm2.so', 'pin-file = /p'];
const profile = ['[profile p]', 'key = k', 'issuer = https://as.example', 'client-id = c', 'client-secret-file = /s',
  'origins = https://api.example'];
const without = (lines, option) => lines.filter((line) => !line.startsWith(option));
const swap = (lines, line) => [...without(lines, line.split(' ')[0]), line];

// What the agent says when it is started with this file, which it must refuse.
async function refusal(lines) {
  await writeFile(file, [lines].flat().join('\n'), { mode: 0o600 });
  const { status, stderr } = await run(agentBinary, ['--config', file, '--socket', join(world.dir, 'tried/socket')],
    { env: world.environment, timeout: 10_000 });
  assert.equal(status, 1, stderr);
  return stderr;
}

const post = 'client-authentication = client_secret_post';
// the authentication is line 9
const jwt = [...without(profile, 'client-secret-file'), 'client-authentication = private_key_jwt'];
const tls = [...without(profile, 'client-secret-file'), 'client-authentication = tls_client_auth',
  'client-certificate-file = /c'];
const grant = (name) => [...profile, `grant = ${name}`]; // line 10
const exchange = grant('token-exchange'), bearer = grant('jwt-bearer'), code = grant('authorization_code');
const fapi = [...jwt, 'grant = authorization_code', 'fapi2 = yes']; // lines 10 and 11

// what, lines, line number, message
const mistakes = [
  ['an unknown option', ['[agent]', 'log-level = info', 'colour = blue'], 3,
    /unknown option "colour" in section \[agent\]/],
  ['an option of another section', ['# comment', '', '[agent]', 'uri = x'], 4, /unknown option "uri"/],
  ['an unknown section', ['[server]'], 1, /\[agent\], \[key NAME\] or \[profile NAME\]/],
  ['a section without its name', ['[key]'], 1, /wants a name/],
  ['a section with a bad name', ['[key a/b]'], 1, /wants a name/],
  ['[agent] with a name', ['[agent x]'], 1, /takes no name/],
  ['a section that is not closed', ['[agent'], 1, /section line/],
  ['an option before the first section', ['log-level = info'], 1, /before the first section/],
  ['a line that is none', ['[agent]', 'log-level'], 2, /neither a \[section\]/],
  ['an option without a value', ['[agent]', 'log-level ='], 2, /has no value/],
  ['a section twice', [...key, ...key], 4, /\[key k\] stands twice/],
  ['an option twice', ['[agent]', 'log-level = info', 'log-level = debug'], 3, /stands twice/],
  ['a choice that is none', ['[agent]', 'log-level = loud'], 2, /must be one of: error warning info debug/],
  ['a number out of range', [...key, 'workers = 0'], 4, /whole number from 1 to 64/],
  ['a number that is none', [...key, 'sign-timeout = 5s'], 4, /whole number from 1 to 300/],
  ['neither yes nor no', [...key, 'allow-imported = true'], 4, /yes or no/],
  ['a path that is not absolute', ['[agent]', 'state-folder = here'], 2, /absolute path/],
  ['a key without a URI', ['[key k]', 'pin-file = /p'], 1, /uri/],
  ['a profile without a key', [...key, ...without(profile, 'key')], 4, /lacks the option "key"/],
  ['a profile without a client-id', [...key, ...without(profile, 'client-id')], 4, /lacks the option "client-id"/],
  ['a profile without origins', [...key, ...without(profile, 'origins')], 4, /lacks the option "origins"/],
  ['a profile without an issuer', [...key, ...without(profile, 'issuer')], 4, /lacks the option "issuer"/],
  ['private_key_jwt without an issuer',
    [...key, ...without(without(profile, 'issuer'), 'client-secret'), 'token-endpoint = https://as.example/t',
    'client-authentication = private_key_jwt'], 4, /lacks the option "issuer"/],
  ['a profile without its secret', [...key, ...without(profile, 'client-secret-file')], 4,
    /client-secret-file and client-secret-credential/],
  ['a profile with two secrets', [...key, ...profile, 'client-secret-credential = s'], 4,
    /one of client-secret-file and client-secret-credential/],
  ['a secret that is not used', [...key, ...profile, 'client-authentication = private_key_jwt'], 8, /does not use/],
  ['client_credentials without client authentication',
    [...key, ...without(profile, 'client-secret'), 'client-authentication = none'], 9, /other than none/],
  ['a key that does not exist', [...key, ...swap(profile, 'key = other')], 9, /no \[key other\]/],
  ['a client-key that does not exist', [...key, ...without(profile, 'client-secret'),
    'client-authentication = private_key_jwt', 'client-key = other'], 10, /no \[key other\]/],
  ['a bad PKCS#11 URI', ['[key k]', 'uri = pkcs11:token=a;token=b', 'pin-file = /p'], 2, /uri: /],
  ['a PKCS#11 URI with an unknown attribute', ['[key k]', 'uri = pkcs11:token=a;colour=b', 'pin-file = /p'], 2,
    /uri: /],
  ['a PIN in the PKCS#11 URI', ['[key k]', 'uri = pkcs11:token=a?pin-value=1234', 'pin-file = /p'], 2,
    /uri: .*pin-value/],
  ['plain http in an issuer', [...key, ...swap(profile, 'issuer = http://as.example')], 9,
    /issuer: plain http is refused/],
  ['plain http on loopback without allow-http-loopback', [...key, ...swap(profile, 'issuer = http://127.0.0.1:8080')],
    9, /plain http is refused/],
  ['plain http elsewhere in spite of allow-http-loopback', [...key, ...swap(profile, 'issuer = http://as.example'),
    'allow-http-loopback = yes'], 9, /plain http is refused/],
  ['an issuer that is no URL', [...key, ...swap(profile, 'issuer = as.example')], 9, /issuer: /],
  ['an origin with a path', [...key, ...swap(profile, 'origins = https://api.example https://b.example/path')], 9,
    /scheme, host and port only/],
  ['an origin that is no URL', [...key, ...swap(profile, 'origins = api.example')], 9, /origins: /],
  ['a plain http origin', [...key, ...swap(profile, 'origins = http://api.example')], 9, /plain http is refused/],
  ['a resource that is no absolute URI', [...key, ...profile, 'resource = api'], 10, /absolute URI/],
  ['a form field without a name', [...key, ...profile, 'form = =x'], 10, /name=value/],
  ['a form field that the agent sets', [...key, ...profile, 'form = grant_type=password'], 10,
    /form: the field grant_type is the agent's to set/],
  ['an authorization-form field that the agent sets', [...key, ...code, 'authorization-form = state=x'], 11,
    /the agent's to set/],
  ['a device-form field that the agent sets', [...key, ...code, 'device-form = scope=x'], 11, /the agent's to set/],
  ['a revocation-form field that the agent sets', [...key, ...profile, 'revocation-form = token=x'], 10,
    /the agent's to set/],
  ['an introspection-form field that the agent sets', [...key, ...profile, 'introspection-form = client_id=x'], 10,
    /the agent's to set/],
  ['a client secret for a server that only a resource names',
    [...key, ...without(profile, 'issuer'), 'resource = https://api.example'], 4,
    /only to a server that the configuration names/],
  ['a resource that cannot name the server', [...key, ...without(jwt, 'issuer'), 'resource = urn:x'], 9, /resource: /],
  ['authorization_code without its endpoint',
    [...key, ...without(code, 'issuer'), 'token-endpoint = https://as.example/t'], 9, /authorization endpoint/],
  ['an endpoint with a fragment', [...key, ...profile, 'revocation-endpoint = https://as.example/#r'], 10,
    /no fragment/],
  ['an endpoint in plain http', [...key, ...profile, 'introspection-endpoint = http://as.example/i'], 10,
    /plain http is refused/],
  ['an option of another grant', [...key, ...profile, 'redirect-uri = http://127.0.0.1/'], 10,
    /redirect-uri: belongs to the grant authorization_code; this profile's is client_credentials/],
  ['device-form without a user', [...key, ...profile, 'device-form = a=b'], 10, /authorization_code or device_code/],
  ['a subject token without token-exchange', [...key, ...profile, 'subject-token-file = /s'], 10, /token-exchange/],
  ['an assertion without jwt-bearer', [...key, ...profile, 'assertion-subject = s'], 10, /jwt-bearer/],
  ['dpop = refresh-only without refresh tokens', [...key, ...profile, 'dpop = refresh-only'], 10, /refresh tokens/],
  ['a client-key that is not used', [...key, ...profile, 'client-key = k'], 10, /client-key: only private_key_jwt/],
  ['tls_client_auth without a certificate', [...key, ...without(tls, 'client-certificate-file')], 4,
    /client-certificate-file/],
  ['a certificate that is not used', [...key, ...profile, 'client-certificate-file = /c'], 10, /only tls_client_auth/],
  ['tls_client_auth in plain http', [...key, ...swap(tls, 'issuer = http://127.0.0.1:1'), 'allow-http-loopback = yes'],
    10, /needs https/],
  ['a subject-token-profile that does not exist', [...key, ...exchange, 'subject-token-profile = other'], 11,
    /no \[profile other\]/],
  ['a subject-token-profile that is the profile itself', [...key, ...exchange, 'subject-token-profile = p'], 11,
    /token of its own/],
  ['two subject tokens', [...key, ...exchange, 'subject-token-profile = p', 'subject-token-file = /s'], 12,
    /one subject token/],
  ['a token type that is no URI', [...key, ...exchange, 'requested-token-type = jwt'], 11, /absolute URI/],
  ['an assertion-file and a subject', [...key, ...bearer, 'assertion-file = /a', 'assertion-subject = s'], 11,
    /assertion-subject has no use/],
  ['an assertion-issuer without a subject', [...key, ...bearer, 'assertion-issuer = i'], 11, /assertion-subject names/],
  ['an assertion-key that does not exist', [...key, ...bearer, 'assertion-subject = s', 'assertion-key = z'], 12,
    /no \[key z\]/],
  ['a redirect-uri elsewhere', [...key, ...code, 'redirect-uri = http://app.example/cb'], 11,
    /comes back to this machine/],
  ['a redirect-uri with a query', [...key, ...code, 'redirect-uri = http://127.0.0.1/cb?x'], 11, /no query/],
  ['authorization-details that are no array', [...key, ...profile, 'authorization-details = {"type":"x"}'], 10,
    /JSON array/],
  ['a trace-file that is read', [...key, ...profile, 'trace-file = /s'], 10, /another use/],
  ['fapi2 with a secret', [...key, ...profile, 'fapi2 = yes', post], 11, /fapi2 wants private_key_jwt/],
  ['fapi2 without DPoP', [...key, ...fapi, 'dpop = optional'], 12, /dpop = required/],
  ['fapi2 without pushed requests', [...key, ...fapi, 'pushed-authorization-requests = no'], 12,
    /pushed authorization requests/],
  ['fapi2 with plain http', [...key, ...fapi, 'allow-http-loopback = yes'], 12, /https everywhere/],
  ['fapi2 with an endpoint', [...key, ...fapi, 'token-endpoint = https://as.example/t'], 12, /from metadata only/],
  ['fapi2 on a device', [...key, ...swap(fapi, 'grant = device_code')], 11, /fapi2 gets a user's consent/],
  ['fapi2 without an issuer', [...key, ...without(fapi, 'issuer'), 'resource = https://api.example'], 4,
    /lacks the option "issuer"/],
  ['control characters', ['[agent]', 'state-folder = /a\x07b'], 2, /control characters/],
];

describe('a mistake in the configuration is an error that names file and line:', () => {
  for (const [what, lines, number, message] of mistakes) {
    test(what, async () => {
      const said = await refusal(lines);
      assert.ok(said.includes(`${file}:${number}: `), `${file}:${number} in: ${said}`);
      assert.match(said, message);
    });
  }
});

// The agent's processes, its token and its time since the start: what a refused reload leaves as it was.
async function standing() {
  const connection = await world.connect();
  const { processes, uptime } = await connection.status();
  const { access_token } = await connection.token('basic');
  connection.close();
  return { pids: Object.fromEntries(processes.map(({ name, pid }) => [name, pid])), access_token, uptime };
}

describe('a reload is all or nothing:', () => {
  for (const [what, lines, number, message] of mistakes) {
    test(`${what} leaves everything as it was, and the line is told to who asked`, async () => {
      const before = await standing();
      await world.writeConfigText([lines].flat().join('\n'));
      const connection = await world.connect();
      await assert.rejects(connection.reload(), (error) => {
        assert.equal(error.name, 'configuration');
        assert.ok(error.message.includes(`${world.configPath}:${number}: `), error.message);
        assert.match(error.message, message);
        return true;
      });
      assert.equal((await connection.token('basic')).access_token, before.access_token, 'on the same connection');
      connection.close();
      const { uptime, ...after } = await standing();
      assert.deepEqual(after, { pids: before.pids, access_token: before.access_token });
    });
  }

  test('dpop reload names file and line, or the new configuration is in use when it returns', async () => {
    await world.writeConfigText('[agent]\ncolour = blue\n');
    const { pids } = await standing();
    const refused = await world.dpop('reload');
    assert.notEqual(refused.status, 0);
    assert.ok(refused.stderr.includes(`${world.configPath}:2: unknown option "colour"`), refused.stderr);
    assert.deepEqual((await standing()).pids, pids);
    for (const name of ['one', 'two', 'three']) {
      await world.writeConfig({ profiles: { basic: {}, [name]: {} } });
      const { status, stderr } = await world.dpop('reload');
      assert.equal(status, 0, stderr);
      const names = JSON.parse((await world.dpop('--json', 'profile', 'list')).stdout).map((profile) => profile.name);
      assert.deepEqual(names, ['basic', name]);
    }
    await world.configure();
  });

  test('the time since the start counts on', async () => {
    const { pids } = await standing();
    await until('the agent is three seconds old', async () => (await standing()).uptime >= 3);
    await world.reload();
    const after = await standing();
    assert.ok(after.uptime >= 3, `${after.uptime} s`);
    assert.notEqual(after.pids.front, pids.front);
  });

  test('a state folder that another agent uses is refused', async () => {
    const taken = join(world.dir, 'taken');
    const other = join(world.dir, 'other.conf');
    await writeFile(other, `[agent]\nstate-folder = ${taken}\n`, { mode: 0o600 });
    const second = await startAgent({ args: ['--config', other, '--socket', join(world.dir, 'other/socket')],
      env: world.environment, logPath: join(world.dir, 'other.log') });
    try {
      await until('the other agent has locked it', () => entries(taken).then((names) => names.includes('lock')));
      const before = await standing();
      await world.writeConfig({ sections: { agent: { 'state-folder': taken } } });
      const connection = await world.connect();
      await assert.rejects(connection.reload(),
        { name: 'exists', message: /another dpop-agent uses the state folder/ });
      connection.close();
      assert.deepEqual((await standing()).pids, before.pids);
    } finally {
      await second.stop();
    }
    await world.configure();
  });

  test('a new family that cannot be started gives way to one with the configuration before', async () => {
    const { access_token } = await standing();
    await world.writeConfig({ profiles: { basic: {}, more: {} }, sections: { 'key work': { workers: 64 } } });
    // Each child costs the supervisor a descriptor: there is room for the old family only.
    const limited = await run('prlimit', ['--pid', String(world.process.pid), '--nofile=40']);
    assert.equal(limited.status, 0, limited.stderr);
    const { length } = await world.log();
    const { front } = await world.pids();
    world.process.kill('SIGHUP');
    await until('the agent says so', async () =>
      /back to the configuration before/.test((await world.log()).slice(length)));
    await world.ready(undefined, { frontIsNot: front });
    assert.deepEqual((await world.agent.profiles()).map(({ name }) => name), ['basic']);
    assert.equal((await requestResource(world)).status, 200);
    assert.notEqual(access_token, undefined);
    await run('prlimit', ['--pid', String(world.process.pid), '--nofile=4096']);
    await world.configure();
  });

  test('twenty in a row under load lose no request: each is answered, '
    + 'or the client knows that nobody has read it', async (t) => {
    const count = { good: 0, unread: 0 };
    let running = true;
    const open = () => until('the agent answers', async () => {
      const connection = await world.connect();
      connection.socket.on('error', (error) => { connection.failure = error.code; });
      return connection;
    });
    // Each client has a request under way all the time. A write that fails (EPIPE), and a connection that ends with
    // what was written unread (ECONNRESET), tell that nobody has begun with it.
    async function client(ask) {
      let connection = await open();
      while (running) {
        try {
          await ask(connection);
          count.good += 1;
        } catch (error) {
          if (error.message !== 'the connection is closed' && !['EPIPE', 'ECONNRESET'].includes(connection.failure))
            throw error;
          count.unread += 1;
          await connection.closed;
          connection = await open();
        }
      }
      connection.close();
    }
    const proof = (connection) => connection.proof({ profile: 'basic', htm: 'GET', htu: world.rs.origin });
    const token = (connection) => connection.token('basic');
    const clients = [proof, proof, token, token].map(client);
    const failed = Promise.all(clients);
    failed.catch(() => {});
    for (let i = 0; i < 20; i += 1) {
      const { status, stderr } = await world.dpop('reload');
      assert.equal(status, 0, stderr);
      await until('the key is ready', async () =>
        (await world.dpop('proof', '--profile', 'basic', 'GET', world.rs.origin)).status === 0);
    }
    running = false;
    await failed;
    t.diagnostic(JSON.stringify(count));
    assert.ok(count.good > 100, JSON.stringify(count));
    await world.ready();
  });
});

describe('the configuration', () => {
  test('may have ; and # in values, long values, CR LF line ends, blank lines and comments', async () => {
    const long = `https://api.example/${'x'.repeat(4000)}`;
    const lines = ['; comment', '# comment', '', '[agent]\r', '  log-level=debug  ', ...key, ...profile,
      `resource = ${long}`, 'resource = urn:a;b', 'form = a=b;c #d', '\tscope =  read  '];
    await writeFile(file, lines.join('\n'), { mode: 0o600 });
    const tried = await run(agentBinary, ['--config', file, '--socket', '/nowhere/at/all'],
      { env: world.environment, timeout: 10_000 });
    assert.match(tried.stderr, /cannot make the folder/, 'the file is taken: the socket is what fails');
  });

  test('may be written by nobody else, and is a regular file', async () => {
    await writeFile(file, '[agent]\n', { mode: 0o600 });
    for (const mode of [0o620, 0o602, 0o666]) {
      await chmod(file, mode);
      const { status, stderr } = await run(agentBinary, ['--config', file],
        { env: world.environment, timeout: 10_000 });
      assert.equal(status, 1);
      assert.match(stderr, new RegExp(`others may write it \\(mode 0${mode.toString(8)}\\); chmod go-w it`));
    }
    await rm(file);
    await mkdir(file);
    assert.match((await run(agentBinary, ['--config', file], { env: world.environment, timeout: 10_000 })).stderr,
      /not a regular file/);
    await rm(file, { recursive: true });
  });

  test('with a mistake is not taken at SIGHUP: the log names file and line, '
    + 'and all works on with the old one', async () => {
    const before = await world.pids();
    const token = await world.agent.token('basic');
    for (const broken of ['[agent]\ncolour = blue\n', '[profile x]\n', 'nonsense']) {
      const { length } = await world.log();
      await world.writeConfigText(broken);
      world.process.kill('SIGHUP');
      const said = await until('the agent says so', async () =>
        (await world.log()).slice(length).match(/.*; the configuration in use stays/));
      assert.match(said[0], new RegExp(`${world.configPath}:\\d+: `));
    }
    const { length } = await world.log();
    await rename(world.configPath, `${world.configPath}.gone`);
    world.process.kill('SIGHUP');
    await until('the agent says that the file is gone', async () =>
      /is gone; put it back; the configuration in use stays/.test((await world.log()).slice(length)));
    assert.deepEqual(await world.pids(), before);
    assert.equal((await world.agent.token('basic')).access_token, token.access_token);
    await world.writeConfig();
    await world.reload();
    assert.notDeepEqual(await world.pids(), before);
    assert.equal((await requestResource(world)).status, 200);
  });

  test('is read again at SIGHUP, and changes of it count', async () => {
    await world.configure({ profiles: { basic: {}, another: {} } });
    assert.deepEqual((await world.agent.profiles()).map(({ name }) => name), ['basic', 'another']);
    await world.configure();
    await assert.rejects(world.agent.token('another'), { name: 'unknown-profile' });
  });

  test('is read again when it changed in the middle of a reload', async () => {
    await world.writeConfig({ profiles: { basic: {}, first: {} } });
    world.process.kill('SIGHUP');
    await world.writeConfig({ profiles: { basic: {}, last: {} } });
    world.process.kill('SIGHUP');
    await until('the last configuration is in use', async () => {
      const connection = await world.connect();
      const names = (await connection.profiles()).map(({ name }) => name);
      connection.close();
      return names.includes('last');
    }, { timeout: 5000 });
    await world.configure();
  });

  test('pins a key by its thumbprint: another key behind the URI is refused', async () => {
    await world.writeConfig({ sections: { 'key work': { thumbprint: 'A'.repeat(43) } } });
    await world.reload([]);
    const state = await until('the key is refused', async () =>
      (await world.agent.keys()).find((info) => info.state === 'wrong key'));
    assert.match(state.reason, /thumbprint|another key/);
    await assert.rejects(world.agent.proof({ profile: 'basic', htm: 'GET', htu: world.rs.origin }),
      { name: 'key-wrong' });
    await world.configure();
  });

  test('may name systemd credentials for PIN and client secret', async () => {
    const folder = join(world.dir, 'credentials');
    await mkdir(folder, { mode: 0o700 });
    await copyFile(world.pinFile.work, join(folder, 'work.pin'));
    await copyFile(world.secretFiles.basic, join(folder, 'basic.secret'));
    await world.writeConfig({
      profiles: { basic: { 'client-secret-file': null, 'client-secret-credential': 'basic.secret' },
        none: { 'client-secret-file': null, 'client-secret-credential': 'no.secret', scope: 'write' } },
      sections: { 'key work': { 'pin-file': null, 'pin-credential': 'work.pin' } },
    });
    await world.reload();
    assert.equal((await requestResource(world)).status, 200);
    await assert.rejects(world.agent.token('none'), { name: 'secret-unreadable', message: /no\.secret/ });
    await world.configure();
  });
});
