// The life of a key by the dpop command, with the whole agent: generate, import of every format, refusals, delete.
// Rotation is in rotate.test.mjs.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { atTerminal, makeAskpass } from './terminal.mjs';
import { makeTpm } from './tpm.mjs';
import { iniText, makeWorld, parseIni, run, showLogOnFailure, until } from './world.mjs';
import { verifyProof } from './verify-proof.mjs';

const target = { htm: 'GET', htu: 'https://api.invalid/' };
const password = 'päss w%rd';
let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ profiles: { basic: {}, jwt: {} }, key: { origins: 'https://api.invalid' } });
});
after(() => world?.stop());

async function succeeds(...args) {
  const { status, stdout, stderr } = await world.dpop(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}
const json = async (...args) => JSON.parse(await succeeds('--json', ...args));

async function fails(expected, ...args) {
  const { status, stdout, stderr } = await world.dpop(...args);
  assert.equal(status, expected, `${args.filter((arg) => typeof arg !== 'object').join(' ')}: ${stdout}${stderr}`);
  return stderr;
}

const configuration = async () => parseIni(await readFile(world.configPath, 'utf8'));
const at = (name) => join(world.dir, name);

// A proof by the key, once its processes serve; the agent has just been reloaded.
async function signs(name, { kty, crv, x, y }) {
  world.agent.close();
  world.agent = await until('the agent answers', world.connect);
  await until(`${name} is ready`, async () =>
    (await world.agent.keys()).find((key) => key.name === name)?.state === 'ready');
  const { proof } = await world.agent.proof({ key: name, ...target });
  await verifyProof(proof, { ...target, jwk: { kty, crv, x, y } });
}

async function openssl(...args) {
  const { status, stderr } = await run('openssl', args);
  assert.equal(status, 0, `openssl ${args.join(' ')}: ${stderr}`);
}

describe('dpop key generate', () => {
  test('makes a key in the token that signs at once, and cannot leave it', async () => {
    const made = await json('key', 'generate', 'fresh');
    assert.equal(made.configuration, world.configPath);
    await signs('fresh', made.jwk);
    const key = await json('key', 'show', 'fresh');
    assert.deepEqual([key.thumbprint, key.imported, key.uri, key.token],
      [made.thumbprint, false, made.uri, 'dpop-agent-work']);
    assert.deepEqual(key.attributes,
      ['private', 'sensitive', 'always-sensitive', 'never-extractable', 'local', 'sign']);
    const section = (await configuration())['key fresh'];
    assert.deepEqual([section.uri, section.thumbprint, section.workers, section['pin-file']],
      [made.uri, made.thumbprint, '1', world.pinFile.work]);
    await signs('work', world.jwk.work);
  });

  test('takes another key as the pattern, and uses no name twice', async () => {
    const before = await readFile(world.configPath, 'utf8');
    assert.match(await fails(2, 'key', 'generate', 'fresh', '--like', 'work'), /fresh/);
    assert.match(await fails(2, 'key', 'generate', 'more', '--like', 'none'), /none/);
    assert.match(await fails(2, 'key', 'generate', 'more'), /key/); // there are two now
    for (const name of ['../up', 'a b', '']) await fails(2, 'key', 'generate', name, '--like', 'work');
    assert.equal(await readFile(world.configPath, 'utf8'), before);
    await signs('more', (await json('key', 'generate', 'more', '--like', 'fresh')).jwk);
  });
});

describe('dpop key import', () => {
  // Formats that openssl writes: the file, made of a SEC 1 key in PEM, and whether it needs a password.
  const formats = {
    'sec1-pem': { make: (pem, out) => openssl('ec', '-in', pem, '-out', out) },
    'sec1-der': { make: (pem, out) => openssl('ec', '-in', pem, '-outform', 'DER', '-out', out) },
    'sec1-with-parameters': { make: (pem, out) => openssl('ecparam', '-name', 'prime256v1', '-genkey', '-out', out),
      own: true },
    'pkcs8-pem': { make: (pem, out) => openssl('pkcs8', '-topk8', '-nocrypt', '-in', pem, '-out', out) },
    'pkcs8-der': { make: (pem, out) =>
      openssl('pkcs8', '-topk8', '-nocrypt', '-in', pem, '-outform', 'DER', '-out', out) },
    'encrypted-pem': { make: (pem, out) => openssl('pkcs8', '-topk8', '-v2', 'aes-256-cbc', '-passout',
      `file:${at('password')}`, '-in', pem, '-out', out), password: true },
    'encrypted-der': { make: (pem, out) => openssl('pkcs8', '-topk8', '-scrypt', '-passout', `file:${at('password')}`,
      '-in', pem, '-outform', 'DER', '-out', out), password: true },
    pkcs12: {
      make: async (pem, out) => {
        await openssl('req', '-new', '-x509', '-key', pem, '-subj', '/CN=app', '-out', `${out}.crt`);
        await openssl('pkcs12', '-export', '-inkey', pem, '-in', `${out}.crt`, '-passout', `file:${at('password')}`,
          '-out', out);
      },
      password: true,
    },
    jwk: { make: async (pem, out) =>
      writeFile(out, JSON.stringify(createPrivateKey(await readFile(pem)).export({ format: 'jwk' }))) },
  };
  // What the key is, of a file that node can read.
  const publicOf = async (path) => {
    const { d, ...jwk } = createPrivateKey(await readFile(path)).export({ format: 'jwk' });
    assert.ok(d);
    return jwk;
  };
  const makeEc = async (name, curve = 'prime256v1') => {
    await openssl('ecparam', '-name', curve, '-genkey', '-noout', '-out', at(`${name}.pem`));
    return at(`${name}.pem`);
  };

  const shown = ['pkcs8-pem', 'jwk']; // those that are looked at later; the others are deleted at once

  before(() => writeFile(at('password'), password));

  for (const [name, { make, own, password: needed }] of Object.entries(formats)) {
    test(`takes ${name}; the key signs, and is shown as imported`, async () => {
      const pem = await makeEc(name), file = at(name);
      await make(pem, file);
      const jwk = await publicOf(own ? file : pem);
      const made = await json('key', 'import', name, file, '--like', 'work',
        ...(needed ? ['--password-file', at('password')] : []));
      assert.deepEqual([made.name, made.imported, made.jwk.x, made.jwk.y], [name, true, jwk.x, jwk.y]);
      await signs(name, jwk);
      assert.equal((await configuration())[`key ${name}`]['allow-imported'], 'yes');
      if (!shown.includes(name)) await json('key', 'delete', name, '--yes');
    });
  }

  test('marks imported keys wherever they are shown', async () => {
    await until('all keys are ready', async () => (await json('key', 'list')).every(({ state }) => state === 'ready'));
    assert.match(await succeeds('key', 'list'), /^pkcs8-pem +ready .* imported /m);
    assert.match(await succeeds('key', 'list'), /^fresh +ready .* in token /m);
    assert.match(await succeeds('key', 'show', 'pkcs8-pem'), /^imported {4}yes: the key was not made in the token$/m);
    assert.match(await succeeds('status'), /^key {12}pkcs8-pem: ready \(imported\)$/m);
    for (const key of [await json('key', 'show', 'jwk'), (await json('key', 'list')).find(({ name }) => name === 'jwk'),
      (await json('status')).keys.find(({ name }) => name === 'jwk')]) {
      assert.equal(key.imported, true);
      assert.ok(!key.attributes.includes('local') && !key.attributes.includes('never-extractable') &&
        !key.attributes.includes('extractable'), `${key.attributes}`);
    }
  });

  test('asks for a password when the file needs one: at the terminal, or with a program', async () => {
    const pem = await makeEc('asked');
    await formats['encrypted-pem'].make(pem, at('asked'));
    const { status, shown } = await atTerminal(world, ['key', 'import', 'asked', at('asked'), '--like', 'work'],
      [{ to: /Password: /, say: `${password}\n` }]);
    assert.equal(status, 0, shown);
    assert.match(shown, /asked is encrypted\.\nPassword: /);
    assert.ok(!shown.includes(password));
    await signs('asked', await publicOf(pem));
    await formats.pkcs12.make(pem, at('asked.p12'));
    const other = await makeEc('asked-too');
    await formats.pkcs12.make(other, at('asked-too.p12'));
    await signs('asked-too', (await json('key', 'import', 'asked-too', at('asked-too.p12'), '--like', 'work',
      '--askpass', await makeAskpass(world, 'ask', password))).jwk);
  });

  test('refuses what is no P-256 key, and a password that is wrong or missing, with the reason; '
    + 'nothing is changed', async () => {
    const pem = await makeEc('good');
    await formats['encrypted-pem'].make(pem, at('locked.pem'));
    await formats.pkcs12.make(pem, at('locked.p12'));
    await writeFile(at('rsa.pem'),
      generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await writeFile(at('ed25519.pem'),
      generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await writeFile(at('p384.jwk'),
      JSON.stringify(generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey.export({ format: 'jwk' })));
    await writeFile(at('public.pem'),
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }));
    await writeFile(at('wrong'), 'wrong');
    await writeFile(at('nonsense'), 'nonsense');
    await writeFile(at('empty'), '');
    await writeFile(at('large'), Buffer.alloc(70_000, 'x'));
    const before = await readFile(world.configPath, 'utf8');
    for (const [file, name, reason, ...more] of [
      [await makeEc('p384', 'secp384r1'), 'key-unfit', /curve secp384r1; only P-256/],
        [await makeEc('k1', 'secp256k1'), 'key-unfit', /curve secp256k1/],
      [at('p384.jwk'), 'key-unfit', /P-384/], [at('rsa.pem'), 'key-unfit', /rsa/i],
      [at('ed25519.pem'), 'key-unfit', /Ed25519/i],
      [at('public.pem'), 'invalid-argument', /public key/], [at('nonsense'), 'invalid-argument', /no private key/],
      [at('empty'), 'invalid-argument', /empty/],
      [at('large'), 'invalid-argument', /65536 bytes/], [at('locked.pem'), 'secret-unreadable', /encrypted/],
      [at('locked.p12'), 'secret-unreadable', /encrypted/],
      [at('locked.pem'), 'invalid-argument', /password/, '--password-file', at('wrong')],
      [at('locked.p12'), 'invalid-argument', /password/, '--password-file', at('wrong')],
    ]) {
      const { stdout } = await world.dpop('--json', 'key', 'import', 'refused', file, '--like', 'work', ...more);
      const { error } = JSON.parse(stdout);
      assert.equal(error.name, name, `${file}: ${error.message}`);
      assert.match(error.message, reason, file);
      assert.ok(error.next.length > 0, `${file}: a next step`);
    }
    assert.match(await fails(2, 'key', 'import', 'fresh', pem, '--like', 'work'), /fresh/);
    assert.equal(await readFile(world.configPath, 'utf8'), before);
    assert.equal((await world.agent.keys()).find(({ name }) => name === 'refused'), undefined);
    // the name and label are free still
    await signs('refused', (await json('key', 'import', 'refused', pem, '--like', 'work')).jwk);
  });
});

describe('dpop key delete', () => {
  test('asks first, showing what ends; without a terminal it wants --yes', async () => {
    assert.match(await fails(2, 'key', 'delete', 'fresh'), /--yes/);
    const { status, shown } = await atTerminal(world, ['key', 'delete', 'work'], [{ to: /\[y\/N\] /, say: 'n\n' }]);
    assert.equal(status, 1, shown);
    for (const part of [world.jkt.work, '"basic", "jwt"', 'nothing was deleted'])
      assert.ok(shown.includes(part), shown);
    await signs('work', world.jwk.work);
  });

  test('revokes what is bound to the key, comments its profiles out, and destroys it in the token', async () => {
    const sections = await configuration();
    sections['profile doomed'] = { ...sections['profile basic'], key: 'more' };
    await world.writeConfigText(iniText(sections));
    await world.reload(['more', 'work']);
    const { access_token: token } = await world.agent.token('doomed');
    assert.ok(token);
    const { status, shown } = await atTerminal(world, ['key', 'delete', 'more'],
      [{ to: /"doomed".*\[y\/N\] /s, say: 'y\n' }]);
    assert.equal(status, 0, shown);
    assert.match(shown, /^deleted {8}more$/m);
    assert.match(shown, /^profile {8}doomed: its tokens are (not )?revoked/m);
    const after = await configuration();
    assert.deepEqual([after['key more'], after['profile doomed']], [undefined, undefined]);
    assert.match(await readFile(world.configPath, 'utf8'), /^[#;] *\[profile doomed\]/m);
    await signs('work', world.jwk.work);
    await assert.rejects(world.agent.token('doomed'), { name: 'unknown-profile' });

    after['key more'] = sections['key more'];
    await world.writeConfigText(iniText(after));
    await world.reload(['work']);
    const key = await until('it is looked for', async () => {
      const found = (await world.agent.keys()).find(({ name }) => name === 'more');
      return found.state !== 'starting' && found;
    });
    assert.equal(key.state, 'absent', key.reason);
    delete after['key more'];
    await world.writeConfigText(iniText(after));
    await world.reload(['work']);
  });

  test('with --yes and --json tells the same', async () => {
    const told = await json('key', 'delete', 'fresh', '--yes');
    assert.deepEqual([told.deleted, told.profiles, told.configuration], ['fresh', [], world.configPath]);
    assert.match(await fails(2, 'key', 'show', 'fresh'), /no key "fresh"/);
  });
});

test('a TPM takes no keys from outside: import says so and what to do instead, '
  + 'and generate and delete work', async (t) => {
  const tpm = await makeTpm();
  t.after(tpm.stop);
  const servers = world;
  world = await makeWorld({ servers: false, key: { origins: 'https://api.invalid' }, ...tpm.forWorld });
  t.after(async () => {
    await world.stop();
    world = servers;
  });
  await openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', at('outside.pem'));
  const { error } = JSON.parse((await world.dpop('--json', 'key', 'import', 'outside', at('outside.pem'))).stdout);
  assert.match(error.message, /outside|import|refuses/);
  assert.match(error.next, /key generate|tpm2_ptool/);
  assert.deepEqual((await world.agent.keys()).map(({ name }) => name), ['work']);
  await signs('inside', (await json('key', 'generate', 'inside')).jwk);
  await json('key', 'delete', 'inside', '--yes');
  await signs('work', world.jwk.work);
});
