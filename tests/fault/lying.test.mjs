// A token that lies: signatures that are wrong in every way, and another key behind the same label (issue 4, acceptance
// 5). Between the key processes and SoftHSM stands the shim. What the agent promises is that it verifies the first
// signature after each opening of a key, and every signature of a token that needs longer than verifying does: there no
// lie may get out.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { full, makeWorld, showLogOnFailure, sized, until } from '../flow/world.mjs';
import { checkProof, makeShim, outcome, proofVerifier, sleep, useShim } from './fault.mjs';

const IN_FLIGHT = 16;
const RECOVERY = 20_000; // milliseconds: after many failures in a row the next start waits
const LIES = ['flip', 'short', 'zero', 'foreign', 'misdigest'];
const target = { htm: 'POST', htu: 'https://api.invalid/things' };
const typed = new Set(['key-failed', 'key-absent', 'restarted', 'timeout', 'busy']);

let world, shim, isGood;

before(async () => {
  world = await makeWorld({ servers: false, workers: 4 });
  shim = makeShim(world.dir, 'obeyed');
  useShim(world, shim);
  await world.configure();
  isGood = proofVerifier(world.jwk.work);
});
after(() => world?.stop());
showLogOnFailure(() => world);

const keyState = async () => (await world.agent.keys()).find(({ name }) => name === 'work');
const reaches = (state, options) => until(`the key is ${state}`, async () => {
  const key = await keyState();
  if (key.state !== state) throw new Error(`it is ${key.state}: ${key.reason}`);
  return key;
}, options);

async function backToGood() {
  shim.behave();
  await reaches('ready', { timeout: RECOVERY });
}

// Asks until `wanted` proofs are there, some at a time; each is verified. Errors are counted by their names.
async function collect(wanted) {
  const seen = new Set();
  const errors = {};
  let good = 0;
  async function caller() {
    while (good < wanted) {
      const { value, error } = await outcome(world.agent.proof({ key: 'work', ...target, timeout: 20_000 }));
      if (error) {
        assert.ok(typed.has(error.name), `${error.name}: ${error.message}`);
        errors[error.name] = (errors[error.name] ?? 0) + 1;
        await sleep(5);
        continue;
      }
      assert.ok(isGood(value.proof), `a bad signature left the agent: ${value.proof}`);
      const { jti } = JSON.parse(Buffer.from(value.proof.split('.')[1], 'base64url'));
      assert.ok(!seen.has(jti), 'a jti came twice');
      seen.add(jti);
      good += 1;
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, caller));
  return errors;
}

const told = (lie) => shim.calls('C_Sign').filter(({ met }) => met.includes(lie)).length;

// Each lie in turn, with its share of the proofs. A process that was lied to ends, and its calls are counted from 1
// again.
async function lieAndCollect(t, wanted, commands) {
  for (const lie of LIES) {
    const [before, begun] = [told(lie), performance.now()];
    shim.command(...commands(lie));
    const errors = await collect(wanted / LIES.length);
    const lies = told(lie) - before;
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    t.diagnostic(`${lie}: ${lies} lies among ${wanted / LIES.length} proofs, ${seconds} s; `
      + `errors ${JSON.stringify(errors)}`);
    assert.ok(lies > 0, `the shim never told the lie ${lie}`);
    await backToGood();
  }
}

test('a lie in the first signature after each opening is never released', async (t) => {
  const wanted = sized(t, 'proofs', 50_000, 1000);
  for (const lie of LIES) {
    const before = told(lie);
    shim.command(`C_Sign ${lie} fresh`);
    await world.reload([]); // every process is new, and lied to
    await assert.rejects(world.agent.proof({ key: 'work', ...target, timeout: 300 }), ({ name }) => typed.has(name));
    await until('it is lied to', () => told(lie) > before);
    assert.notEqual((await keyState()).state, 'ready');
    await backToGood();
  }
  // The key's handle is lost now and then, so that it is opened again and again; every third check of it is a lie.
  await lieAndCollect(t, wanted, (lie) =>
    [`C_SignInit fail 0x82 every ${full ? 50 : 8}`, `C_Sign ${lie} fresh every 3`]);
});

test('a slow token\'s lies are never released', async (t) => {
  const wanted = sized(t, 'proofs', 50_000, 1000);
  await lieAndCollect(t, wanted, (lie) => ['C_Sign delay 1', `C_Sign ${lie} every ${full ? 400 : 40}`]);
});

test('another key behind the same label is the state wrong key, '
  + 'and the right one is found again without help', async () => {
  const rightKey = { ...target, jkt: world.jkt.work };
  for (const commands of [['C_FindObjectsInit wrong-key', 'C_FindObjects handles 1'],
    ['C_FindObjectsInit wrong-key']]) {
    shim.command(...commands);
    if (commands.length === 1) await world.reload([]); // else it is the handles that have changed
    await outcome(world.agent.proof({ key: 'work', ...target }));
    const { reason, next, jkt } = await reaches('wrong key');
    assert.match(reason, /another key/);
    assert.ok(reason.includes(world.jkt.work), reason);
    assert.notEqual(next, '');
    assert.ok(jkt === undefined || jkt === world.jkt.work, 'status shows the other key as if it were ours');
    for (let i = 0; i < 5; i += 1)
      await assert.rejects(world.agent.proof({ key: 'work', ...target, timeout: 500 }), { name: 'key-wrong' });
    await backToGood();
    await checkProof((await world.agent.proof({ key: 'work', ...target })).proof, rightKey);
  }
});

test('new slot numbers and object handles cost no caller anything but time', async () => {
  for (let i = 1; i <= 5; i += 1) {
    shim.command(`C_GetSlotList slots ${i}`, `C_FindObjects handles ${i}`);
    const { proof } = await until('a proof', () => world.agent.proof({ key: 'work', ...target }));
    await checkProof(proof, { ...target, jkt: world.jkt.work });
    await reaches('ready');
  }
  await backToGood();
});
