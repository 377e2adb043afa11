// A TPM of its own for one test file: swtpm, a private message bus, and tpm2-abrmd, through which tpm2-pkcs11 reaches
// the TPM. It needs no system bus and no systemd, and leaves nothing behind: the kernel ends the three when this
// process ends.
//
//   const tpm = await makeTpm();
//   const world = await makeWorld({ ...tpm.forWorld, … });  // whose keys are made in this TPM
//   await tpm.restartTpm();                               // an orderly reset; killTpm() is a power failure
//   await tpm.stop();                                     // all of it is removed
//
// swtpm takes a connection for each command, so the TPM's own tools ask it beside the broker, and see what it really
// holds. The broker outlives its TPM, and would serve the next one with what it remembers of the last: startTpm() gives
// the TPM a new one, as a machine's start does; startTpm({ broker: 'same' }) does not. A broker leaves in the TPM
// what it had loaded when it ends, and the next one has no room then: --flush-all.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, until } from './world.mjs';

export const tpmModule = '/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so';

const busConfiguration = (socket) => `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=${socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
`;

// One of the three programs: started, signalled, ended. It dies with this process.
function makeDaemon(logPath, env, ...commandLine) {
  const daemon = { child: null };
  daemon.isRunning = () => daemon.child !== null && daemon.child.exitCode === null && daemon.child.signalCode === null;
  daemon.start = async () => {
    assert.ok(!daemon.isRunning(), `${commandLine[0]} runs already`);
    const log = await open(logPath, 'a', 0o600);
    const [file, ...args] = ['setpriv', '--pdeathsig', 'KILL', '--', ...commandLine];
    const environment = { PATH: `${process.env.PATH}:/usr/sbin`, ...env };
    const child = spawn(file, args, { env: environment, stdio: ['ignore', log.fd, log.fd] });
    await log.close();
    daemon.exited = new Promise((done) => {
      child.once('error', done);
      child.once('exit', done);
    });
    child.unref(); // a test file that fails before stop() still ends
    daemon.child = child;
  };
  daemon.signal = (signal) => daemon.isRunning() && daemon.child.kill(signal);
  daemon.end = async (signal = 'SIGTERM') => {
    if (!daemon.isRunning()) return;
    daemon.child.kill(signal);
    daemon.child.kill('SIGCONT');
    const timer = setTimeout(() => daemon.child.kill('SIGKILL'), 3000);
    await daemon.exited;
    clearTimeout(timer);
  };
  return daemon;
}

