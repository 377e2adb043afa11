// Hostile clients (issue 2, acceptance 7): whatever comes on the socket, the connection gets an error reply or is
// closed, and the agent is alive, the same process as before, and answers everybody else.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { build, makeWorld, run, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { AgentError, connect, connectRaw, decode, encode, field, frame, messages, OPERATION_ERROR, operations,
  statuses } from '../flow/wire.mjs';
import { descriptors, ofRole, outcome, residentKiB, sleep } from './fault.mjs';

const FRAME_MAX = 1048576;
const GROWTH_MAX = 48 * 1024; // KiB; a sanitizer keeps freed memory for a while

let world, front, frontMemory;

before(async () => {
  world = await makeWorld({ servers: false, env: () => ({ ASAN_OPTIONS: 'quarantine_size_mb=4' }) });
  front = ofRole(world.process.pid, 'front')[0].pid;
  frontMemory = residentKiB(front);
});
after(() => world?.stop());
showLogOnFailure(() => world);

// What must hold after every test here.
afterEach(async () => {
  const client = await connect(world.socket);
  const { ms } = await outcome(client.status());
  assert.ok(ms < 1000, `a status took ${ms} ms`);
  assert.equal((await client.proof({ key: 'work', htm: 'GET', htu: 'https://api.invalid/' })).jkt, world.jkt.work);
  await client.close();
  assert.deepEqual(ofRole(world.process.pid, 'front').map(({ pid }) => pid), [front], 'the front is the same process');
  assert.ok(residentKiB(front) < frontMemory + GROWTH_MAX,
    `the front grew from ${frontMemory} to ${residentKiB(front)} KiB`);
});

const within = (promise, ms) => Promise.race([promise.then(() => true), sleep(ms).then(() => false)]);

const errorOf = (received) => {
  assert.equal(received.operation, OPERATION_ERROR);
  const error = new AgentError(decode(messages.error, received.fields));
  assert.ok(error.status in statuses && error.message !== '', JSON.stringify(error));
  return error.name;
};

// Sends bytes on a new connection: the names of the errors that came, and whether the agent closed it.
async function sent(bytes, { hello = true, wait = 200 } = {}) {
  const client = hello ? await connect(world.socket) : await connectRaw(world.socket);
  client.send(bytes);
  const closed = await within(client.closed, wait);
  const names = client.frames.filter(({ operation }) => operation === OPERATION_ERROR).map(errorOf);
  await client.close();
  return { names, closed };
}

const u32 = (n) => Buffer.from([n >>> 24, n >>> 16, n >>> 8, n]);

// ---- frames -------------------------------------------------------------------------------------------------------

test('a length under a header\'s is malformed and ends the connection', async () => {
  for (const length of [0, 1, 7])
    assert.deepEqual(await sent(Buffer.concat([u32(length), Buffer.alloc(8)])), { names: ['malformed'], closed: true });
});

test('a length over the limit is too large and ends the connection, before hello at 4096 bytes', async () => {
  for (const length of [FRAME_MAX - 3, FRAME_MAX, 0x7fffffff, 0x80000000, 0xffffffff])
    assert.deepEqual(await sent(Buffer.concat([u32(length), Buffer.alloc(64)])),
      { names: ['too-large'], closed: true });
  assert.deepEqual(await sent(u32(4096 - 3), { hello: false }), { names: ['too-large'], closed: true });
  assert.deepEqual(await sent(u32(4096 - 4), { hello: false }), { names: [], closed: false });
});

test('the largest frame is read, and what is wrong in it is answered', async () => {
  const client = await connect(world.socket);
  const received = await client.exchange(operations.proof, field(99, Buffer.alloc(FRAME_MAX - 12 - 6)));
  assert.equal(errorOf(received), 'malformed'); // the optional field 99 is skipped, and the required ones are missing
  await client.close();
});

test('every byte of a frame may come alone', async () => {
  const client = await connectRaw(world.socket);
  client.socket.setNoDelay(true);
  for (const byte of frame(operations.hello, 5, encode(messages.helloRequest, { version_min: 1, version_max: 1 }))) {
    client.send(Buffer.from([byte]));
    await sleep(1);
  }
  await until('the hello is answered', () => client.frames.length === 1);
  assert.equal(client.frames[0].operation, operations.hello | 0x8000);
  await client.close();
});

