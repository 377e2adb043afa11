// A slow token, and one that does not answer at all, harm nobody but those who ask for it (issue 4, acceptance 3). One
// agent with four keys, each in a token of its own; between two of them and SoftHSM stands a shim. Figures are taken by
// latency.c, the states in turns within one run.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { makeWorld, repository, run, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { checkProof, latencyBinary, makeShim, median, outcome, sleep, useShim } from './fault.mjs';

const RATIO_MAX = 3;
const LATE_MAX = 1000; //     milliseconds that an answer may come after its deadline
const TRIES = 3;
const CALLERS = 50; //        that wait for each stalled key
const DEADLINE = 1500; //     milliseconds
const OWNER_MAX = 256; //     requests of one client process that may wait for a key
const SIGNATURE = 5; //       milliseconds for one of the slow token
// signatures: two that a worker is at, another client's turn, one's own, those until the status is read
const FEW = 8;
const target = { htm: 'GET', htu: 'https://api.invalid/' };
const shims = {};

let world;

// work and other are sound. A process of slow is given up after 100 s, that is not in these tests; one of hung after
// one second.
before(async () => {
  world = await makeWorld({ servers: false, keys: ['work', 'other', 'slow', 'hung'],
    key: { origins: 'https://api.invalid' } });
  for (const [name, timeout] of [['slow', 100], ['hung', 1]]) {
    shims[name] = makeShim(world.dir, 'obeyed', name);
    useShim(world, shims[name], name, { 'sign-timeout': timeout });
  }
  await world.configure();
});
after(async () => {
  for (const shim of Object.values(shims)) shim.behave(); // what is stalled would not end
  await world?.stop();
});
showLogOnFailure(() => world);

const keyInfo = async (name) => (await world.agent.status()).keys.find((key) => key.name === name);
const ask = (key, options, connection = world.agent) => outcome(connection.proof({ key, ...target, ...options }));
const stall = () => Object.values(shims).forEach((shim) => shim.command('C_Sign stall'));

async function release() {
  for (const shim of Object.values(shims)) shim.behave();
  for (const name of Object.keys(shims)) await until(`${name} signs`, async () => (await ask(name)).value);
}

// ---- figures ------------------------------------------------------------------------------------------------------

async function measure(kind, key, samples) {
  const { status, stdout, stderr } = await run(latencyBinary, [world.socket, kind, key, String(samples)]);
  assert.equal(status, 0, stderr);
  const result = JSON.parse(stdout);
  assert.equal(result.errors, 0, `an error answer to ${kind} ${key}`);
  return result;
}

const kinds = { 'proof by work': ['proof', 'work'], 'proof by other': ['proof', 'other'], status: ['status', '-'] };

// The stalled tokens' callers: what they were told, and that it was in time.
function judgeCallers(callers) {
  for (const [key, { value, error, ms }] of callers) {
    assert.equal(value, undefined, `${key} is stalled, and has signed`);
    assert.match(error.name, key === 'slow' ? /^timeout$/ : /^(timeout|key-failed|key-absent)$/,
      `${key}: ${error.message}`);
    assert.notEqual(error.next ?? '', '', `${key}: ${error.message}: there is no next step`);
    assert.ok(ms <= DEADLINE + LATE_MAX, `a caller of ${key} with a deadline of ${DEADLINE} ms waited ${ms} ms`);
    if (error.name === 'timeout')
      assert.ok(ms >= DEADLINE - 5, `a caller of ${key} was given up after ${ms} ms already`);
  }
}

async function round(samples, seconds, stalled) {
  const figures = Object.fromEntries(Object.keys(kinds).map((kind) => [kind, []]));
  const begun = performance.now();
  const callers = [];
  if (stalled) stall();
  do {
    const connection = await world.connect();
    const asked = stalled
      ? Object.keys(shims).flatMap((key) =>
        Array.from({ length: CALLERS }, async () => [key, await ask(key, { timeout: DEADLINE }, connection)]))
      : [];
    for (const [kind, args] of Object.entries(kinds)) figures[kind].push(await measure(...args, samples));
    if (stalled) await judgeStatus();
    callers.push(...await Promise.all(asked));
    connection.close();
  } while (stalled && performance.now() - begun < seconds * 1000);
  judgeCallers(callers);
  if (stalled) await release();
  return figures;
}

async function judgeStatus() {
  const { waiting, stalled } = await keyInfo('slow');
  assert.ok(waiting <= 4096 && stalled > 0, `status shows ${waiting} waiting, the token stalled for ${stalled} ms`);
}

function compare(figures) {
  const over = [];
  for (const kind of Object.keys(kinds)) {
    const [without, stalled] = ['no stall', 'stall'].map((state) => figures[state].map((one) => one[kind]).flat());
    const middle = (results, value) => median(results.map((result) => result[value]));
    const ratio = middle(stalled, 'p99') / middle(without, 'p99');
    const [p99, p99Stalled] = [without, stalled].map((results) => middle(results, 'p99').toFixed(0).padStart(6));
    const longest = (Math.max(...stalled.map(({ max }) => max)) / 1000).toFixed(1);
    console.log(`# ${kind.padEnd(14)} p99 ${p99} µs, stalled ${p99Stalled} µs  ratio ${ratio.toFixed(2)}  longest `
      + `${longest} ms`);
    if (ratio > RATIO_MAX) over.push(`${kind}: its p99 is ${ratio.toFixed(2)} times the one without a stall`);
  }
  return over;
}

