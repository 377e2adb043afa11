// The configuration file: every mistake is named with file and line, and a reload with a mistake changes nothing.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentBinary, makeWorld, run, showLogOnFailure, until } from './world.mjs';
import { requestResource } from './resource-request.mjs';

let world, file;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ env: (dir) => ({ CREDENTIALS_DIRECTORY: join(dir, 'credentials') }) });
  file = join(world.dir, 'tried.conf');
});
after(() => world?.stop());

const key = ['[key k]', 'uri = pkcs11:token=t;object=o?module-path=/usr/lib/softhsm/libsofthsm2.so', 'pin-file = /p'];
const profile = ['[profile p]', 'key = k', 'issuer = https://as.example', 'client-id = c', 'client-secret-file = /s', 'origins = https://api.example'];
const without = (lines, option) => lines.filter((line) => !line.startsWith(option));
const swap = (lines, line) => [...without(lines, line.split(' ')[0]), line];

// What the agent says when it is started with this file, which it must refuse.
async function refusal(lines) {
  await writeFile(file, [lines].flat().join('\n'), { mode: 0o600 });
  const { status, stderr } = await run(agentBinary, ['--config', file, '--socket', join(world.dir, 'tried/socket')], { env: world.environment, timeout: 10_000 });
  assert.equal(status, 1, stderr);
  return stderr;
}

describe('a mistake in the configuration is an error that names file and line:', () => {
  // what, lines, line number, message
  for (const [what, lines, number, message] of [
    ['an unknown option', ['[agent]', 'log-level = info', 'colour = blue'], 3, /unknown option "colour" in section \[agent\]/],
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
    ['private_key_jwt without an issuer', [...key, ...without(without(profile, 'issuer'), 'client-secret'), 'token-endpoint = https://as.example/t',
      'client-authentication = private_key_jwt'], 4, /lacks the option "issuer"/],
    ['a profile without its secret', [...key, ...without(profile, 'client-secret-file')], 4, /client-secret-file and client-secret-credential/],
    ['a profile with two secrets', [...key, ...profile, 'client-secret-credential = s'], 4, /one of client-secret-file and client-secret-credential/],
    ['a secret that is not used', [...key, ...profile, 'client-authentication = private_key_jwt'], 4, /does not use/],
    ['client_credentials without client authentication', [...key, ...without(profile, 'client-secret'), 'client-authentication = none'], 4, /other than none/],
    ['a key that does not exist', [...key, ...swap(profile, 'key = other')], 4, /no \[key other\]/],
    ['a client-key that does not exist', [...key, ...without(profile, 'client-secret'), 'client-authentication = private_key_jwt', 'client-key = other'], 4, /no \[key other\]/],
    ['a bad PKCS#11 URI', ['[key k]', 'uri = pkcs11:token=a;token=b', 'pin-file = /p'], 2, /uri: /],
    ['a PKCS#11 URI with an unknown attribute', ['[key k]', 'uri = pkcs11:token=a;colour=b', 'pin-file = /p'], 2, /uri: /],
    ['a PIN in the PKCS#11 URI', ['[key k]', 'uri = pkcs11:token=a?pin-value=1234', 'pin-file = /p'], 2, /uri: .*pin-value/],
    ['plain http in an issuer', [...key, ...swap(profile, 'issuer = http://as.example')], 9, /issuer: plain http is refused/],
    ['plain http on loopback without allow-http-loopback', [...key, ...swap(profile, 'issuer = http://127.0.0.1:8080')], 9, /plain http is refused/],
    ['plain http elsewhere in spite of allow-http-loopback', [...key, ...swap(profile, 'issuer = http://as.example'), 'allow-http-loopback = yes'], 9, /plain http is refused/],
    ['an issuer that is no URL', [...key, ...swap(profile, 'issuer = as.example')], 9, /issuer: /],
    ['an origin with a path', [...key, ...swap(profile, 'origins = https://api.example https://b.example/path')], 9, /scheme, host and port only/],
    ['an origin that is no URL', [...key, ...swap(profile, 'origins = api.example')], 9, /origins: /],
    ['a plain http origin', [...key, ...swap(profile, 'origins = http://api.example')], 9, /plain http is refused/],
    ['a resource that is no absolute URI', [...key, ...profile, 'resource = api'], 10, /absolute URI/],
    ['a form field without a name', [...key, ...profile, 'form = =x'], 4, /name=value/],
    ['control characters', ['[agent]', 'state-folder = /a\x07b'], 2, /control characters/],
  ]) {
    test(what, async () => {
      const said = await refusal(lines);
      assert.ok(said.includes(`${file}:${number}: `), `${file}:${number} in: ${said}`);
      assert.match(said, message);
    });
  }
});

