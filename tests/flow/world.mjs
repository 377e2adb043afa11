// A world for one test file: a private folder, a certificate authority, an authorization server and a resource server,
// the agent under test with a key that it made itself in a SoftHSM token, and the dpop command.
//
//   const world = await makeWorld({ profiles: { basic: {}, jwt: {} }, workers: 2 });
//   await world.agent.proof({ profile: 'basic', … });          // a connection (wire.mjs); world.connect() gives more
//   const { status, stdout, stderr } = await world.dpop('token', 'basic');
//   await world.stop();                                        // checks the agent's end, and removes all of it
//
// A profile is { option: value } of dpop-agent.conf, laid over what its client's kind needs (see profileOptions): null
// leaves an option out, an array repeats it; `client` is 'basic', 'post' or 'jwt' (default: the profile's name, else
// basic), or one that addClient (login-steps.mjs) made. The agent's log is in world.log(); a log with a sanitizer's
// report fails stop().

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { afterEach } from 'node:test';
import { access, chmod, chown, copyFile, mkdir, mkdtemp, open, readFile, readdir, rename, rm,
  writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeAuthority } from '../servers/authority.mjs';
import { startAuthorizationServer } from '../servers/authorization-server.mjs';
import { startResourceServer } from '../servers/resource-server.mjs';
import { connect } from './wire.mjs';

export const repository = resolve(import.meta.dirname, '../..');
export const build = resolve(process.env.DPOP_BUILD || join(repository, 'build/sanitize'));
export const agentBinary = join(build, 'agent/dpop-agent');
export const dpopBinary = join(build, 'client/dpop');
export const full = process.env.DPOP_FULL === '1';
export const jose = createRequire(join(repository, 'tests/servers/package.json'))('jose');

// The beginning of a command line in a mount namespace of its own. In a chroot whose / is no mount point the
// propagation cannot be set; whoever made it has seen to that.
export const ownMounts = ['unshare', '--mount', '--propagation',
  spawnSync('unshare', ['--mount', 'true']).status === 0 ? 'private' : 'unchanged'];
export const nobody = { uid: 65534, gid: 65534 };

// A count at full size, or CI's: a fiftieth unless it is given. Printed, so that a log says what was tested.
export function sized(t, what, whole, ci = Math.ceil(whole / 50)) {
  const count = full ? whole : ci;
  t.diagnostic(`${what}: ${count}${full ? '' : ` (DPOP_FULL=1: ${whole})`}`);
  return count;
}

// Resolves with what probe() gives as soon as that is truthy. A probe that throws is tried again.
export async function until(what, probe, { timeout = 15_000, every = 15 } = {}) {
  const end = Date.now() + timeout;
  for (;;) {
    let failure;
    try {
      const result = await probe();
      if (result) return result;
    } catch (error) {
      failure = error;
    }
    if (Date.now() > end)
      throw new Error(`timed out after ${timeout} ms: ${what}${failure ? `: ${failure.message}` : ''}`);
    await sleep(every);
  }
}

export function assertRoot() {
  assert.equal(process.geteuid(), 0, 'this test starts programs as a second, unprivileged user: run the tests as root');
}

// Runs a program to its end: { status, signal, stdout, stderr }. stdin: string, Buffer or readable stream.
export async function run(file, args, { stdin = '', env = {}, uid, gid, cwd = '/', timeout = 60_000 } = {}) {
  const child = spawn(file, args,
    { env: { PATH: process.env.PATH, ...env }, uid, gid, cwd, stdio: ['pipe', 'pipe', 'pipe'] });
  const output = { stdout: [], stderr: [] };
  for (const name of ['stdout', 'stderr']) child[name].on('data', (chunk) => output[name].push(chunk));
  child.stdin.on('error', () => {}); // a program need not read it
  if (typeof stdin?.pipe === 'function') stdin.pipe(child.stdin);
  else child.stdin.end(stdin);
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  const [status, signal] = await new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', (...ended) => done(ended));
  }).finally(() => clearTimeout(timer));
  const bytes = Buffer.concat(output.stdout);
  return { status, signal, stdout: bytes.toString(), stdoutBytes: bytes,
    stderr: Buffer.concat(output.stderr).toString() };
}

// ---- the agent as a process ---------------------------------------------------------------------------------------

