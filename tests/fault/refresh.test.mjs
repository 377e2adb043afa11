// Refresh tokens that rotate, and an agent that is killed at any moment (kill -9 of all its processes, or of one), a disk that
// is full, and a state folder that was copied: a token once handed out has its refresh token on disk; a user has to log in
// again only where the server consumed a refresh token and the agent never got to keep its answer.

import assert from 'node:assert/strict';
import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeWorld, ownMounts, run, showLogOnFailure, sized, startAgent, until } from '../flow/world.mjs';
import { logIn } from '../flow/user.mjs';
import { clientFor } from '../servers/clients.mjs';
import { hashOf } from '../servers/events.mjs';
import { ofRole, outcome, processes, sleep } from './fault.mjs';

const LIFETIME = 3; // seconds of an access token: so long a refresh token may be in doubt
const PATIENCE = (LIFETIME + 12) * 1000;
const profiles = {
  user: { 'client-id': 'public', grant: 'authorization_code', 'client-authentication': 'none', 'client-secret-file': null },
};
const asOptions = {
  clients: [clientFor({ id: 'public', grants: ['code', 'refresh'] })], refreshTokens: 'always', rotate: true, tokenTtl: LIFETIME,
};

let world;
before(async () => {
  world = await makeWorld({ profiles, asOptions, env: () => ({ ASAN_OPTIONS: 'quarantine_size_mb=4' }) });
});
after(() => world?.stop());
showLogOnFailure(() => world);

async function logInto(w) {
  const agent = await w.connect();
  const { login, url } = await agent.loginBegin({ profile: 'user' });
  const finished = agent.loginWait({ login, timeout: 30_000 });
  await logIn(url, { ca: w.authority.ca });
  const answer = await finished;
  assert.equal(answer.persisted, true, answer.note);
  agent.close();
  return answer;
}

const token = async (w, options) => {
  const agent = await w.connect();
  try {
    return await agent.token({ profile: 'user', ...options });
  } finally {
    agent.close();
  }
};

// Whom a round kills: everything at once, as a power cut does, or one process, which its supervisor starts again.
const victims = {
  all: async (w) => {
    const all = processes(w.process.pid);
    for (const { pid } of all) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // it has ended
      }
    }
    await w.process.exited;
    await w.start();
  },
  front: (w) => killRole(w, 'front'),
  store: (w) => killRole(w, 'store'),
  net: (w) => killRole(w, 'net'),
};

function killRole(w, role) {
  for (const { pid } of ofRole(w.process.pid, role)) process.kill(pid, 'SIGKILL');
}

// A token by hook or by crook: { token } or { required: error }, when neither comes there is a defect.
async function settle(w, options) {
  let ended;
  await until('a token, or that a user has to log in', async () => {
    ended = await outcome(token(w, options));
    return ended.value || ended.error?.name === 'login-required';
  }, { timeout: PATIENCE, every: 100 });
  return ended.value ? { token: ended.value } : { required: ended.error };
}

test('kill -9 at random moments of a refresh loses no refresh token whose answer was kept', async (t) => {
  const rounds = sized(t, 'kills', 1000);
  const counts = { afterAnswer: 0, inFlight: 0, recovered: 0, loginRequired: 0 };
  const byVictim = {};
  await logInto(world);
  const begun = performance.now();
  await token(world, { force: true });
  let window = Math.max(30, 1.6 * (performance.now() - begun)); // milliseconds in which a refresh happens
  const names = Object.keys(victims);
  for (let round = 0; round < rounds; round++) {
    const victim = round % 3 === 0 ? names[1 + Math.floor(Math.random() * 3)] : 'all';
    byVictim[victim] = (byVictim[victim] ?? 0) + 1;
    const asked = outcome(token(world, { force: true, timeout: 10_000 }));
    await sleep(Math.random() * window);
    await victims[victim](world);
    const { value: handedOut, ms } = await asked;
    if (handedOut) {
      counts.afterAnswer++;
      window = 0.9 * window + 0.1 * Math.max(30, 1.6 * ms);
    } else {
      counts.inFlight++;
    }
    const mark = world.as.requests.length;
    const { token: next, required } = await settle(world, { force: !handedOut });
    if (next) {
      counts.recovered++;
      checkPresented(mark, handedOut);
    } else {
      counts.loginRequired++;
      checkLoss(required, handedOut);
      await logInto(world);
    }
  }
  t.diagnostic(`kills: ${JSON.stringify({ ...counts, byVictim })}`);
  assert.equal(counts.recovered + counts.loginRequired, rounds);
});

