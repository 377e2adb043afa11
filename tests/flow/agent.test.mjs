// dpop-agent as a program: its command line, its socket and who else may be there, signals, socket activation and
// readiness as systemd knows them.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentBinary, assertRoot, childrenOf, dpopBinary, entries, makeWorld, ownMounts, run, startAgent, until } from './world.mjs';
import { OPERATION_ERROR, connect, connectRaw, operations } from './wire.mjs';
import { listenAt } from './fake-agent.mjs';

let dir;
let number = 0;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'dpop-flow-'));
});
after(() => rm(dir, { recursive: true, force: true }));

// A folder, an environment and a log of one test; start() gives an agent in it that is ended with the test.
async function place(t) {
  const home = join(dir, String(number++));
  for (const name of ['', 'config', 'state', 'run']) await mkdir(join(home, name), { mode: 0o700 });
  const env = { HOME: home, XDG_CONFIG_HOME: join(home, 'config'), XDG_STATE_HOME: join(home, 'state'), XDG_RUNTIME_DIR: join(home, 'run') };
  const socket = join(home, 'run/dpop-agent/socket');
  const logPath = join(home, 'log');
  return {
    home, env, socket, logPath,
    async start(options = {}) {
      const agent = await startAgent({ env, logPath, ...options });
      t.after(() => (agent.isRunning() ? agent.stop() : undefined));
      return agent;
    },
    async started(options) {
      const agent = await this.start(options);
      (await until('the agent answers', () => connect(options?.socket ?? socket))).close();
      return agent;
    },
    // An agent that is to refuse its start: { status, stderr }.
    refusal: (...args) => run(agentBinary, args, { env, timeout: 10_000 }),
  };
}

const modeOf = async (path) => ((await stat(path)).mode & 0o7777).toString(8);

describe('the command line', () => {
  test('has --help and --version, and refuses anything else with exit status 2', async () => {
    const help = await run(agentBinary, ['--help']);
    assert.equal(help.status, 0);
    for (const part of ['usage: dpop-agent [--config FILE] [--socket PATH]', '--config FILE', '--socket PATH', 'dpop-agent.conf(5)']) assert.ok(help.stdout.includes(part));
    const version = await run(agentBinary, ['--version']);
    assert.deepEqual([version.status, /^dpop-agent \d+\.\d+\.\d+\n$/.test(version.stdout)], [0, true]);
    for (const args of [['--nonsense'], ['extra'], ['--config'], ['--socket']]) {
      const { status, stderr } = await run(agentBinary, args);
      assert.equal(status, 2);
      assert.match(stderr, /usage: dpop-agent/);
    }
  });

  test('does not let anybody start a part of the agent by hand', async () => {
    for (const role of ['front', 'key', 'net', 'store', 'init', 'supervisor', 'x']) {
      const { status, stderr } = await run(agentBinary, ['--role', role, 'x'], { timeout: 5000 });
      assert.equal(status, 1, `${role}: ${stderr}`);
    }
  });

  test('names configuration and socket, which otherwise follow the XDG folders; it runs in the foreground', async (t) => {
    const own = await place(t);
    const agent = await own.started();
    assert.ok((await agent.log()).includes(`configuration ${own.home}/config/dpop-agent/agent.conf (none yet: dpop init makes one), socket ${own.socket}`));
    const other = join(own.home, 'other/socket');
    const file = join(own.home, 'my.conf');
    await writeFile(file, `[agent]\nlog-level = debug\nstate-folder = ${own.home}/other-state\n`, { mode: 0o600 });
    const second = await own.started({ args: ['--config', file, '--socket', other], socket: other });
    assert.ok((await second.log()).includes(`configuration ${file}, socket ${other}`));
    const connection = await connect(other);
    const status = await connection.status();
    assert.deepEqual([status.pid, status.configuration], [second.pid, file]);
    connection.close();
  });

  test("puts the system agent's socket at /run/dpop-agent/socket", async (t) => {
    assertRoot();
    const own = await place(t);
    const script = 'mount -t tmpfs none /run && mount -t tmpfs none /var/lib && exec "$@"';
    const agent = await own.start({ env: { HOME: own.home }, wrap: [...ownMounts, 'sh', '-c', script, 'sh'] });
    const seen = `/proc/${agent.pid}/root/run/dpop-agent/socket`; // in the mount namespace of its own
    (await until('the agent answers', () => connect(seen))).close();
    assert.deepEqual([await modeOf(seen), await modeOf(`/proc/${agent.pid}/root/run/dpop-agent`)], ['600', '700']);
    assert.ok((await agent.log()).includes('configuration /etc/dpop-agent/agent.conf (none yet'));
  });

  test('without configuration starts all the same, answers, and says what to do', async (t) => {
    const own = await place(t);
    await own.started();
    const connection = await connect(own.socket);
    t.after(() => connection.close());
    assert.deepEqual([await connection.keys(), await connection.profiles(), (await connection.status()).configuration], [[], [], undefined]);
    for (const request of [connection.token('x'), connection.proof({ htm: 'GET', htu: 'https://x.example/' })]) {
      await assert.rejects(request, { name: 'not-configured', next: /dpop init/ });
    }
  });
});