const sanitizerReport = /ERROR: AddressSanitizer|runtime error:|LeakSanitizer|AddressSanitizer:DEADLYSIGNAL/;

const isAlive = (pid) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
};

export async function childrenOf(pid) {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

// The end of a log: what a failing test shows.
export async function logTail(path, lines = 60) {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.split('\n').slice(-lines).join('\n');
}

// Starts dpop-agent: { pid, exited: Promise<{ status, signal }>, log(), stop() }. Its stderr goes to the file logPath.
// wrap: a program and arguments that the agent's command line is appended to.
export async function startAgent({ args = [], env = {}, logPath, uid, gid, binary = agentBinary, wrap = [],
  cwd = '/' }) {
  const log = await open(logPath, 'a', 0o600);
  const [file, ...rest] = [...wrap, binary, ...args];
  const child = spawn(file, rest,
    { env: { PATH: process.env.PATH, ...env }, uid, gid, cwd, stdio: ['ignore', 'ignore', log.fd] });
  await log.close();
  const exited = new Promise((done, failed) => {
    child.once('error', failed);
    child.once('exit', (status, signal) => done({ status, signal }));
  });
  exited.catch(() => {});
  const agent = {
    pid: child.pid,
    exited,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    kill: (signal) => child.kill(signal),
    log: () => readFile(logPath, 'utf8'),
    logged: (pattern, options) =>
      until(`the log has ${pattern}`, async () => (await agent.log()).match(pattern), options),
    // Ends it as systemd would and checks everything that must hold then.
    async stop() {
      const children = agent.isRunning() ? await childrenOf(child.pid) : [];
      const wasRunning = agent.isRunning();
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      const ended = await exited;
      clearTimeout(timer);
      try {
        assert.ok(wasRunning, `the agent had ended before: ${JSON.stringify(ended)}`);
        assert.deepEqual(ended, { status: 0, signal: null }, 'the agent ends with status 0 at SIGTERM');
        const report = (await agent.log()).match(sanitizerReport);
        assert.equal(report, null, 'the log has no sanitizer report');
        await until('no process of the agent is left', () => children.every((pid) => !isAlive(pid)), { timeout: 5000 });
      } catch (error) {
        console.error(`---- end of the agent's log ${logPath}\n${await logTail(logPath, 120)}\n----`);
        throw error;
      }
    },
  };
  return agent;
}

// Prints the end of the agent's log after each test that failed. Called once, at the top of a test file.
export function showLogOnFailure(getWorld) {
  afterEach(async (t) => {
    if (t.error && getWorld()?.logPath)
      console.error(`---- the agent's log after "${t.name}"\n${await logTail(getWorld().logPath)}\n----`);
  });
}

// ---- configuration ------------------------------------------------------------------------------------------------

// { section: { option: value } } as INI text; arrays repeat an option, null leaves it out.
export function iniText(sections) {
  const lines = [];
  for (const [section, options] of Object.entries(sections)) {
    lines.push(`[${section}]`);
    for (const [option, value] of Object.entries(options)) {
      for (const one of [value].flat()) if (one !== null && one !== undefined) lines.push(`${option} = ${one}`);
    }
    lines.push('');
  }
  return lines.join('\n');
}

// The inverse, for the file that init wrote: an option that is there several times becomes an array.
export function parseIni(text) {
  const sections = {};
  let current;
  for (const line of text.split('\n').map((whole) => whole.trim())) {
    if (line === '' || /^[#;]/.test(line)) continue;
    const [, section] = /^\[(.*)\]$/.exec(line) ?? [];
    if (section) current = sections[section] = {};
    else {
      const [option, value] = [line.slice(0, line.indexOf('=')).trim(), line.slice(line.indexOf('=') + 1).trim()];
      current[option] = option in current ? [current[option], value].flat() : value;
    }
  }
  return sections;
}

const authentications = { basic: 'client_secret_basic', post: 'client_secret_post', jwt: 'private_key_jwt' };

// What a profile of this client needs at the world's servers.
function profileOptions(world, name, { client = name in authentications ? name : 'basic', ...overrides }) {
  const ofClient = world.clients[client] ?? {
    'client-id': client,
    'client-authentication': authentications[client],
    'client-secret-file': client === 'jwt' ? null : world.secretFiles[client],
  };
  return {
    key: world.keyNames[0],
    issuer: world.as?.issuer ?? 'https://as.invalid',
    ...ofClient,
    scope: 'read',
    resource: world.rs?.origin ?? null,
    origins: world.rs?.origin ?? 'https://api.invalid',
    'ca-file': world.authority?.ca ?? null,
    ...overrides,
  };
}

// ---- the world ----------------------------------------------------------------------------------------------------

export async function makeWorld({
  profiles = { basic: {} }, //  { name: { option: value } }
  keys = ['work'], //           names; each is made with the operation init
  key = {}, //                  options of every [key …]
  init = {}, //                 what the operation init is told of the token: kind, environment, … (SoftHSM by default)
  workers = 1,
  agent: agentOptions = {}, //  options of [agent]
  servers = true, //            false: the agent alone
  asOptions = {}, //            for startAuthorizationServer
  rsOptions = {}, //            for startResourceServer
  env = () => ({}), //          (dir) → more environment for the agent
  user = null, //               { uid, gid }: the agent's, and who owns its files
  wait = true, //               until every key is ready
} = {}) {
  for (const binary of [agentBinary, dpopBinary]) {
    await access(binary)
      .catch(() => assert.fail(`${binary} is missing: build it, or name another build folder in DPOP_BUILD`));
  }
  const dir = await mkdtemp(join(tmpdir(), 'dpop-flow-'));
  const undo = [];
  const world = {
    dir,
    keyNames: keys,
    logPath: join(dir, 'agent.log'),
    socket: join(dir, 'run/dpop-agent/socket'),
    configPath: join(dir, 'config/dpop-agent/agent.conf'),
    stateFolder: join(dir, 'state/dpop-agent'),
    secrets: { basic: `basic+secret/%:&=${randomUUID()}`, post: `post secret+${randomUUID()}` },
    secretFiles: { basic: join(dir, 'basic.secret'), post: join(dir, 'post.secret') },
    clients: {}, // what a profile says of a client: { 'client-id': …, … }, by its name
    jkt: {}, //    by key name
    jwk: {},
    keyUri: {},
    pinFile: {},
    sections: {}, // what writeConfig wrote last
    environment: { HOME: dir, XDG_CONFIG_HOME: join(dir, 'config'), XDG_STATE_HOME: join(dir, 'state'),
      XDG_RUNTIME_DIR: join(dir, 'run') },
    binary: agentBinary,
  };
  const own = async (path) => user && chown(path, user.uid, user.gid);

  world.own = own;
  world.writeSecret = async (path, text, mode = 0o600) => {
    await rm(path, { force: true });
    await writeFile(path, text, { mode });
    await chmod(path, mode);
    await own(path);
  };
  world.log = () => world.process.log();
  world.logged = (pattern, options) => world.process.logged(pattern, options);
  world.connect = () => connect(world.socket);
  world.dpop = (...args) => {
    const options = typeof args.at(-1) === 'object' ? args.pop() : {};
    return run(dpopBinary, args.map(String), { ...options, env: { ...world.environment, ...options.env } });
  };
  world.start = async () => {
    world.process = await startAgent({ env: { ...world.environment, ...env(dir) }, logPath: world.logPath,
      binary: world.binary, ...user });
  };

  // Waits until a connection says that these keys (default: all) are ready; world.agent is then a fresh connection.
  world.ready = async (names = world.keyNames, { frontIsNot } = {}) => {
    world.agent?.close();
    world.agent = await until(`the keys ${names.join(', ')} are ready`, async () => {
      assert.ok(world.process.isRunning(), 'the agent runs');
      const connection = await world.connect();
      try {
        const { processes, keys: states } = await connection.status();
        if (!processes.some(({ name, pid }) => name === 'front' && pid !== frontIsNot))
          throw new Error('the old front still answers');
        const waiting = names.filter((name) => states.find((state) => state.name === name)?.state !== 'ready');
        if (waiting.length > 0) throw new Error(JSON.stringify(states));
        return connection;
      } catch (error) {
        connection.close();
        throw error;
      }
    });
    return world.agent;
  };
  // { front, net, store, 'key work 0', … }: process ids, from the operation status.
  world.pids = async () => {
    const connection = await world.connect();
    const { processes } = await connection.status();
    connection.close();
    return Object.fromEntries(processes.map(({ name, pid }) => [name, pid]));
  };
  // Writes the whole configuration: profiles replace the former, sections (by name) lie over what is there.
  world.writeConfig = async ({ profiles: wanted = profiles, sections = {} } = {}) => {
    world.sections = {
      agent: { 'log-level': 'debug', ...agentOptions },
      ...world.keySections,
      ...Object.fromEntries(Object.entries(wanted)
        .map(([name, options]) => [`profile ${name}`, profileOptions(world, name, options)])),
    };
    for (const [name, options] of Object.entries(sections))
      world.sections[name] = { ...world.sections[name], ...options };
    await world.writeConfigText(iniText(world.sections));
  };
  world.writeConfigText = async (text) => {
    await writeFile(`${world.configPath}.new`, text, { mode: 0o600 });
    await own(`${world.configPath}.new`);
    await rename(`${world.configPath}.new`, world.configPath);
  };
  // SIGHUP, and waits for the new front and its keys.
  world.reload = async (names) => {
    const { front } = await world.pids();
    world.process.kill('SIGHUP');
    return world.ready(names, { frontIsNot: front });
  };
  world.configure = async (...args) => {
    await world.writeConfig(...args);
    return world.reload();
  };
  world.stop = async () => {
    world.agent?.close();
    const failures = [];
    for (const step of undo.reverse()) await step().catch((error) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };

  async function makeServers() {
    world.authority = await makeAuthority(join(dir, 'authority'));
    await chmod(join(dir, 'authority'), 0o755); // its ca.pem is for the agent's user
    world.as = await startAuthorizationServer({ tls: world.authority.tls, secrets: world.secrets, ...asOptions });
    undo.push(world.as.close);
    world.rs = await startResourceServer({ tls: world.authority.tls, issuer: world.as.issuer, ca: world.authority.ca,
      ...rsOptions });
    undo.push(world.rs.close);
    world.as.addResource(world.rs.origin);
  }

  async function makeFolder() {
    await own(dir);
    for (const name of ['config', 'config/dpop-agent', 'state', 'run']) {
      await mkdir(join(dir, name), { mode: 0o700 });
      await own(join(dir, name));
    }
    for (const client of ['basic', 'post']) await world.writeSecret(world.secretFiles[client], world.secrets[client]);
    if (user) {
      world.binary = join(dir, 'dpop-agent'); // the build folder may be private
      await copyFile(agentBinary, world.binary);
      await chmod(world.binary, 0o755);
    }
  }

  async function makeKey(name) {
    await rm(world.configPath, { force: true });
    // never a TPM of this machine
    const made = await world.agent.init({ name, ...(init.module || init.token ? {} : { kind: 'softhsm' }), ...init });
    world.jkt[name] = made.jkt;
    world.keyUri[name] = made.uri;
    world.pinFile[name] = made.pin_file;
    const section = parseIni(await readFile(world.configPath, 'utf8'))[`key ${name}`];
    world.keySections = { ...world.keySections, [`key ${name}`]: { ...section, workers, ...key } };
    const ready = await world.ready([name]);
    const { x, y } = (await ready.keys()).find((info) => info.name === name);
    world.jwk[name] = { kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url') };
  }

  try {
    undo.push(() => rm(dir, { recursive: true, force: true }));
    await makeFolder();
    if (servers) await makeServers();
    await world.start();
    undo.push(() => world.process.stop());
    world.agent = await until('the agent answers', world.connect);
    for (const name of keys) await makeKey(name);
    if (servers) {
      await world.as.putClient({
        client_id: 'jwt', jwks: { keys: keys.map((name) => ({ ...world.jwk[name], kid: world.jkt[name] })) },
        token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
      });
    }
    if (keys.length > 0) {
      await world.writeConfig();
      if (wait) await world.reload();
      else world.process.kill('SIGHUP');
    }
  } catch (error) {
    console.error(`---- the agent's log\n${await logTail(world.logPath)}\n----`);
    await world.stop().catch(() => {});
    throw error;
  }
  return world;
}

// The entries of a folder, for tests that say what is left behind.
export const entries = (path) => readdir(path).then((names) => names.sort(), () => []);
