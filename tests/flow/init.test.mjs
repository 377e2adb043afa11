// dpop init beside the usual SoftHSM token: a token that is initialised already, with its PIN from a file; a TPM; and
// what is left when it fails: nothing.

import assert from 'node:assert/strict';
import { stat, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { makeTpm } from './tpm.mjs';
import { entries, makeWorld, until } from './world.mjs';

const mode = async (path) => ((await stat(path)).mode & 0o777).toString(8);

async function emptyWorld(t, options) {
  const world = await makeWorld({ servers: false, keys: [], ...options });
  t.after(world.stop);
  return world;
}

// What init has left in the agent's folders.
async function left(world) {
  const names = [await entries(world.stateFolder), await entries(join(world.dir, 'config/dpop-agent'))];
  return names.flat().filter((name) => name !== 'lock');
}

describe('init with a token that is initialised', () => {
  let owner, token, options, pin;
  before(async () => {
    owner = await makeWorld({ servers: false }); // its token is "dpop-agent-work", its key "work"
    pin = (await readFile(owner.pinFile.work, 'utf8')).trim();
    token = owner.keyUri.work.replace(/;object=work;type=private/, '');
    options = ['--token', token, '--environment', `SOFTHSM2_CONF=${join(owner.stateFolder, 'softhsm2.conf')}`];
  });
  after(() => owner?.stop());

  test('asks for its PIN by its name, and makes nothing without one', async (t) => {
    const world = await emptyWorld(t);
    const { status, stdout } = await world.dpop('--json', 'init', ...options);
    assert.equal(status, 4);
    const { error } = JSON.parse(stdout);
    assert.deepEqual([error.name, error.stage], ['key-locked', 'PIN']);
    assert.match(error.message, /"dpop-agent-work"/);
    assert.deepEqual(await left(world), []);
  });

  test('takes a wrong PIN to it once, and leaves nothing', async (t) => {
    const world = await emptyWorld(t);
    await writeFile(join(world.dir, 'pin'), 'wrong\n', { mode: 0o600 });
    const { status, stderr } = await world.dpop('init', ...options, '--pin-file', join(world.dir, 'pin'));
    assert.equal(status, 4);
    assert.match(stderr, /refused the PIN/);
    assert.deepEqual(await left(world), []);
  });

  test('makes a key in it, whose PIN stays in memory unless it is to be kept', async (t) => {
    for (const keep of [[], ['--keep-pin']]) {
      const world = await emptyWorld(t);
      const name = keep.length > 0 ? 'kept' : 'asked';
      const { status, stdout, stderr } = await world.dpop('--json', 'init', '--name', name, ...options, '--pin-file',
        owner.pinFile.work, ...keep);
      assert.equal(status, 0, stderr);
      const made = JSON.parse(stdout);
      assert.match(made.uri, new RegExp(`object=${name}`));
      assert.ok(!(await readFile(made.configuration, 'utf8')).includes(pin));
      assert.deepEqual(await left(world), [...(keep.length > 0 ? ['kept.pin'] : []), 'agent.conf']);
      if (keep.length > 0) {
        assert.equal(await mode(made.pin_file), '600');
        await world.ready([name]);
      } else {
        await until('the key is locked', async () => {
          const connection = await world.connect();
          const [key] = await connection.keys().finally(() => connection.close());
          return key?.state === 'locked';
        });
      }
    }
  });

  test('takes a key that is there', async (t) => {
    const world = await emptyWorld(t);
    const { status, stdout, stderr } = await world.dpop('--json', 'init', '--name', 'mine', '--token',
      owner.keyUri.work, ...options.slice(2), '--pin-file', owner.pinFile.work, '--keep-pin');
    assert.equal(status, 0, stderr);
    assert.equal(JSON.parse(stdout).thumbprint, owner.jkt.work);
    await world.ready(['mine']);
  });
});

describe('init with a TPM', () => {
  let tpm, environment;
  before(async () => {
    tpm = await makeTpm();
    environment = tpm.environment.filter((line) => !line.startsWith('TPM2_PKCS11_STORE=')); // its own store
  });
  after(() => tpm?.stop());

  test('makes store, token and key, for the agent\'s user alone', async (t) => {
    const world = await emptyWorld(t, { env: tpm.forWorld.env });
    const lines = environment.flatMap((line) => ['--environment', line]);
    const { status, stdout, stderr } = await world.dpop('--json', 'init', '--tpm', ...lines);
    assert.equal(status, 0, stderr);
    const made = JSON.parse(stdout);
    assert.equal(made.token_folder, join(world.stateFolder, 'tpm2'));
    assert.match(made.reason, /TPM/);
    const database = join(made.token_folder, 'tpm2_pkcs11.sqlite3');
    for (const [path, wanted] of [[made.token_folder, '700'], [made.pin_file, '600'], [database, '600']])
      assert.equal(await mode(path), wanted, path);
    const text = await readFile(made.configuration, 'utf8');
    for (const line of [...environment, `TPM2_PKCS11_STORE=${made.token_folder}`])
      assert.ok(text.includes(`\nenvironment = ${line}\n`), line);
    assert.match(text, /^workers = 1$/m);
    await world.ready(['default']);
    assert.equal((await world.agent.keys())[0].jkt, made.thumbprint);
  });

  test('that does not answer leaves nothing, and says what to do', async (t) => {
    const world = await emptyWorld(t, { env: tpm.forWorld.env });
    const nowhere = `TPM2_PKCS11_TCTI=swtpm:path=${join(world.dir, 'nowhere')}`;
    const { status, stderr } = await world.dpop('init', '--tpm', '--environment', nowhere);
    assert.equal(status, 4, stderr);
    assert.match(stderr, /C_Initialize[\s\S]*next: /);
    assert.deepEqual(await left(world), []);
  });
});