describe('the socket', () => {
  test('has mode 0600 in a folder of mode 0700', async (t) => {
    const own = await place(t);
    await own.started();
    assert.deepEqual([await modeOf(own.socket), await modeOf(join(own.home, 'run/dpop-agent'))], ['600', '700']);
  });

  test('is not given to a second agent: it is refused, and the first one works on', async (t) => {
    const own = await place(t);
    const agent = await own.started();
    const { status, stderr } = await own.refusal();
    assert.equal(status, 1);
    assert.match(stderr, /another dpop-agent is already listening at .*socket; stop it first/);
    const connection = await connect(own.socket);
    assert.equal((await connection.status()).pid, agent.pid);
    connection.close();
  });

  test('of another path does not let a second agent share the state folder', async (t) => {
    const own = await place(t);
    const agent = await own.started();
    await until('the store has its lock', () => stat(join(own.home, 'state/dpop-agent/lock')));
    const { status, stderr } = await own.refusal('--socket', join(own.home, 'run/other'));
    assert.equal(status, 1);
    assert.match(stderr, /another dpop-agent uses the state folder .*; stop it first/);
    assert.ok(agent.isRunning());
  });

  test('left behind by an agent that was killed is replaced, and no child of it lives on', async (t) => {
    const own = await place(t);
    const first = await own.started();
    const children = await childrenOf(first.pid);
    assert.ok(children.length >= 3);
    first.kill('SIGKILL');
    await first.exited;
    assert.ok((await stat(own.socket)).isSocket());
    await until('the children ended', async () => (await Promise.all(children.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))).every((line) => line === ''));
    await own.started();
  });

  test('is not put where another program listens, or where something else is; nothing is removed', async (t) => {
    const own = await place(t);
    await mkdir(join(own.home, 'run/dpop-agent'), { mode: 0o700 });
    const stranger = await listenAt(own.socket, () => {});
    const taken = await own.refusal();
    assert.match(taken.stderr, /another program is already listening/);
    await stranger.close();
    await writeFile(own.socket, 'a file');
    const occupied = await own.refusal();
    assert.match(occupied.stderr, /exists and is not a socket/);
    assert.equal(await readFile(own.socket, 'utf8'), 'a file');
    assert.deepEqual([taken.status, occupied.status], [1, 1]);
  });

  test('wants an absolute path that fits, in a folder that nobody else may write', async (t) => {
    const own = await place(t);
    const long = `/${'x'.repeat(120)}`;
    for (const path of ['relative/socket', long]) {
      const { status, stderr } = await own.refusal('--socket', path);
      assert.equal(status, 1);
      assert.match(stderr, /must be absolute and shorter than 108 bytes/);
    }
    const open = join(own.home, 'open');
    await mkdir(open);
    await chmod(open, 0o777);
    const { stderr } = await own.refusal('--socket', join(open, 'socket'));
    assert.match(stderr, /others may replace the socket/);
    const none = await run(agentBinary, ['--socket', '/nowhere/at/all/socket'], { env: own.env, timeout: 10_000 });
    assert.match(none.stderr, /cannot make the folder \/nowhere\/at\/all/);
  });
});

describe('signals', () => {
  for (const signal of ['SIGTERM', 'SIGINT']) {
    test(`${signal} ends it cleanly: exit status 0, the socket is gone, no process is left`, async (t) => {
      const own = await place(t);
      const agent = await own.started();
      const children = await childrenOf(agent.pid);
      const connection = await connect(own.socket);
      const begun = Date.now();
      agent.kill(signal);
      assert.deepEqual(await agent.exited, { status: 0, signal: null });
      assert.ok(Date.now() - begun < 5000);
      await connection.closed;
      assert.deepEqual(await entries(join(own.home, 'run/dpop-agent')), ['socket.lock']);
      for (const pid of children) await assert.rejects(readlink(`/proc/${pid}/exe`));
      assert.match(await agent.log(), /ending: signal/);
    });
  }

  test('SIGTERM in the middle of token requests and signatures ends it as cleanly, and whoever waits gets a typed error', async () => {
    const world = await makeWorld();
    const connections = await Promise.all([world.connect(), world.connect()]);
    world.as.hang();
    const hung = connections[0].token('basic');
    const ended = Promise.allSettled([hung, ...Array.from({ length: 200 }, () => connections[1].proof({ profile: 'basic', htm: 'GET', htu: world.rs.origin }))]);
    await until('the request is there', () => world.as.tokenRequests().length > 0);
    await world.stop(); // checks status, sanitizers and processes
    for (const { reason } of await ended) if (reason !== undefined) assert.equal(reason.name, 'restarted', String(reason));
    await assert.rejects(hung);
  });
});