describe('the configuration', () => {
  test('may have ; and # in values, long values, CR LF line ends, blank lines and comments', async () => {
    const long = `https://api.example/${'x'.repeat(4000)}`;
    const lines = ['; comment', '# comment', '', '[agent]\r', '  log-level=debug  ', ...key, ...profile,
      `resource = ${long}`, 'resource = urn:a;b', 'form = a=b;c #d', '\tscope =  read  '];
    await writeFile(file, lines.join('\n'), { mode: 0o600 });
    const tried = await run(agentBinary, ['--config', file, '--socket', '/nowhere/at/all'], { env: world.environment, timeout: 10_000 });
    assert.match(tried.stderr, /cannot make the folder/, 'the file is taken: the socket is what fails');
  });

  test('may be written by nobody else, and is a regular file', async () => {
    await writeFile(file, '[agent]\n', { mode: 0o600 });
    for (const mode of [0o620, 0o602, 0o666]) {
      await chmod(file, mode);
      const { status, stderr } = await run(agentBinary, ['--config', file], { env: world.environment, timeout: 10_000 });
      assert.equal(status, 1);
      assert.match(stderr, new RegExp(`others may write it \\(mode 0${mode.toString(8)}\\); chmod go-w it`));
    }
    await rm(file);
    await mkdir(file);
    assert.match((await run(agentBinary, ['--config', file], { env: world.environment, timeout: 10_000 })).stderr, /not a regular file/);
    await rm(file, { recursive: true });
  });

  test('with a mistake is not taken at SIGHUP: the log names file and line, and all works on with the old one', async () => {
    const before = await world.pids();
    const token = await world.agent.token('basic');
    for (const broken of ['[agent]\ncolour = blue\n', '[profile x]\n', 'nonsense']) {
      const { length } = await world.log();
      await world.writeConfigText(broken);
      world.process.kill('SIGHUP');
      const said = await until('the agent says so', async () => (await world.log()).slice(length).match(/.*; the configuration in use stays/));
      assert.match(said[0], new RegExp(`${world.configPath}:\\d+: `));
    }
    const { length } = await world.log();
    await rename(world.configPath, `${world.configPath}.gone`);
    world.process.kill('SIGHUP');
    await until('the agent says that the file is gone', async () => /is gone; the configuration in use stays/.test((await world.log()).slice(length)));
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
    const state = await until('the key is refused', async () => (await world.agent.keys()).find((info) => info.state === 'wrong key'));
    assert.match(state.reason, /thumbprint|another key/);
    await assert.rejects(world.agent.proof({ profile: 'basic', htm: 'GET', htu: world.rs.origin }), { name: 'key-wrong' });
    await world.configure();
  });

  test('may name systemd credentials for PIN and client secret', async () => {
    const folder = join(world.dir, 'credentials');
    await mkdir(folder, { mode: 0o700 });
    await copyFile(world.pinFile.work, join(folder, 'work.pin'));
    await copyFile(world.secretFiles.basic, join(folder, 'basic.secret'));
    await world.writeConfig({
      profiles: { basic: { 'client-secret-file': null, 'client-secret-credential': 'basic.secret' }, none: { 'client-secret-file': null, 'client-secret-credential': 'no.secret', scope: 'write' } },
      sections: { 'key work': { 'pin-file': null, 'pin-credential': 'work.pin' } },
    });
    await world.reload();
    assert.equal((await requestResource(world)).status, 200);
    await assert.rejects(world.agent.token('none'), { name: 'secret-unreadable', message: /no\.secret/ });
    await world.configure();
  });
});
