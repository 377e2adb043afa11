// No secret is where it should not be (issue 2, acceptance 8): canaries are planted as client secret and PIN, the agent works
// and fails at the highest log level, and then everything is searched for them. And what every process gives up.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { build, makeWorld, nobody, run, showLogOnFailure, until } from '../flow/world.mjs';
import { ofRole, outcome, processes, searchMemory, statusField } from './fault.mjs';

let world, pin;
let needles = {}; // name → what must not be found
const said = []; //  everything that programs wrote and errors said

// The forms in which a secret may stand somewhere.
const forms = (name, secret) => ({
  [name]: secret,
  [`${name}, form-encoded`]: encodeURIComponent(secret),
  [`${name}, in base64`]: Buffer.from(secret).toString('base64').replace(/=+$/, '').slice(0, -1),
});

before(async () => {
  world = await makeWorld({ profiles: { basic: {}, post: {}, jwt: {} }, workers: 2 });
  pin = (await readFile(world.pinFile.work, 'utf8')).trim();
  assert.ok(pin.length >= 16, 'the PIN that init makes is long enough to be looked for');
  const basic = Buffer.from(`basic:${encodeURIComponent(world.secrets.basic)}`).toString('base64');
  needles = {
    ...forms('the basic secret', world.secrets.basic),
    ...forms('the post secret', world.secrets.post),
    ...forms('the PIN', pin),
    'basic credentials': basic.replace(/=+$/, '').slice(0, -1),
  };
  await useEverything();
});
after(() => world?.stop());
showLogOnFailure(() => world);

const url = () => `${world.rs.origin}/x?y=z`;

// All that the agent can do, in success and failure.
async function useEverything() {
  const { agent } = world;
  for (const profile of ['basic', 'post', 'jwt']) {
    await agent.token({ profile, force: true });
    await agent.authorize({ profile, htm: 'GET', url: url() });
    const request = await world.dpop('request', '--ca-file', world.authority.ca, '-v', profile, url());
    assert.equal(request.status, 0, request.stderr);
    said.push(request.stdout, request.stderr);
  }
  await agent.proof({ profile: 'basic', htm: 'GET', htu: url(), nonce: 'n' });
  for (const verb of [['status'], ['key', 'list'], ['key', 'show', 'work'], ['profile', 'list'], ['--json', 'status'], ['--json', 'profile', 'list']]) {
    const { stdout, stderr } = await world.dpop(...verb);
    said.push(stdout, stderr);
  }
  // Failures: wrong secrets, a file that others may read, an answer that is none, a wrong PIN.
  const fail = async (call) => {
    const { error } = await outcome(call);
    assert.ok(error, 'a failure was wanted');
    said.push(JSON.stringify({ ...error, message: error.message }));
  };
  const wrong = `${world.secrets.basic}-wrong`;
  await world.writeSecret(world.secretFiles.basic, wrong);
  await fail(agent.token({ profile: 'basic', force: true }));
  await world.writeSecret(world.secretFiles.basic, world.secrets.basic, 0o644);
  await fail(agent.token({ profile: 'basic', force: true }));
  await world.writeSecret(world.secretFiles.basic, world.secrets.basic);
  world.as.intercept((req, res) => {
    let body = '';
    req.on('data', (chunk) => (body += chunk)).on('end', () => {
      res.writeHead(400, { 'content-type': 'application/json' }); // a server that sends back what it got
      res.end(JSON.stringify({ error: 'invalid_client', error_description: 'no', echo: `${req.headers.authorization} ${body}` }));
    });
    return req.url.startsWith('/token');
  });
  for (const profile of ['basic', 'post', 'jwt']) await fail(agent.token({ profile, force: true }));
  world.as.intercept(null);
  const { stdout, stderr } = await world.dpop('token', 'nobody');
  said.push(stdout, stderr);
  await world.writeSecret(world.pinFile.work, `${pin}-wrong`);
  for (const { pid } of ofRole(world.process.pid, 'key')) process.kill(pid, 'SIGKILL');
  await until('the PIN is refused', async () => (await agent.keys())[0].state === 'locked');
  await fail(agent.proof({ key: 'work', htm: 'GET', htu: url() }));
  said.push(JSON.stringify(await agent.keys()));
  await world.writeSecret(world.pinFile.work, pin);
  await until('every process is ready', async () => {
    const states = (await agent.status()).processes.map(({ state }) => state);
    return states.length === 5 && states.every((state) => state === 'ready');
  });
  await agent.proof({ key: 'work', htm: 'GET', htu: url() });
}

function assertNothingIn(text, where, more = {}) {
  for (const [name, needle] of Object.entries({ ...needles, ...more }))
    assert.ok(!text.includes(needle), `${name} stands in ${where}`);
}

async function tokens() {
  const held = {};
  for (const profile of ['basic', 'post', 'jwt']) held[`the access token of ${profile}`] = (await world.agent.token(profile)).access_token;
  return held;
}

test('no secret, PIN, token or proof stands in a log at the highest level', async () => {
  const log = await world.log();
  assert.match(log, /debug:/, 'the log is at its highest level');
  assertNothingIn(log, 'the log', await tokens());
  assert.doesNotMatch(log, /eyJ[A-Za-z0-9_-]{10}/, 'a JWT stands in the log');
});