test('a truncated frame and then the end is forgotten', async () => {
  const whole = frame(operations.proof, 1,
    encode(messages.proofRequest, { key: 'work', htm: 'GET', htu: 'https://api.invalid/' }));
  for (let cut = 0; cut < whole.length; cut += 1) {
    const client = await connect(world.socket);
    client.socket.end(whole.subarray(0, cut));
    assert.ok(await within(client.closed, 1000), `cut at ${cut}`);
    assert.deepEqual(client.frames, []);
  }
});

test('requests before hello are refused, and so is a hello without a common version', async () => {
  for (const operation of [2, 3, 4, 5, 6, 7, 8, 9, 77])
    assert.deepEqual(await sent(frame(operation, 1), { hello: false }), { names: ['hello-required'], closed: true });
  for (const [version_min, version_max] of [[2, 9], [0, 0], [65535, 65535], [9, 2]])
    assert.deepEqual(await sent(frame(1, 1, encode(messages.helloRequest, { version_min, version_max })),
      { hello: false }), { names: ['version'], closed: true }, `${version_min} to ${version_max}`);
});

test('a range of versions that holds ours is accepted, and a second hello breaks nothing', async () => {
  for (const [version_min, version_max] of [[0, 1], [1, 65535], [0, 65535]]) {
    const client = await connectRaw(world.socket);
    assert.equal((await client.hello({ version_min, version_max })).version, 1);
    const second = await client.exchange(operations.hello, encode(messages.helloRequest, { version_min, version_max }));
    if (second.operation === OPERATION_ERROR) errorOf(second);
    else await client.status();
    await client.close();
  }
});

test('unknown operations are refused one by one, and the connection goes on', async () => {
  const client = await connect(world.socket);
  for (const operation of [0, Math.max(...Object.values(operations)) + 1, 0x100, 0x101, 0x102, 0x103, 0x104, 0x105,
    0x106, 0x107, 0x10a, 0x10b, 0x7fff, 0x8000, 0x8002, 0xffff])
    assert.equal(errorOf(await client.exchange(operation, randomBytes(20))), 'unknown-operation',
      `operation ${operation}`);
  await client.status();
  await client.close();
});

// ---- fields -------------------------------------------------------------------------------------------------------

const sizes = { bool: 1, u16: 2, u32: 4, u64: 8 };
const required = {
  proof: { htm: 'GET', htu: 'https://api.invalid/' },
  token: { profile: 'basic' },
  authorize: { profile: 'basic', htm: 'GET', url: 'https://api.invalid/' },
  outcome: { attempt: Buffer.alloc(40), http_status: 200 },
  init: { name: 'other' },
  status: {}, keys: {}, profiles: {},
};

// Ways to break one field of a message.
function breakings(name, [tag, type], values) {
  const others = { ...values };
  delete others[name];
  const base = (table) => encode(table, others);
  const value = (bytes) => (table) => Buffer.concat([base(table), field(tag, bytes)]);
  const many = [];
  if (type in sizes) {
    for (const size of [0, 1, 2, 3, 4, 5, 7, 8, 9, 100]) if (size !== sizes[type]) many.push(value(Buffer.alloc(size)));
    if (type === 'bool') many.push(value(Buffer.from([2])));
  } else {
    many.push(value(Buffer.alloc(70_000, 0x61)), value(Buffer.alloc(FRAME_MAX - 2000, 0x61)));
    if (type === 'text' || type === 'texts')
      many.push(...['\0', 'a\nb', '\x7f', '\x1b[2J'].map((text) => value(Buffer.from(text))),
        ...['ff', 'c080', 'eda080', 'f4908080', 'e282', 'c2'].map((hex) => value(Buffer.from(hex, 'hex'))));
  }
  if (type !== 'texts' && type !== 'bytesList') many.push((table) =>
    Buffer.concat([base(table), field(tag, Buffer.from('x')), field(tag, Buffer.from('x'))]));
  many.push((table) => Buffer.concat([base(table), field(tag, 'abc').subarray(0, 3)]));
  many.push((table) => Buffer.concat([base(table), field(tag, 'abcdef').subarray(0, 9)]));
  many.push((table) => Buffer.concat([base(table), Buffer.from([0, tag]), u32(0xffffffff)]));
  return many;
}