test('two stalled tokens delay no other token\'s signature and no status, '
  + 'and their callers are told in time', async (t) => {
  const rounds = sized(t, 'rounds', 10, 3);
  const samples = sized(t, 'requests of each kind in a turn', 1000, 300);
  const seconds = sized(t, 'seconds that the last stall lasts', 60, 4);
  for (let tries = 1; ; tries += 1) {
    const figures = { 'no stall': [], stall: [] };
    for (let i = 1; i <= rounds; i += 1) {
      figures['no stall'].push(await round(samples, 0, false));
      figures.stall.push(await round(samples, i === rounds ? seconds : 0, true));
    }
    const over = compare(figures);
    if (over.length === 0) break;
    assert.ok(tries < TRIES, over.join('\n'));
    console.log(`# again, a machine has other work too: ${over.join('; ')}`);
  }
});

test('status tells how many wait for a token, how long it has been at one signature, and its pace', async () => {
  shims.slow.command(`C_Sign delay ${SIGNATURE}`);
  for (let i = 0; i < 20; i += 1) assert.ok((await ask('slow')).value);
  const { sign_time: pace } = await keyInfo('slow');
  assert.ok(pace >= SIGNATURE * 1000, `a signature takes ${pace} µs, says the status`);
  shims.slow.command('C_Sign stall');
  const asked = Array.from({ length: CALLERS }, () => ask('slow', { timeout: 10_000 }));
  const busy = await until('they wait, and the token is at one of them', async () => {
    const key = await keyInfo('slow');
    return key.waiting >= CALLERS - 10 && key.stalled >= 300 && key;
  });
  assert.equal(busy.state, 'ready');
  await release();
  for (const { value } of await Promise.all(asked)) await checkProof(value.proof, { ...target, jkt: world.jkt.slow });
  const idle = await keyInfo('slow');
  assert.deepEqual([idle.waiting, idle.stalled], [0, 0]);
});

// ---- fairness -----------------------------------------------------------------------------------------------------

// Another client process that floods a key: stop() gives { answered, errors }.
async function flood(key, count) {
  const child = spawn(process.execPath, [join(repository, 'tests/fault/flood.mjs'), world.socket, key, String(count)],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'flooding');
  return {
    async stop() {
      child.stdin.end();
      const { value } = await lines.next();
      if (child.exitCode === null) await once(child, 'exit');
      return JSON.parse(value);
    },
  };
}

// Single requests one after another: the median of their times, and of the signatures that the token made meanwhile,
// theirs included. The latter is what fairness is about, and no other load on the machine changes it.
async function pace(count) {
  const [times, signatures] = [[], []];
  for (let i = 0; i < count; i += 1) {
    const before = (await keyInfo('slow')).signatures;
    const { value, error, ms } = await ask('slow', { timeout: 30_000 });
    assert.ifError(error);
    await checkProof(value.proof, { ...target, jkt: world.jkt.slow });
    times.push(ms);
    signatures.push((await keyInfo('slow')).signatures - before);
  }
  return { ms: median(times), signatures: median(signatures) };
}

test('a client that floods a slow token delays another client by a few signatures', async (t) => {
  shims.slow.command(`C_Sign delay ${SIGNATURE}`);
  const count = sized(t, 'single requests', 300, 60);
  const alone = await pace(count);
  assert.equal(alone.signatures, 1);
  const flooder = await flood('slow', 250);
  await until('the flood waits', async () => (await keyInfo('slow')).waiting > 200);
  const beside = await pace(count);
  const { waiting } = await keyInfo('slow');
  const { answered, errors } = await flooder.stop();
  t.diagnostic(`alone ${alone.ms.toFixed(1)} ms; beside ${waiting} that wait ${beside.ms.toFixed(1)} ms, `
    + `${beside.signatures} signatures`);
  t.diagnostic(`the flood had ${answered} proofs`);
  assert.ok(waiting > 200, `${waiting} wait`);
  assert.deepEqual(errors, {});
  assert.ok(answered > 0, 'the flood is served too');
  assert.ok(beside.signatures <= FEW, `${beside.signatures} signatures for one request beside the flood`);
  await release();
});

test('who has too many requests waiting for a key is told so at once, and keeps nobody else out', async () => {
  shims.slow.command('C_Sign stall');
  await ask('slow', { timeout: 200 });
  const flooder = await flood('slow', 600);
  await until('the flood waits', async () => (await keyInfo('slow')).waiting >= OWNER_MAX);
  await sleep(300);
  const { waiting } = await keyInfo('slow');
  assert.ok(waiting <= OWNER_MAX + 8, `${waiting} of one process wait`);
  const { error, ms } = await ask('slow', { timeout: DEADLINE });
  assert.equal(error.name, 'timeout');
  assert.ok(ms >= DEADLINE - 5 && ms <= DEADLINE + LATE_MAX, `${ms} ms`);
  const connections = await Promise.all([world.connect(), world.connect()]);
  const mine = Array.from({ length: OWNER_MAX + 100 }, (_, i) =>
    ask('slow', { timeout: DEADLINE }, connections[i % 2]));
  const told = await Promise.all(mine);
  const busy = told.filter(({ error: { name } }) => name === 'busy');
  assert.equal(told.filter(({ error: { name } }) => name === 'timeout').length + busy.length, told.length);
  assert.ok(busy.length >= 90 && busy.length <= 100, `${busy.length} were told that the queue is full`);
  assert.ok(Math.max(...busy.map((one) => one.ms)) < DEADLINE, 'they were told at once');
  for (const { error: { message, next } } of busy) assert.ok(message && next, 'with reason and next step');
  await Promise.all(connections.map((connection) => connection.close()));
  const { errors } = await flooder.stop();
  assert.deepEqual(Object.keys(errors), ['busy']);
  await release();
});
