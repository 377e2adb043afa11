// The fault matrix against the whole agent (issue 4, acceptance 5): a function of PKCS#11 fails for ever with one of
// the values that the specification lists for it. What status and callers are told, and that the key comes back when it
// no longer fails. tests/unit/test_key_matrix.c has the same matrix, and more of it, against the key process.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeWorld, repository, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { checkProof, makeShim, ofRole, outcome, useShim } from './fault.mjs';

const LANES = 6; //           keys, each in a token of its own, that fail at the same time
const SETTLED = 10_000; //    milliseconds until a key has a state
const RECOVERY = 20_000; //   milliseconds until it is back: after some failures the next start waits
const target = { htm: 'GET', htu: 'https://api.invalid/' };
const names = Array.from({ length: LANES }, (_, i) => `k${i}`);
const shims = {};
// by state
const errors = { absent: 'key-absent', failed: 'key-failed', locked: 'key-locked', 'wrong key': 'key-wrong' };

let world, pairs;

before(async () => {
  world = await makeWorld({ servers: false, keys: names, key: { origins: 'https://api.invalid' } });
  for (const name of names) {
    shims[name] = makeShim(world.dir, '*', name);
    useShim(world, shims[name], name);
  }
  await world.configure();
  pairs = await readPairs();
});
after(() => world?.stop());
showLogOnFailure(() => world);

// [function, name, number] of each pair that may be tried: of functions that opening a key and signing call, and but
// what makes the agent give up a good PIN for good, which is its duty.
async function readPairs() {
  const text = await readFile(join(repository, 'tests/vectors/pkcs11-return-values.txt'), 'utf8');
  const words = text.split('\n').filter((line) => line && !line.startsWith('#')).map((line) => line.split(' '));
  const numbers = Object.fromEntries(words.filter(([first]) => first.startsWith('CKR_')));
  const called = new Set(names.flatMap((name) => shims[name].calls()).map(({ name }) => name));
  assert.ok(called.size > 8, `only ${[...called]} were called`);
  return words.filter(([first]) => called.has(first))
    .flatMap(([first, ...values]) => values.map((value) => [first, value, numbers[value]]))
    .filter(([first, value]) => first !== 'C_Login' || !value.startsWith('CKR_PIN_'));
}

const keyInfo = async (name) => (await world.agent.keys()).find((key) => key.name === name);
const restart = (name) => ofRole(world.process.pid, 'key').filter((p) => p.name === name)
  .forEach(({ pid }) => process.kill(pid, 'SIGKILL'));

// The state of a key whose module fails, once a process has met the failure: { state, reason, next }.
async function settle(name, function_) {
  const seen = shims[name].calls(function_).length;
  restart(name);
  return until(`${name} has a state`, async () => {
    const key = await keyInfo(name);
    // it is called only at the end
    if (shims[name].calls(function_).length === seen && function_ !== 'C_Finalize') return false;
    return (key.state in errors || key.state === 'ready' || key.state === 'unfit') && key;
  }, { timeout: SETTLED });
}

async function tryPair(name, [function_, value, number]) {
  shims[name].command(`${function_} fail ${number}`);
  const key = await settle(name, function_);
  const { value: answer, error } = await outcome(world.agent.proof({ key: name, ...target, timeout: 2000 }));
  if (answer) {
    await checkProof(answer.proof, { ...target, jkt: world.jkt[name] }); // what failed does not matter for it
  } else {
    const { state, reason, next } = await keyInfo(name);
    assert.ok(error.message && error.next,
      `an error without ${error.message ? 'next step' : 'reason'}: ${error.name} ${error.message}`);
    assert.match(error.name, /^(key-|timeout$|restarted$)/, error.message);
    if (key.state in errors)
      assert.ok(reason && next, `${state} without ${reason ? 'next step' : 'reason'}: ${reason}`);
  }
  shims[name].behave();
  await until(`${name} is back`, async () => (await keyInfo(name)).state === 'ready', { timeout: RECOVERY });
  const { proof } = await until('it signs', () => world.agent.proof({ key: name, ...target }), { timeout: RECOVERY });
  await checkProof(proof, { ...target, jkt: world.jkt[name] });
  return answer ? 'no matter' : key.state;
}

test('every function fails for ever with everything that it may return: a state with reason and next step, '
  + 'and the key comes back', async (t) => {
  const wanted = sized(t, `pairs of function and value, of ${pairs.length}`, pairs.length,
    Math.ceil(pairs.length / 10));
  const step = pairs.length / wanted;
  const queue = Array.from({ length: wanted }, (_, i) => pairs[Math.floor(i * step)]);
  const count = {};
  const wrong = [];
  await Promise.all(names.map(async (name) => {
    for (let pair; (pair = queue.shift()); ) {
      try {
        const result = await tryPair(name, pair);
        count[result] = (count[result] ?? 0) + 1;
      } catch (error) {
        wrong.push(`${pair[0]} ${pair[1]}: ${error.message}`);
        shims[name].behave();
        await until(`${name} is back`, async () => (await keyInfo(name)).state === 'ready', { timeout: RECOVERY });
      }
    }
  }));
  t.diagnostic(`what came of it: ${JSON.stringify(count)}`);
  assert.deepEqual(wrong, []);
  const refused = names.flatMap((name) => shims[name].calls('C_Login'))
    .filter(({ rv, met }) => rv !== 0 && met.length === 0);
  assert.deepEqual(refused, [], 'the token itself refused no log-in');
});

test('after all of it no process has grown, and none is left over', async () => {
  await until('one process for each key', () => ofRole(world.process.pid, 'key').length === LANES);
  const { processes, requests_waiting: waiting } = await world.agent.status();
  assert.ok(processes.filter(({ name }) => name === 'front').every(({ starts }) => starts === 1));
  assert.equal(waiting, 0);
});