test('a field of every kind, broken in every way, in every operation is malformed and nothing else', async (t) => {
  const client = await connect(world.socket);
  let broken = 0;
  for (const [operation, values] of Object.entries(required)) {
    const table = messages[`${operation}Request`];
    for (const [name, type] of Object.entries(table)) {
      for (const make of breakings(name, type, values)) {
        assert.equal(errorOf(await client.exchange(operations[operation], make(table))), 'malformed',
          `${operation}.${name}`);
        broken += 1;
      }
    }
    for (const missing of Object.keys(values).filter((name) => operation !== 'init' && name in table)) {
      const rest = { ...values };
      delete rest[missing];
      assert.equal(errorOf(await client.exchange(operations[operation], encode(table, rest))), 'malformed',
        `${operation} without ${missing}`);
    }
    assert.equal(errorOf(await client.exchange(operations[operation],
      Buffer.concat([encode(table, values), field(0x8000 | 39, 'x')]))), 'unsupported-field', operation);
    assert.equal(errorOf(await client.exchange(operations[operation], Buffer.from([0]))), 'malformed',
      `${operation}, a byte behind its fields`);
  }
  t.diagnostic(`${broken} broken fields`);
  await client.close();
});

test('values that are well formed and wrong get a typed error', async () => {
  const client = await connect(world.socket);
  const refused = async (operation, values, names) => {
    const { error, value } = await outcome(client.call(operation, values));
    assert.ok(error instanceof AgentError,
      `${operation} ${JSON.stringify(values)} gave ${JSON.stringify(value ?? error.message)}`);
    assert.match(error.name, names);
  };
  const proof = { key: 'work', ...required.proof };
  for (const htu of ['', 'x', 'https://', 'https://api.invalid:99999/', 'ftp://api.invalid/', 'https://api.invalid/\0',
    'https://[::1', 'https://api.invalid/%', `https://api.invalid/${'a'.repeat(8192)}`])
    await refused('proof', { ...proof, htu }, /invalid-argument|origin-refused|malformed|insecure-url/);
  for (const htm of ['', 'G T', 'GET\u00e4', 'a'.repeat(65)])
    await refused('proof', { ...proof, htm }, /invalid-argument|malformed/);
  for (const nonce of ['', 'a b', 'a"b', '\u00e4', 'a'.repeat(5000)])
    await refused('proof', { ...proof, nonce }, /invalid-argument|malformed/);
  for (const ath of ['', 'a', 'a'.repeat(43), 'a'.repeat(64), `${'a'.repeat(42)}=`])
    await refused('proof', { ...proof, ath }, /invalid-argument|malformed/);
  await refused('proof', { ...proof, access_token: 'a', ath: 'A'.repeat(43) }, /invalid-argument/);
  await refused('proof', { ...proof, access_token: 'a\nb' }, /invalid-argument/);
  await refused('proof', { ...proof, key: 'nobody' }, /unknown-key/);
  await refused('proof', { ...proof, profile: 'basic' }, /invalid-argument/);
  await refused('proof', { ...proof, htu: 'https://elsewhere.invalid/' }, /origin-refused/);
  await refused('token', { profile: 'nobody' }, /unknown-profile/);
  await refused('authorize', { ...required.authorize, url: 'http://api.invalid/' }, /insecure-url|origin-refused/);
  await refused('init', { name: '../../etc' }, /invalid-argument|exists/);
  assert.equal((await client.outcome({ attempt: randomBytes(200), http_status: 401 })).verdict, 'done');
  await client.close();
});

// ---- random frames ------------------------------------------------------------------------------------------------

const valid = [
  () => frame(operations.status, randomInt(9)),
  () => frame(operations.keys, randomInt(9)),
  () => frame(operations.proof, randomInt(9), encode(messages.proofRequest,
    { key: 'work', htm: 'GET', htu: 'https://api.invalid/', nonce: 'n', timeout: 500 })),
  () => frame(operations.token, randomInt(9), encode(messages.tokenRequest,
    { profile: 'basic', scope: 'a b', resources: ['https://a.invalid', 'urn:x'], min_valid: 5, timeout: 500 })),
  () => frame(operations.authorize, randomInt(9), encode(messages.authorizeRequest,
    { profile: 'basic', htm: 'GET', url: 'https://api.invalid/', attempt: randomBytes(60), timeout: 500 })),
  () => frame(operations.outcome, randomInt(9), encode(messages.outcomeRequest,
    { attempt: randomBytes(60), http_status: 401, nonces: ['n'], challenges: ['DPoP error="use_dpop_nonce"'] })),
  () => frame(operations.hello, randomInt(9),
    encode(messages.helloRequest, { version_min: 1, version_max: 1, client: 'x' })),
];