test('no secret stands in cmdline or environ of any process of the agent', () => {
  const all = processes(world.process.pid);
  assert.equal(all.length, 6);
  for (const { pid, role } of all)
    for (const file of ['cmdline', 'environ']) assertNothingIn(readFileSync(`/proc/${pid}/${file}`, 'latin1'), `${file} of ${role}`);
});

test('no secret, token or proof stands in what dpop -v prints, and no secret in an error', async () => {
  const verbose = await world.dpop('request', '--ca-file', world.authority.ca, '-v', 'basic', url());
  assert.match(verbose.stderr, /authorization: DPoP /i, 'the exchange is shown');
  assertNothingIn(verbose.stdout + verbose.stderr, 'what dpop request -v prints', await tokens());
  assert.doesNotMatch(verbose.stderr, /eyJ[A-Za-z0-9_-]{10}/);
  assert.ok(said.length > 20);
  for (const text of said) assertNothingIn(text, text);
});

test('the state folder has the PIN in its own file only, and the record of refused PINs has none', () => {
  const all = readdirSync(world.stateFolder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(all.some(({ name }) => name === 'pins'));
  for (const { name, parentPath } of all) {
    const path = join(parentPath, name);
    const text = readFileSync(path, 'latin1');
    assert.equal(statSync(path).mode & 0o077, 0, `${path} is for its owner only`);
    if (path !== world.pinFile.work) assertNothingIn(text, path); // with the wrong PIN, of which it is the beginning
  }
});

test('no client secret or PIN is in the memory of the front', async () => {
  const [{ pid }] = ofRole(world.process.pid, 'front');
  const { access_token } = await world.agent.token('basic');
  assert.notDeepEqual(searchMemory(pid, { control: access_token }), [], 'the search finds what is there');
  assert.deepEqual(searchMemory(pid, needles), []);
});

test('no PIN is in the memory of supervisor, net process and store, and no client secret outside the net process', () => {
  const pins = Object.fromEntries(Object.entries(needles).filter(([name]) => name.includes('PIN')));
  const secrets = Object.fromEntries(Object.entries(needles).filter(([name]) => !name.includes('PIN')));
  for (const { pid, role } of processes(world.process.pid)) {
    if (role !== 'key') assert.deepEqual(searchMemory(pid, pins), [], role);
    if (role !== 'net') assert.deepEqual(searchMemory(pid, secrets), [], role);
  }
});

test('a client\'s memory holds no secret, and a token only until it is cleared', async () => {
  const { access_token } = await world.agent.token('basic');
  const wanted = { ...needles, token: access_token };
  const names = (pid) => [...new Set(searchMemory(pid, wanted).map(({ name }) => name))];
  const holder = spawn(join(build, 'tests/fault/holder'), [world.socket, 'basic', url()], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: holder.stdout })[Symbol.asyncIterator]();
  const reaches = async (point) => assert.equal((await lines.next()).value, point);
  try {
    await reaches('held');
    assert.deepEqual(names(holder.pid), ['token']);
    holder.stdin.write('\n');
    await reaches('cleared');
    assert.deepEqual(names(holder.pid), [], 'after dpop_token_clear and its sisters');
    holder.stdin.write('\n');
    await reaches('closed');
    assert.deepEqual(names(holder.pid), []);
  } finally {
    holder.stdin.end('\n');
    await once(holder, 'exit');
  }
  assert.equal(holder.exitCode, 0);
});

test('libdpop-agent needs nothing but libc', async () => {
  const { stdout } = await run('readelf', ['-d', join(build, 'client/libdpop-agent.so')]);
  const sanitizers = /^lib(asan|ubsan)\.so/;
  const needed = [...stdout.matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name).filter((name) => !sanitizers.test(name));
  assert.deepEqual(needed, ['libc.so.6']);
});

test('every process has given up new privileges, core files and being looked at', async () => {
  for (const { pid, role } of processes(world.process.pid)) {
    assert.equal(statusField(pid, 'NoNewPrivs'), '1', role);
    assert.match(readFileSync(`/proc/${pid}/limits`, 'utf8'), /Max core file size +0 +0 /, role);
    assert.equal(statusField(pid, 'CapEff'), statusField(process.pid, 'CapEff'), `${role} has gained no capability`);
  }
});

test('a process of the same user cannot look into the agent', async () => {
  const theirs = await makeWorld({ servers: false, user: nobody });
  try {
    for (const { pid, role } of processes(theirs.process.pid)) {
      assert.equal(statSync(`/proc/${pid}/environ`).uid, 0, `${role} is dumpable: its files in /proc belong to its user`);
      for (const file of ['environ', 'mem', 'maps']) {
        const { status, stderr } = await run('head', ['-c', '1', `/proc/${pid}/${file}`], nobody);
        assert.notEqual(status, 0, `${file} of ${role}`);
        assert.match(stderr, /Permission denied/);
      }
    }
  } finally {
    await theirs.stop();
  }
});
