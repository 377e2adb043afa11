// Users, modes and what a process of the agent lets others see. These tests need root: they start the agent, or a client
// of it, as a second user who has no privileges (nobody, uid 65534).

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { chmod, chown, copyFile, readFile, readdir, rename, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { agentBinary, assertRoot, dpopBinary, makeWorld, nobody, run, showLogOnFailure, until } from './world.mjs';
import { requestResource } from './resource-request.mjs';

let world;
showLogOnFailure(() => world);
before(assertRoot);

const modeOf = async (path) => ((await stat(path)).mode & 0o7777).toString(8);
const ownerOf = async (path) => (await stat(path)).uid;

// Lets everybody come as far as the world's socket, so that the agent itself has to look at who it is.
async function openDoors() {
  for (const path of [world.dir, join(world.dir, 'run'), dirname(world.socket)]) await chmod(path, 0o711);
}

// The dpop command as another user.
async function asUser(who, ...args) {
  const binary = join(world.dir, 'dpop');
  await copyFile(dpopBinary, binary);
  await chmod(binary, 0o755);
  return run(binary, args, { env: world.environment, ...who });
}

describe("a user's agent", () => {
  before(async () => {
    world = await makeWorld({ env: () => ({ PLANTED_IN_THE_ENVIRONMENT: 'canary-environment' }) });
    await openDoors();
  });
  after(() => world.stop());

  test('lets no other user in: neither past the socket’s mode nor past its own look at the peer', async () => {
    const closed = await asUser(nobody, 'status');
    assert.deepEqual([closed.status, /permission denied/.test(closed.stderr)], [3, true], closed.stderr);
    await chmod(world.socket, 0o666);
    const refused = await asUser(nobody, '--json', 'status');
    assert.equal(refused.status, 3, refused.stderr);
    const { error } = JSON.parse(refused.stdout);
    assert.deepEqual([error.name, error.message, /allow-users/.test(error.next)], ['peer-refused', 'uid 65534 may not use this agent', true]);
    assert.match(await world.log(), /uid 65534 \(process \d+\) may not use this agent/);
    await chmod(world.socket, 0o600);
  });

  test('lets those in whom allow-users names, by name or number, at a socket of mode 0660', async () => {
    for (const user of ['nobody', '65534']) {
      await world.configure({ sections: { agent: { 'allow-users': user } } });
      assert.equal(await modeOf(world.socket), '660');
      const member = { uid: nobody.uid, gid: (await stat(world.socket)).gid }; // of the socket's group
      const answer = await asUser(member, 'token', 'basic');
      assert.equal(answer.status, 0, answer.stderr);
      const init = await asUser(member, 'init', '--name', 'mine');
      assert.equal(init.status, 3, 'keys are made by the agent’s user and root only');
      assert.match(init.stderr, /may not make keys/);
      const other = await asUser({ uid: 65533, gid: member.gid }, 'status');
      assert.deepEqual([other.status, /uid 65533 may not/.test(other.stderr)], [3, true], other.stderr);
    }
    await world.configure();
    assert.equal(await modeOf(world.socket), '600');
  });

  test('keeps its files to itself', async () => {
    for (const path of [world.configPath, world.pinFile.work]) assert.equal(await modeOf(path), '600');
    assert.equal(await modeOf(world.stateFolder), '700');
    const walk = async (path) => (await readdir(path, { withFileTypes: true, recursive: true })).map((entry) => join(entry.parentPath, entry.name));
    for (const path of await walk(world.stateFolder)) assert.equal((await stat(path)).mode & 0o077, 0, `${path} is open to others`);
  });

  test('gives its processes no variable of its own environment, no secret in argv, and no core file', async () => {
    await requestResource(world);
    const pin = (await readFile(world.pinFile.work, 'utf8')).trim();
    const pids = await world.pids();
    for (const [name, pid] of Object.entries({ ...pids, supervisor: world.process.pid })) {
      const [environment, cmdline, limits, status] = await Promise.all(['environ', 'cmdline', 'limits', 'status'].map((file) => readFile(`/proc/${pid}/${file}`, 'utf8')));
      for (const secret of [pin, world.secrets.basic, world.secrets.post]) assert.ok(!cmdline.includes(secret) && !environment.includes(secret), name);
      assert.match(limits, /^Max core file size +0 +0 /m);
      assert.match(status, /^NoNewPrivs:\s+1$/m);
      if (name === 'supervisor') continue;
      assert.ok(!environment.includes('canary-environment'), name);
      const names = environment.split('\0').filter(Boolean).map((variable) => variable.split('=')[0]);
      const allowed = ['ASAN_OPTIONS', 'UBSAN_OPTIONS', 'LSAN_OPTIONS', 'JOURNAL_STREAM', ...(name === 'front' ? ['DPOP_AGENT_STARTED'] : []),
        ...(name.startsWith('key') ? ['HOME', 'SOFTHSM2_CONF'] : [])];
      assert.deepEqual(names.filter((each) => !allowed.includes(each)), [], name);
      assert.match(cmdline, /^dpop-agent\0--role\0/);
      assert.equal(await ownerOf(`/proc/${pid}/environ`), 0, `${name} is not dumpable`);
    }
  });

  test('hands each process only the descriptors that it needs', async () => {
    for (const [name, pid] of Object.entries(await world.pids())) {
      const open = await readdir(`/proc/${pid}/fd`);
      assert.ok(open.length < 32, `${name} has ${open.length} descriptors`);
    }
  });
});

describe('an agent that runs as an unprivileged user', () => {
  before(async () => {
    world = await makeWorld({ user: nobody });
  });
  after(() => world.stop());

  // The key's state after a reload with the PIN file as it is.
  async function keyAfterReload() {
    await world.reload([]);
    return until('the key has a state', async () => (await world.agent.keys()).find(({ state }) => !['starting', 'recovering'].includes(state)));
  }

  test('makes its key, gets a token and has a request answered 200; all its files are its own', async () => {
    assert.equal((await requestResource(world)).status, 200);
    for (const path of [world.configPath, world.stateFolder, world.pinFile.work, world.socket]) assert.equal(await ownerOf(path), nobody.uid, path);
    for (const pid of Object.values(await world.pids())) assert.match(await readFile(`/proc/${pid}/status`, 'utf8'), /^Uid:\s+65534\s+65534\s+65534\s+65534$/m);
  });

  test('lets root in, and its own user', async () => {
    assert.equal((await asUser(nobody, 'status')).status, 0);
    const connection = await world.connect();
    assert.ok((await connection.status()).pid);
    connection.close();
  });

  for (const [what, spoil, reason, next] of [
    ['that others may read (mode 0644)', (file) => chmod(file, 0o644), /others may access .*mode 0644/, /chmod 600/],
    ['that belongs to another user', (file) => chown(file, 0, 0), /cannot open|belongs to uid 0/, /read it|chown/],
    ['that it may not read (mode 0000)', (file) => chmod(file, 0o000), /cannot open .*Permission denied/, /read it/],
    ['that is not there', (file) => rename(file, `${file}.away`), /cannot open .*No such file/, /make the file/],
    ['that is empty', (file) => writeFile(file, ''), /is empty/, undefined],
  ]) {
    test(`does not use a PIN file ${what}; it says so, and recovers when that is corrected`, async () => {
      const file = world.pinFile.work;
      const pin = await readFile(file);
      await spoil(file);
      const info = await keyAfterReload();
      assert.notEqual(info.state, 'ready');
      assert.match(info.reason, reason);
      if (next) assert.match(info.next, next);
      await assert.rejects(world.agent.proof({ profile: 'basic', htm: 'GET', htu: world.rs.origin }), { name: 'secret-unreadable', message: reason });
      await world.own(file).catch(() => {});
      await world.writeSecret(file, pin);
      await world.ready();
    });
  }

  test('does not use a client secret that belongs to another user', async () => {
    const file = join(world.dir, 'root.secret');
    await writeFile(file, world.secrets.basic, { mode: 0o600 });
    await world.configure({ profiles: { basic: { 'client-secret-file': file } } });
    await assert.rejects(world.agent.token('basic'), { name: 'secret-unreadable', message: /root\.secret/ });
    await chmod(file, 0o644);
    await assert.rejects(world.agent.token('basic'), { name: 'secret-unreadable', message: /belongs to uid 0, not to the agent's uid 65534/ });
    await world.configure();
  });

  test('does not read a configuration that belongs to a third user, or that it may not read', async () => {
    const file = join(world.dir, 'third.conf');
    await writeFile(file, '[agent]\n', { mode: 0o600 });
    const start = () => run(world.binary, ['--config', file, '--socket', join(world.dir, 'third')], { env: world.environment, timeout: 10_000, ...nobody });
    await chown(file, 65533, 65533);
    await chmod(file, 0o644);
    assert.match((await start()).stderr, /belongs to uid 65533, who could change what the agent does/);
    await chmod(file, 0o600);
    assert.match((await start()).stderr, /cannot open .*Permission denied/);
  });

  test('has no place for its socket without $XDG_RUNTIME_DIR, and says how to name one', async () => {
    const { XDG_RUNTIME_DIR: _, ...environment } = world.environment;
    const { status, stderr } = await run(world.binary, [], { env: environment, timeout: 10_000, ...nobody });
    assert.equal(status, 1);
    assert.match(stderr, /XDG_RUNTIME_DIR is not set; name the socket with --socket PATH/);
    const homeless = await run(world.binary, [], { env: {}, timeout: 10_000, ...nobody });
    assert.match(homeless.stderr, /set HOME/);
  });

  test('is not spoken to by another user’s command: the client looks at who listens', async () => {
    await openDoors();
    await chmod(world.socket, 0o666);
    for (const who of [{ uid: 65533, gid: 65533 }, {}]) {
      const { status, stderr } = await asUser(who, 'status', '--socket', world.socket);
      assert.equal(status, 3);
      assert.match(stderr, /user 65534 listens there, who is neither you nor root/);
    }
  });
});
