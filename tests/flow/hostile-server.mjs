// What the tests of hostile servers share: what such a server says and does, and what must hold of the agent's answer then.
//
//   const ended = await endOf(world.agent.token({ profile, force: true }));
//   assertRefused(ended, { name: 'server-misbehaved', stage: 'token request', message: /…/ }, { timeout: 2 });

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { bearerOf } from './scripted-server.mjs';

const GRACE = 1.7; // seconds over the deadline: the agent's own second for the message of the net process, and this machine's
const HUGE = 100 * 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, 'x');

// ---- what a server does: (answer, request, n) of scripted-server.mjs ----------------------------------------------

export const challenge = (nonce, status = 400) => (answer) => answer(status, { error: 'use_dpop_nonce' }, nonce === undefined ? {} : { 'DPoP-Nonce': nonce });
export const granting = (members, headers) => (answer) => answer(200, bearerOf(members), headers);
export const saying = (status, value, headers) => (answer) => answer(status, value, headers);
export const silent = () => {};
export const late = (seconds, then = granting()) => (answer, request, n) => void sleep(seconds * 1000).then(() => request.res.destroyed || then(answer, request, n));
export const reset = (_answer, { req }) => resetConnection(req.socket);

// A TLS socket cannot send a reset; the TCP socket below it can.
const resetConnection = (socket) => (socket._parent ?? socket).resetAndDestroy();

// Bytes as they are, as JSON by their name.
export const bytes = (body, status = 200) => (_answer, { res }) => res.writeHead(status, { 'Content-Type': 'application/json' }).end(body);

// The answer's beginning, and then a reset.
export const resetInTheMiddle = (_answer, { req, res }) => {
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': 1000 }).write('{"access_token":"a","token_type":');
  setTimeout(() => resetConnection(req.socket), 30);
};

// 100 MB of good JSON. written() is how much of it went out.
export function huge() {
  let written = 0;
  const script = async (_answer, { res }) => {
    res.writeHead(200, { 'Content-Type': 'application/json' });
    res.on('error', () => {}).setMaxListeners(0);
    const head = '{"access_token":"a","token_type":"DPoP","expires_in":600,"filler":"';
    for (res.write(head); written < HUGE && !res.destroyed; written += CHUNK.length) {
      if (!res.write(CHUNK)) await Promise.race([once(res, 'drain'), once(res, 'close')]).catch(() => {});
    }
    if (!res.destroyed) res.end('"}');
  };
  return Object.assign(script, { written: () => written });
}

// ---- another host, where nothing may ever arrive ------------------------------------------------------------------

export async function startElsewhere() {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { url: `https://localhost:${server.address().port}/token`, connections: () => connections, close: () => new Promise((done) => server.close(done)) };
}

// ---- what must hold -----------------------------------------------------------------------------------------------

// How a promise ended: { value } or { error }, and after how many seconds.
export async function endOf(promise) {
  const begun = performance.now();
  const ended = await promise.then((value) => ({ value }), (error) => ({ error }));
  return { ...ended, seconds: (performance.now() - begun) / 1000 };
}

const retryable = new Set(['server-unreachable', 'server-unavailable', 'timeout', 'busy', 'restarted']);

// An error of its own type, in time, that says where it happened, whether to try again, and what to do.
export function assertRefused({ value, error, seconds }, expected, { timeout = 30 } = {}) {
  assert.ok(error, `an error was expected, not ${JSON.stringify(value)}`);
  const { name, stage, message, next } = error;
  const shown = `${name} (${stage}): ${message}; next: ${next}`;
  for (const [member, want] of Object.entries(expected)) {
    if (want instanceof RegExp) assert.match(error[member] ?? '', want, shown);
    else if (typeof want === 'function') assert.ok(want(error[member]), `${member} is ${error[member]}: ${shown}`);
    else assert.deepEqual(error[member], want, `${member}: ${shown}`);
  }
  assert.ok(name && name !== 'unknown', shown);
  assert.ok(stage, `no stage: ${shown}`);
  assert.ok(next, `no next step: ${shown}`);
  assert.equal(error.retryable, retryable.has(name), `retryable: ${shown}`);
  assert.ok(seconds <= timeout + GRACE, `after ${seconds} s of ${timeout}: ${shown}`);
}
