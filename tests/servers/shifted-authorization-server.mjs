// The test authorization server with a clock that is off: in a process of its own, where Date is shifted (and with it
// oidc-provider's idea of time and the Date header), while this process and the machine keep theirs.
//
//   const as = await startShiftedAuthorizationServer({ clockOffset: 600, tls, … });   // seconds ahead
//
// Options and handle are those of startAuthorizationServer, except that options must be data, not functions; that every
// method of the handle returns a promise; that intercept, loseAnswers and amend are not there; and that requests and events
// arrive a moment after the fact: `await as.sync()` waits for those that have happened. Their `time` is this process's.

import { fork } from 'node:child_process';
import { once } from 'node:events';

const local = ['intercept', 'loseAnswers', 'amend', 'tokenRequests', 'close'];

export async function startShiftedAuthorizationServer({ clockOffset, ...options }) {
  const child = fork(import.meta.filename, ['child', String(clockOffset)], { serialization: 'advanced' });
  const records = { request: [], event: [] };
  const waiting = new Map(); // call → { resolve, reject }
  let calls = 0;

  child.on('message', ({ kind, index, record, call, result, failure }) => {
    if (kind === 'answer') {
      const { resolve, reject } = waiting.get(call);
      waiting.delete(call);
      return failure === undefined ? resolve(result) : reject(new Error(failure));
    }
    record.time -= clockOffset * 1000;
    return (records[kind][index] = Object.assign(records[kind][index] ?? {}, record));
  });
  child.once('exit', (code, signal) => {
    for (const { reject } of waiting.values()) reject(new Error(`the shifted server ended: ${code ?? signal}`));
  });
  const call = (method, ...args) =>
    new Promise((resolve, reject) => {
      waiting.set(++calls, { resolve, reject });
      child.send({ call: calls, method, args }, (error) => error && reject(error));
    });

  const close = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.disconnect();
    await ended;
  };
  try {
    const { values, methods } = await call('start', options);
    return {
      ...values,
      ...Object.fromEntries(methods.map((method) => [method, (...args) => call(method, ...args)])),
      requests: records.request,
      events: records.event,
      tokenRequests: () => records.request.filter(({ path }) => path === new URL(`${values.issuer.replace(/\/$/, '')}/token`).pathname),
      sync: () => call('sync'),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

// ---- in the child -------------------------------------------------------------------------------------------------

function shiftDate(milliseconds) {
  const Machine = Date;
  globalThis.Date = class extends Machine {
    constructor(...args) {
      super(...(args.length === 0 ? [Machine.now() + milliseconds] : args));
    }

    static now() {
      return Machine.now() + milliseconds;
    }
  };
}

async function serve() {
  const { startAuthorizationServer } = await import('./authorization-server.mjs');
  let server;
  const methods = {
    async start(options) {
      const onRecord = (kind, index, record) => process.send({ kind, index, record: { ...record } });
      server = await startAuthorizationServer({ ...options, onRecord });
      const members = Object.entries(server).filter(([name]) => ![...local, 'requests', 'events'].includes(name));
      const isMethod = ([, value]) => typeof value === 'function';
      const values = Object.fromEntries(members.filter((member) => !isMethod(member)));
      return { values, methods: members.filter(isMethod).map(([name]) => name) };
    },
    sync: () => new Promise((resolve) => setImmediate(resolve)),
  };
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ call, method, args }) => {
    try {
      process.send({ kind: 'answer', call, result: await (methods[method] ?? server[method])(...args) });
    } catch (error) {
      process.send({ kind: 'answer', call, failure: error.message });
    }
  });
}

if (process.send && process.argv[2] === 'child') {
  shiftDate(Number(process.argv[3]) * 1000);
  await serve();
}