export async function makeTpm() {
  const dir = await mkdtemp(join(tmpdir(), 'dpop-tpm-'));
  const [socket, bus, store, state] = ['tpm', 'bus', 'store', 'state'].map((name) => join(dir, name));
  const address = `unix:path=${bus}`;
  const tcti = 'tabrmd:bus_type=session';
  const direct = { TPM2TOOLS_TCTI: `swtpm:path=${socket}` };
  const throughBroker = { TPM2TOOLS_TCTI: tcti, DBUS_SESSION_BUS_ADDRESS: address };
  const log = (name) => join(dir, `${name}.log`);
  const daemons = {
    bus: makeDaemon(log('bus'), {}, 'dbus-daemon', '--nofork', '--nopidfile', '--nosyslog',
      `--config-file=${dir}/bus.conf`),
    swtpm: makeDaemon(log('swtpm'), {}, 'swtpm', 'socket', '--tpm2', '--tpmstate', `dir=${state}`,
      '--server', `type=unixio,path=${socket}`, '--ctrl', `type=unixio,path=${socket}.ctrl`, '--flags',
      'not-need-init,startup-clear'),
    abrmd: makeDaemon(log('abrmd'), { DBUS_SESSION_BUS_ADDRESS: address },
      'tpm2-abrmd', '--session', '--allow-root', '--flush-all', `--tcti=swtpm:path=${socket}`),
  };
  const environment = [`TPM2_PKCS11_STORE=${store}`, `TPM2_PKCS11_TCTI=${tcti}`, `DBUS_SESSION_BUS_ADDRESS=${address}`];
  const tpm = {
    dir,
    store,
    module: tpmModule,
    environment,
    daemons,
    // tpm2-pkcs11 loses 66 bytes with each signature, and more when the TPM is not there: no leaks of the agent's.
    forWorld: {
      init: { kind: 'tpm', environment, keep_pin: true },
      env: () => ({ LSAN_OPTIONS: `suppressions=${join(dir, 'lsan.supp')}:print_suppressions=0` }),
    },
    log: (name) => readFile(log(name), 'utf8'),
  };

  // One of tpm2-tools, to its end: what it printed.
  const tool = async (env, name, ...args) => {
    const { status, stdout, stderr } = await run(name, args, { env, timeout: 20_000 });
    if (status !== 0) throw new Error(`${name} ${args.join(' ')}: ${status} ${stderr}`);
    return stdout;
  };
  tpm.tool = (...args) => tool(direct, ...args);
  const brokeredTool = (...args) => tool(throughBroker, ...args); // the broker takes back what a tool has loaded
  tpm.startAbrmd = async () => {
    await daemons.abrmd.start();
    await until('the broker answers', async () => {
      assert.ok(daemons.abrmd.isRunning(), await tpm.log('abrmd'));
      return brokeredTool('tpm2_getcap', 'properties-variable');
    }, { timeout: 20_000 });
  };
  tpm.stopAbrmd = () => daemons.abrmd.end();
  tpm.killAbrmd = () => daemons.abrmd.end('SIGKILL');
  tpm.restartAbrmd = async () => {
    await tpm.stopAbrmd();
    await tpm.startAbrmd();
  };

  tpm.startTpm = async ({ broker = 'new' } = {}) => {
    if (broker === 'new') await tpm.stopAbrmd();
    await rm(socket, { force: true });
    await rm(`${socket}.ctrl`, { force: true });
    await daemons.swtpm.start();
    await until('the TPM listens', async () => (await readFile('/proc/net/unix', 'utf8')).includes(`${socket}.ctrl`));
    if (broker === 'new') await tpm.startAbrmd();
  };
  // As a machine that goes down: the TPM is told, so that it does not take it for an attack.
  tpm.stopTpm = async () => {
    if (daemons.swtpm.isRunning()) await tpm.tool('tpm2_shutdown', '--clear').catch(() => {});
    await daemons.swtpm.end();
  };
  tpm.killTpm = () => daemons.swtpm.end('SIGKILL');
  tpm.restartTpm = async (options) => {
    await tpm.stopTpm();
    await tpm.startTpm(options);
  };
  tpm.pauseTpm = () => daemons.swtpm.signal('SIGSTOP');
  tpm.resumeTpm = () => daemons.swtpm.signal('SIGCONT');

  const property = async (name) => {
    const [, value] = new RegExp(`^${name}: +(\\S+)`, 'm')
      .exec(await tpm.tool('tpm2_getcap', 'properties-variable')) ?? [];
    assert.ok(value, `the TPM tells ${name}`);
    return Number(value);
  };
  tpm.lockoutCounter = () => property('TPM2_PT_LOCKOUT_COUNTER');
  tpm.inLockout = async () => /^ *inLockout: +1/m.test(await tpm.tool('tpm2_getcap', 'properties-variable'));
  tpm.setLockoutLimits = (tries, seconds = 1000) =>
    tpm.tool('tpm2_dictionarylockout', '--setup-parameters', `--max-tries=${tries}`,
    `--recovery-time=${seconds}`, `--lockout-recovery-time=${seconds}`);
  tpm.raiseLockoutLimits = () => tpm.setLockoutLimits(1000);
  tpm.clearLockout = () => tpm.tool('tpm2_dictionarylockout', '--clear-lockout');
  // What anybody on the machine may do: a wrong password for something of theirs. It counts for all of the TPM.
  tpm.failAuthorization = async () => {
    const at = (name) => join(dir, `other.${name}`);
    await writeFile(at('secret'), 'secret');
    await brokeredTool('tpm2_createprimary', '--key-algorithm=ecc', `--key-context=${at('primary')}`);
    const files = [`--parent-context=${at('primary')}`, `--public=${at('public')}`, `--private=${at('private')}`];
    await brokeredTool('tpm2_create', ...files, '--key-auth=right', `--sealing-input=${at('secret')}`);
    await brokeredTool('tpm2_load', ...files, `--key-context=${at('sealed')}`);
    await assert.rejects(brokeredTool('tpm2_unseal', `--object-context=${at('sealed')}`, '--auth=wrong'));
  };
  // What the TPM holds in its few places: { transient, loaded, saved }.
  tpm.handles = async () => {
    const count = async (what) =>
      (await tpm.tool('tpm2_getcap', what)).split('\n').filter((line) => line.trim() !== '').length;
    const sessions = { loaded: await count('handles-loaded-session'), saved: await count('handles-saved-session') };
    return { transient: await count('handles-transient'), ...sessions };
  };

  // Another TPM takes this one's place, as for a disk that is moved or copied: a blank one, or, with `used`, one that
  // had a token of tpm2-pkcs11 before, which keeps its primary key at this handle.
  tpm.swapTpm = async ({ used = false } = {}) => {
    await tpm.stopTpm();
    await rename(state, `${state}.own`);
    await mkdir(state, { mode: 0o700 });
    await tpm.startTpm();
    if (!used) return;
    const context = join(dir, 'primary.context');
    await brokeredTool('tpm2_createprimary', '--hierarchy=o', '--key-algorithm=ecc', `--key-context=${context}`);
    await brokeredTool('tpm2_evictcontrol', '--hierarchy=o', `--object-context=${context}`, '0x81000001');
  };
  tpm.swapBack = async () => {
    await tpm.stopTpm();
    await rm(state, { recursive: true });
    await rename(`${state}.own`, state);
    await tpm.startTpm();
  };

  tpm.stop = async () => {
    for (const daemon of [daemons.abrmd, daemons.swtpm, daemons.bus]) await daemon.end();
    await rm(dir, { recursive: true, force: true });
  };

  try {
    await mkdir(state, { mode: 0o700 });
    await mkdir(store, { mode: 0o700 });
    await writeFile(join(dir, 'bus.conf'), busConfiguration(bus));
    await writeFile(join(dir, 'lsan.supp'), 'leak:libtpm2_pkcs11\nleak:libtss2-\nleak:ASN1_STRING_set\n');
    await daemons.bus.start();
    await until('the bus listens', async () => (await readFile('/proc/net/unix', 'utf8')).includes(bus));
    await tpm.startTpm();
  } catch (error) {
    for (const name of ['bus', 'swtpm', 'abrmd']) console.error(`---- ${name}\n${await tpm.log(name).catch(() => '')}`);
    await tpm.stop();
    throw error;
  }
  return tpm;
}