// Operations that a flipped bit makes of another one, and that change keys, configuration or processes for good.
const changing = new Set([operations.init, operations.register, operations.reload, operations.keyGenerate,
  operations.keyImport, operations.keyDelete, operations.keyPrepare, operations.keyCommit, operations.unlock,
  operations.lock]);

function mutated() {
  const bytes = mutatedOnce();
  return bytes.length >= 6 && changing.has(bytes.readUInt16BE(4)) ? mutated() : bytes;
}

function mutatedOnce() {
  const bytes = Buffer.from(valid[randomInt(valid.length)]());
  for (let i = 1 + randomInt(4); i > 0; i -= 1) {
    const at = randomInt(40) === 0 ? randomInt(bytes.length) : 4 + randomInt(bytes.length - 4); // seldom in the length
    bytes[at] = randomInt(3) === 0 ? [0, 1, 0x7f, 0x80, 0xff][randomInt(5)] : bytes[at] ^ (1 << randomInt(8));
  }
  return bytes;
}

const random = () => (randomInt(20) ? frame(randomInt(12), randomInt(9), randomBytes(randomInt(64)))
  : randomBytes(1 + randomInt(64)));

test('random and mutated frames get an error reply or end the connection', async (t) => {
  const total = sized(t, 'random frames', 100_000);
  let left = total, connections = 0, answers = 0;
  async function sender() {
    while (left > 0) {
      const client = randomInt(8) ? await connect(world.socket) : await connectRaw(world.socket);
      connections += 1;
      for (let i = 0; i < 40 && left > 0 && !client.isClosed; i += 1) {
        left -= 1;
        client.send(randomInt(3) ? mutated() : random());
        if (i % 8 === 7) await sleep(1);
      }
      await sleep(5);
      answers += client.frames.length;
      for (const received of client.frames) if (received.operation === OPERATION_ERROR) errorOf(received);
      await client.close();
    }
  }
  await Promise.all(Array.from({ length: 8 }, sender));
  t.diagnostic(`${total} frames on ${connections} connections, ${answers} answers`);
});

// ---- readers, connections, descriptors ----------------------------------------------------------------------------

test('clients that never read are bounded, and disturb nobody', async (t) => {
  const requests = sized(t, 'requests of each client that never reads', 50_000, 20_000);
  const before = residentKiB(front);
  const greedy = await Promise.all(Array.from({ length: 8 }, () => connect(world.socket)));
  for (const client of greedy) {
    client.socket.pause();
    client.send(Buffer.concat(Array(requests).fill(frame(operations.status, 1))));
  }
  let slowest = 0;
  for (let i = 0; i < 200; i += 1) slowest = Math.max(slowest, (await outcome(world.agent.status())).ms);
  assert.ok(slowest < 1000, `an answer took ${slowest} ms`);
  const grown = residentKiB(front) - before;
  t.diagnostic(`the front grew by ${grown} KiB, the slowest of 200 answers took ${slowest.toFixed(0)} ms`);
  assert.ok(grown < 8 * 5 * 1024 + GROWTH_MAX, `the front grew by ${grown} KiB`);
  await Promise.all(greedy.map((client) => client.close()));
});

test('a client that pipelines more than it may have at work, and reads late, gets every answer', async () => {
  const client = await connect(world.socket);
  client.socket.pause();
  const answers = Array.from({ length: 3000 }, () => client.status());
  await sleep(100);
  client.socket.resume();
  assert.equal((await Promise.all(answers)).length, 3000);
  await client.close();
});

test('connections opened and closed leave nothing behind', async (t) => {
  const total = sized(t, 'connections', 5000);
  const before = descriptors(front).length;
  for (let done = 0; done < total; done += 50) {
    const clients = await Promise.all(Array.from({ length: 50 }, (_, i) =>
      (i % 2 ? connect(world.socket) : connectRaw(world.socket))));
    for (const [i, client] of clients.entries()) if (i % 3 === 0)
      client.send(frame(operations.status, 1).subarray(0, 1 + (i % 11)));
    await Promise.all(clients.map((client) => client.close()));
  }
  await until('their descriptors are free again', () => descriptors(front).length <= before, { timeout: 2000 });
});

