// An authorization server that is away while tokens want their successors, and a thousand tokens that end in one
// second: good tokens are served on, and the server is not stormed when it comes back. At full size a token lives for
// the hour and the server is away for the ten minutes that are promised; CI's size has a sixtieth of both.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { full, makeWorld, showLogOnFailure, sized } from '../flow/world.mjs';
import { outcome, sleep } from './fault.mjs';

const SCALE = full ? 1 : 60;
const LIFE = 3600 / SCALE; // seconds
const AWAY = 600 / SCALE;

let world;
before(async () => {
  world = await makeWorld({ profiles: { basic: { timeout: full ? 30 : 2 } }, asOptions: { tokenTtl: LIFE } });
});
after(() => world?.stop());
showLogOnFailure(() => world);

test('a server that is away for ten minutes of a one-hour token fails no request', async (t) => {
  t.diagnostic(`token: ${LIFE} s, away: ${AWAY} s`);
  const failures = [];
  const seen = new Set();
  const begun = Date.now();
  let requests = 0;
  let away = false;
  world.as.intercept(async (req) => {
    if (!away) return false;
    req.socket.destroy();
    return true;
  });
  const { access_token: first } = await world.agent.token('basic');
  // Away from just before the first moment at which a successor may be fetched.
  for (let at = 0; at < LIFE * 0.98; at = (Date.now() - begun) / 1000) {
    away = at > LIFE * 0.66 && at < LIFE * 0.66 + AWAY;
    const { value, error } = await outcome(world.agent.token('basic'));
    requests++;
    if (error) failures.push(`${at.toFixed(1)} s: ${error.message}`);
    else seen.add(value.access_token);
    await sleep(100);
  }
  world.as.intercept(null);
  t.diagnostic(`requests: ${requests}, failed: ${failures.length}, token requests: ${world.as.tokenRequests().length}`);
  assert.deepEqual(failures, []);
  assert.ok(seen.has(first) && seen.size > 1, 'a new token was there before the first one ended');
});

const perSecond = (times) => {
  const counts = new Map();
  for (const time of times) counts.set(Math.floor(time / 1000), (counts.get(Math.floor(time / 1000)) ?? 0) + 1);
  return Math.max(0, ...counts.values());
};

test('profiles whose tokens end in the same second do not storm the server', async (t) => {
  const count = sized(t, 'profiles', 1000, 200);
  const life = full ? 90 : 30; // seconds
  const names = Array.from({ length: count }, (_, i) => `p${i}`);
  world.as.setTokenTtl(life);
  await world.configure({ profiles: Object.fromEntries(names.map((name) =>
    [name, { client: 'basic', form: `n=${name}` }])) });
  // which take 256 requests at a time
  const connections = await Promise.all(Array.from({ length: Math.ceil(count / 200) }, () => world.connect()));
  t.after(() => connections.forEach((connection) => connection.close()));
  const all = () => Promise.all(names.map((name, i) =>
    outcome(connections[i % connections.length].token({ profile: name, timeout: 60_000 }))));
  const times = (mark) =>
    world.as.tokenRequests().slice(mark).map(({ time }) => Number(time instanceof Date ? time : new Date(time)));

  let mark = world.as.tokenRequests().length;
  assert.deepEqual((await all()).filter(({ error }) => error).map(({ error }) => error.message), []);
  const cold = perSecond(times(mark));
  await all(); // used: so they are renewed by themselves
  mark = world.as.tokenRequests().length;
  await sleep(life * 1000);
  const renewals = times(mark);
  t.diagnostic(`all at once, nothing cached: at most ${cold} requests in a second; renewals: ${renewals.length}, `
    + `at most ${perSecond(renewals)} in a second`);
  assert.ok(renewals.length >= count, 'all of them are renewed before they end');
  assert.ok(perSecond(renewals) <= 80, 'at a pace');
  assert.ok(cold <= 80, 'and so are all that are asked for at once');
});
