// Callers of one world that never stop asking, and verify every answer: what runs while something is broken.
//
//   const kinds = await makeKinds(world); // what can be asked for: { proof, cached, uncached, authorize }
//   const load = startLoad(world, kinds, { callers: 2 });
//   … // an answer that is wrong rejects load.failed
//   await load.end(); // load.answers were right; load.failures: { kind, error, begun, ended }
//
// The world has the profiles basic, post and jwt, and the key work.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { jose } from '../flow/world.mjs';
import { connect } from '../flow/wire.mjs';
import { fetchTrusting } from '../servers/transport.mjs';
import { checkProof, outcome, sleep } from './fault.mjs';

const athOf = (token) => createHash('sha256').update(token).digest('base64url');

// What each kind of caller asks for; it resolves to a check of the answer.
export async function makeKinds(world) {
  const get = fetchTrusting(world.authority.ca);
  const { jwks_uri } = await (await get(`${world.as.issuer}/.well-known/openid-configuration`)).json();
  const keySet = jose.createLocalJWKSet(await (await get(jwks_uri)).json());
  const verified = new Map(); // access token → client: each is verified once

  async function checkToken(accessToken, client) {
    if (verified.get(accessToken) === client) return;
    const { payload } = await jose.jwtVerify(accessToken, keySet,
      { issuer: world.as.issuer, audience: world.rs.origin });
    assert.equal(payload.client_id, client);
    assert.equal(payload.cnf.jkt, world.jkt.work);
    verified.set(accessToken, client);
  }

  return {
    proof: async (client, options = {}) => {
      const htu = `${world.rs.origin}/a?b`;
      const { proof, jkt } = await client.proof({ profile: 'basic', htm: 'GET', htu, ...options });
      return async () => {
        assert.equal(jkt, world.jkt.work);
        await checkProof(proof, { htm: 'GET', htu: `${world.rs.origin}/a`, jkt });
      };
    },
    cached: async (client, options = {}) => {
      const { access_token, jkt } = await client.token({ profile: 'basic', ...options });
      return async () => {
        assert.equal(jkt, world.jkt.work);
        await checkToken(access_token, 'basic');
      };
    },
    uncached: async (client, options = {}) => {
      const { access_token } = await client.token({ profile: 'jwt', force: true, ...options });
      return () => checkToken(access_token, 'jwt');
    },
    authorize: async (client, options = {}) => {
      const request = { profile: 'post', htm: 'POST', url: `${world.rs.origin}/x`, ...options };
      const { authorization, dpop, url } = await client.authorize(request);
      return async () => {
        const [, token] = /^DPoP (.*)$/.exec(authorization);
        await checkToken(token, 'post');
        await checkProof(dpop, { htm: 'POST', htu: url, ath: athOf(token), jkt: world.jkt.work });
      };
    },
  };
}

// A wrong answer, as opposed to an error that the agent has told.
const isWrong = (error) => error.code === 'ERR_ASSERTION' || error.code?.startsWith('ERR_J');

// `callers` of each kind; each asks again `pause` milliseconds after its answer. options: what every request has
// besides.
export function startLoad(world, kinds, { callers = 2, pause = 5, options = {} } = {}) {
  const load = { answers: 0, failures: [], lastGood: 0 };
  let over = false;
  async function caller(kind) {
    let client;
    while (!over) {
      const begun = performance.now();
      try {
        client ??= await connect(world.socket);
        const check = await kinds[kind](client, options);
        await check();
        load.answers += 1;
        load.lastGood = performance.now();
      } catch (error) {
        if (isWrong(error)) throw error;
        load.failures.push({ kind, error, begun, ended: performance.now() });
        if (client?.isClosed !== false) client = undefined;
      }
      await sleep(pause); // the machine is small: the point is that something is always in flight
    }
    await client?.close();
  }
  const all = Object.keys(kinds).flatMap((kind) => Array.from({ length: callers }, () => caller(kind)));
  load.failed = Promise.all(all);
  load.failed.catch(() => {});
  load.end = async () => {
    over = true;
    await Promise.all(all);
  };
  return load;
}

// Runs `body` under load: a wrong answer ends it at once. → what was answered, and what failed.
export async function underLoad(world, kinds, body, how) {
  const load = startLoad(world, kinds, how);
  const done = body(load);
  try {
    await Promise.race([done, load.failed]);
  } finally {
    await load.end();
  }
  await done;
  return load;
}

// How many failures of each kind and name there were.
export const tally = (failures) => {
  const sums = {};
  for (const { kind, error } of failures) sums[`${kind} ${error.name}`] = (sums[`${kind} ${error.name}`] ?? 0) + 1;
  return JSON.stringify(sums);
};

// One call of each kind succeeds, right now and without another try.
export async function everythingWorks(world, kinds, why) {
  const client = await connect(world.socket);
  for (const kind of Object.keys(kinds)) {
    const { value, error } = await outcome(kinds[kind](client));
    assert.ok(!error, `${kind} ${why}: ${error?.name}: ${error?.message}`);
    await value();
  }
  await client.close();
}

// A stopwatch that knows how long the machine was too busy: elapsed() is the time since it was started, owed() that
// time without what processes that could run had to wait for a CPU (the kernel's pressure counter, where there is one),
// but an eighth of it at least, since on a machine with that much to do some process always waits.
export function stopwatch() {
  const waited = () => {
    try {
      return Number(/^some .*total=(\d+)/m.exec(readFileSync('/proc/pressure/cpu', 'utf8'))[1]) / 1000;
    } catch {
      return 0;
    }
  };
  const [begun, before] = [performance.now(), waited()];
  const elapsed = () => performance.now() - begun;
  return { elapsed, owed: () => Math.max(elapsed() / 8, elapsed() - (waited() - before)) };
}