// descriptors.c sends pipes that never bring anything, and says with 0 that it has sent all.
for (const [kind, what, full] of [
  ['operations', 'with frames of every operation', 100], ['many', '253 with one frame', 1000],
  ['bytes', 'with every byte of a frame', 1000], ['half', 'with half a frame', 2000],
  ['unread', 'with frames whose answers nobody takes', 1000], ['early', 'before hello', 2000],
])
  test(`descriptors ${what} leave nothing behind, and disturb nobody`, async (t) => {
    const count = sized(t, 'times', full);
    const keys = ofRole(world.process.pid, 'key').map(({ pid }) => pid);
    const held = () => [front, ...keys].map((pid) => descriptors(pid).length);
    const before = held();
    const sender = spawn(join(build, 'tests/fault/descriptors'), [world.socket, kind, count], { stdio: 'inherit' });
    const ended = once(sender, 'exit');
    let slowest = 0;
    do {
      slowest = Math.max(slowest, (await outcome(world.agent.status())).ms);
      const { ms, value } = await outcome(world.agent.proof({ key: 'work', ...required.proof }));
      assert.equal(value?.jkt, world.jkt.work);
      slowest = Math.max(slowest, ms);
    } while (sender.exitCode === null && sender.signalCode === null && await sleep(5, true));
    assert.deepEqual(await ended, [0, null]);
    t.diagnostic(`the slowest answer to another client took ${slowest.toFixed(0)} ms`);
    assert.ok(slowest < 1000, `an answer took ${slowest} ms`);
    await until('their descriptors are free again', () => held().every((n, i) => n <= before[i]), { timeout: 8000 });
    assert.deepEqual(ofRole(world.process.pid, 'key').map(({ pid }) => pid), keys, 'the key processes are the same');
  });

test('half a frame, or no hello, ends the connection after 30 s, and an idle connection stays', async () => {
  const idle = await connect(world.socket);
  const silent = await connectRaw(world.socket);
  const half = await connect(world.socket);
  await sleep(500);
  half.send(frame(operations.status, 1).subarray(0, 9));
  const [begun, trickle] = [performance.now(), await connect(world.socket)];
  const long = frame(operations.proof, 1, Buffer.alloc(3000));
  const dripping = (async () => {
    for (let at = 0; !trickle.isClosed && at < long.length; at += 1, await sleep(100))
      trickle.send(long.subarray(at, at + 1));
  })();
  await Promise.all([silent.closed, half.closed, trickle.closed]);
  const seconds = (performance.now() - begun) / 1000;
  assert.ok(seconds > 28 && seconds < 33, `closed after ${seconds} s`);
  await dripping;
  await idle.status();
  idle.send(frame(operations.status, 9).subarray(0, 5)); // it is long ago that this one sent its last frame
  await sleep(300);
  idle.send(frame(operations.status, 9).subarray(5));
  await until('the frame is answered', () => idle.frames.length === 1);
  await idle.close();
});

test('a front without free descriptors lives, serves who is connected, and recovers', async () => {
  const used = descriptors(front).length;
  const usual = /Max open files +(\d+)/.exec(readFileSync(`/proc/${front}/limits`, 'utf8'))[1];
  const limit = (n) => run('prlimit', [`--pid=${front}`, `--nofile=${n}:`])
    .then(({ status, stderr }) => assert.equal(status, 0, stderr));
  await limit(used + 10);
  const clients = [];
  try {
    for (let i = 0; i < 60; i += 1) clients.push(await connectRaw(world.socket));
    await sleep(300);
    assert.equal((await outcome(world.agent.status())).error?.message ?? '', '');
  } catch (error) {
    if (!world.agent.isClosed) throw error; // the one that was idle for longest makes room
  }
  const late = await until('a new client is served', () => connect(world.socket), { timeout: 5000 });
  await late.status();
  await late.close();
  await Promise.all(clients.map((client) => client.close()));
  await limit(usual);
  await until('all descriptors are free again', () => descriptors(front).length <= used, { timeout: 5000 });
  await world.ready();
});