// What a token that was handed out came with is on disk: nothing older is ever sent again.
function checkPresented(mark, handedOut) {
  if (!handedOut) return;
  const issued = world.as.events.find(({ event, tokenHash }) => event === 'token_issued' && tokenHash === hashOf(handedOut.access_token));
  const consumed = new Set(world.as.events.filter(({ event, time }) => event === 'refresh_consumed' && time <= issued.time).map(({ tokenHash }) => tokenHash));
  for (const { presented, grantType } of world.as.requests.slice(mark)) {
    if (grantType === 'refresh_token' && presented) assert.ok(!consumed.has(presented), 'no refresh token from before a token that was handed out is sent');
  }
}

// The server's own log shows that it had consumed what the agent sent, and the agent had given nobody what came of it.
function checkLoss(error, handedOut) {
  assert.equal(handedOut, undefined, 'nobody had the token');
  const refused = world.as.events.filter(({ event, error: code }) => event === 'refused' && code === 'invalid_grant').at(-1);
  assert.ok(refused, `the server has refused the refresh token: ${error.message}`);
  assert.ok(world.as.events.some(({ event, tokenHash }) => event === 'refresh_consumed' && tokenHash === refused.tokenHash),
    `and had consumed it before: ${JSON.stringify(refused)}`);
}

test('a copy of the state folder without the token yields nothing', async () => {
  await logInto(world);
  const { access_token } = await token(world);
  const names = (await readdir(world.stateFolder, { withFileTypes: true })).filter((entry) => entry.isFile()).map(({ name }) => name);
  assert.ok(names.some((name) => name.startsWith('login-')), `the login is on disk: ${names}`);
  for (const name of names) {
    const content = await readFile(join(world.stateFolder, name));
    assert.ok(!content.includes(access_token), `${name} has no access token`);
    assert.ok(!content.includes('"refresh_token"') && !content.includes('public'), `${name} has nothing to read`);
  }
  const thief = await makeWorld({ profiles: { user: profiles.user }, asOptions });
  try {
    thief.process.kill('SIGTERM');
    await thief.process.exited;
    for (const name of names.filter((one) => one.startsWith('login-'))) await cp(join(world.stateFolder, name), join(thief.stateFolder, name));
    await thief.start();
    await thief.ready();
    await assert.rejects(token(thief), { name: 'login-required' });
  } finally {
    await thief.stop();
  }
});

test('a full disk: nothing is sent that could not be kept, and nothing is lost', async (t) => {
  const full = await makeWorld({ profiles, asOptions });
  try {
    full.process.kill('SIGTERM');
    await full.process.exited;
    const saved = join(full.dir, 'saved');
    await cp(full.stateFolder, saved, { recursive: true });
    // The state folder on a disk of 256 KiB, which this test can fill through /proc.
    const script = `mount -t tmpfs -o size=256k,mode=0700 tmpfs "${full.stateFolder}" && cp -a "${saved}/." "${full.stateFolder}/" && exec "$@"`;
    full.process = await startAgent({ env: full.environment, logPath: full.logPath, wrap: [...ownMounts, 'sh', '-c', script, 'sh'] });
    await full.ready();
    await logInto(full);
    const disk = `/proc/${full.process.pid}/root${full.stateFolder}`;
    const fill = async () => {
      for (let size = 65536; size >= 1; size = Math.floor(size / 2)) {
        for (let i = 0; i < 8; i++) if ((await outcome(writeFile(join(disk, `filler-${size}-${i}`), Buffer.alloc(size)))).error) break;
      }
    };
    const free = async () => {
      for (const name of await readdir(disk)) if (name.startsWith('filler-')) await rm(join(disk, name));
    };
    const refreshes = () => full.as.requests.filter(({ grantType, presented }) => grantType === 'refresh_token' && presented).length;

    await token(full, { force: true });
    await fill();
    let mark = refreshes();
    const refused = await outcome(token(full, { force: true }));
    assert.match(String(refused.error?.message), /cannot|space|write/i, 'the error says what to do');
    assert.equal(refreshes(), mark, 'the refresh token was not sent');
    await free();
    await settle(full, { force: true });

    // Now the disk is full when the answer comes.
    full.as.intercept(async (req, res, record) => {
      if (record.path === '/token') await fill();
      return false;
    });
    const lost = await outcome(token(full, { force: true }));
    full.as.intercept(null);
    assert.ok(lost.error, 'no token is handed out whose refresh token is not on disk');
    mark = refreshes();
    await free();
    const { token: kept } = await settle(full);
    assert.ok(kept, 'the answer was kept in memory, and is written as soon as there is room');
    assert.equal(refreshes(), mark, 'without another refresh');
    t.diagnostic(`the error while the disk was full: ${refused.error.message}`);
  } finally {
    await full.stop();
  }
});