describe('systemd', () => {
  const names = ['HOME', 'XDG_CONFIG_HOME', 'XDG_STATE_HOME', 'XDG_RUNTIME_DIR'];
  const activate = (own, sockets, options = []) => ['systemd-socket-activate', ...options,
    ...sockets.flatMap((socket) => ['-l', socket]), ...names.flatMap((name) => ['-E', `${name}=${own.env[name]}`])];

  test('may pass the socket (LISTEN_FDS): the first connection starts the agent, and the socket is left to systemd', async (t) => {
    const own = await place(t);
    const socket = join(own.home, 'activated');
    const agent = await own.start({ wrap: activate(own, [socket]) });
    const connection = await until('the agent answers', async () => {
      await stat(socket);
      return connect(socket);
    });
    assert.equal((await connection.status()).agent.split(' ')[0], 'dpop-agent');
    connection.close();
    assert.match(await agent.log(), /socket from systemd/);
    await assert.rejects(stat(own.socket), { code: 'ENOENT' });
    const { status } = await run(dpopBinary, ['status', '--socket', socket], { env: own.env });
    assert.equal(status, 0);
    await agent.stop();
    assert.ok((await stat(socket)).isSocket());
  });

  test('is told when it passes more than one socket, or one of another kind', async (t) => {
    const own = await place(t);
    const [one, two] = [join(own.home, 'one'), join(own.home, 'two')];
    for (const wrap of [activate(own, [one, two]), activate(own, [one], ['--datagram'])]) {
      await rm(own.logPath, { force: true });
      const agent = await own.start({ wrap });
      await until('it listens', () => stat(one));
      if (!wrap.includes('--datagram')) (await connectRaw(one)).close();
      else await run('perl', ['-MSocket', '-e', 'socket(S, AF_UNIX, SOCK_DGRAM, 0); send(S, "x", 0, sockaddr_un($ARGV[0])) or die $!', one]);
      assert.equal((await agent.exited).status, 1);
      assert.match(await agent.log(), /exactly one listening Unix stream socket is wanted/);
      await Promise.all([rm(one, { force: true }), rm(two, { force: true })]);
    }
  });

  test('is told READY=1 when the agent takes connections, and STOPPING=1 at its end (sd_notify)', async (t) => {
    const own = await place(t);
    const notify = join(own.home, 'notify');
    const script = `$| = 1; socket(S, AF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un($ARGV[0])) or die $!; print "bound\\n";
      while (defined recv(S, $m, 4096, 0)) { print "$m\\n" }`; // node has no Unix datagram sockets
    const listener = spawn('perl', ['-MSocket', '-e', script, notify], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => listener.kill());
    let told = '';
    listener.stdout.on('data', (text) => (told += text));
    await until('the datagram socket is there', () => told.includes('bound'));
    const agent = await own.start({ env: { ...own.env, NOTIFY_SOCKET: notify } });
    await until('READY=1', () => /^READY=1$/m.test(told));
    (await connect(own.socket)).close();
    await agent.stop();
    await until('STOPPING=1', () => /^STOPPING=1$/m.test(told));
    assert.ok(told.indexOf('READY=1') < told.indexOf('STOPPING=1'));
  });
});

describe('the protocol', () => {
  test('begins with hello, which states version, limit and the agent', async (t) => {
    const own = await place(t);
    await own.started();
    const connection = await connectRaw(own.socket);
    t.after(() => connection.close());
    const hello = await connection.hello();
    assert.deepEqual([hello.version, hello.max_frame], [1, 1048576]);
    assert.match(hello.agent, /^dpop-agent \d/);
    assert.equal((await connection.exchange(77)).operation, OPERATION_ERROR, 'an unknown operation is answered, and the connection stays');
    assert.deepEqual(await connection.keys(), []);
  });

  test('agrees on the highest version that both know, and refuses where there is none', async (t) => {
    const own = await place(t);
    await own.started();
    const newer = await connectRaw(own.socket);
    assert.equal((await newer.hello({ version_min: 1, version_max: 9, client: 'newer' })).version, 1);
    newer.close();
    const alien = await connectRaw(own.socket);
    await assert.rejects(alien.hello({ version_min: 2, version_max: 9 }), { name: 'version', next: /update/ });
    await alien.closed;
    const rude = await connectRaw(own.socket);
    assert.equal((await rude.exchange(operations.status)).operation, OPERATION_ERROR, 'hello comes first');
    await rude.closed;
  });

  test('takes many requests on one connection and answers each, in whatever order', async (t) => {
    const own = await place(t);
    await own.started();
    const connection = await connect(own.socket);
    t.after(() => connection.close());
    const answers = await Promise.allSettled(Array.from({ length: 200 }, (_, i) => (i % 2 ? connection.keys() : connection.token('none'))));
    answers.forEach(({ status }, i) => assert.equal(status, i % 2 ? 'fulfilled' : 'rejected'));
  });
});
