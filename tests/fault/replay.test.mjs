// Nothing that is good for one use is sent twice: servers that remember every proof, client assertion and JWT bearer
// assertion, while a tenth of their answers are faults of all kinds and many callers ask at once.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { jose, makeWorld, showLogOnFailure, sized } from '../flow/world.mjs';
import { bytes, reset, resetInTheMiddle, silent } from '../flow/hostile-server.mjs';
import { startScriptedServers } from '../flow/scripted-server.mjs';
import { outcome, sleep } from './fault.mjs';

const SERVERS = 12;
const CALLERS = 12; // at each: a kind of token of its own each, so that none waits for another's
// Of PERIOD requests to a server these are faults. Failures for which the agent backs off stand so far apart that a good
// answer always comes in between: it never has to wait.
const PERIOD = 60;
const faults = { 5: 'nonce', 15: '503', 25: 'truncated', 35: 'reset', 45: 'nonce', 55: 'reset in the middle' };
const TIME_OUTS = 8; // every eighth reset is a time-out instead

let world;
let servers;
let close;
const counts = { requests: 0, good: 0 };
const remembered = { proof: new Set(), 'client assertion': new Set(), 'grant assertion': new Set() };
const wrong = []; // what came twice, or not at all
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ workers: 2, agent: { 'log-level': 'warning' } });
  const names = Array.from({ length: SERVERS }, (_, i) => `s${i}`);
  const scripted = await startScriptedServers(world.authority.tls, names, { client: 'jwt', timeout: 3 });
  ({ servers, close } = scripted);
  for (const [i, name] of names.entries()) {
    servers[name].token = answerer(servers[name]);
    if (i % 2 === 0) Object.assign(scripted.profiles[name], { grant: 'jwt-bearer', 'assertion-subject': 'robot' });
  }
  await world.configure({ profiles: scripted.profiles });
});
after(async () => {
  await world?.stop();
  await close?.();
});

function remember(what, jwt, isWanted = true) {
  if (!isWanted && jwt === undefined) return;
  let jti;
  try {
    ({ jti } = jose.decodeJwt(jwt));
  } catch {
    // told below
  }
  if (typeof jti !== 'string' || jti === '') wrong.push(`a ${what} without a jti`);
  else if (remembered[what].has(jti)) wrong.push(`a ${what} came twice: ${jti}`);
  else remembered[what].add(jti);
}

function answerer(server) {
  let here = 0;
  let nonces = 0;
  let resets = 0;
  return (answer, request) => {
    server.requests.length = server.sends.length = 0; // a hundred thousand of them are too many to keep
    counts.requests++;
    remember('proof', request.headers.dpop);
    remember('client assertion', request.form.get('client_assertion') ?? undefined);
    remember('grant assertion', request.form.get('assertion') ?? undefined, request.form.get('grant_type').endsWith('jwt-bearer'));
    let fault = faults[here++ % PERIOD];
    if (fault === 'reset' && resets++ % TIME_OUTS === 0) fault = 'time-out';
    counts[fault ?? 'good'] = (counts[fault ?? 'good'] ?? 0) + 1;
    const act = {
      nonce: () => answer(400, { error: 'use_dpop_nonce' }, { 'DPoP-Nonce': `n${++nonces}` }),
      503: () => answer(503, 'closed'),
      truncated: bytes('{"access_token":"a","token_ty'),
      reset, 'reset in the middle': resetInTheMiddle, 'time-out': silent,
    }[fault] ?? (() => server.grant(answer));
    return act(answer, request);
  };
}

test('every attempt has a new proof and new assertions', async (t) => {
  const wanted = sized(t, 'requests', 100_000, 2000);
  const errors = {};
  const begun = performance.now();
  const caller = async (profile, scope) => {
    const agent = await world.connect();
    while (counts.requests < wanted) {
      const { error } = await outcome(agent.token({ profile, scope, force: true }));
      if (!error) continue;
      errors[error.name] = (errors[error.name] ?? 0) + 1;
      if (error.retry_after > 0) await sleep(200);
    }
    await agent.close();
  };
  await Promise.all(Object.keys(servers).flatMap((profile) => Array.from({ length: CALLERS }, (_, i) => caller(profile, `scope${i}`))));

  const seconds = (performance.now() - begun) / 1000;
  t.diagnostic(`requests: ${JSON.stringify(counts)}, in ${seconds.toFixed(0)} s; errors to callers: ${JSON.stringify(errors)}`);
  t.diagnostic(`remembered: ${Object.entries(remembered).map(([what, { size }]) => `${size} ${what}s`).join(', ')}`);
  assert.deepEqual(wrong.slice(0, 10), []);
  assert.equal(remembered.proof.size, counts.requests);
  assert.equal(remembered['client assertion'].size, counts.requests);
  assert.ok(remembered['grant assertion'].size > counts.requests / 4);
  const share = 1 - counts.good / counts.requests;
  assert.ok(share > 0.08 && share < 0.12, `faults: ${(100 * share).toFixed(1)} %`);
  const { processes } = await world.agent.status();
  const restarted = processes.filter(({ starts }) => starts > 1);
  if (restarted.length > 0) {
    t.diagnostic(`started again: ${restarted.map(({ name, starts }) => `${name} ${starts} times`).join(', ')}`);
    for (const line of (await world.log()).split('\n').filter((one) => one.includes(' supervisor: '))) t.diagnostic(line);
  }
  // A machine that has other work can make a process miss its deadline; its callers are told so.
  const expected = ['server-unavailable', 'server-unreachable', 'server-misbehaved', 'timeout', ...(restarted.length > 0 ? ['restarted'] : [])];
  assert.deepEqual(Object.keys(errors).filter((name) => !expected.includes(name)), []);
});
