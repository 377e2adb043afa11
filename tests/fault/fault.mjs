// What the fault tests share, over ../flow/world.mjs: a look at the agent's processes from outside, what must hold
// after every fault, and the shim's files.

import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, readdirSync, readlinkSync, renameSync, rmSync,
  writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build, jose } from '../flow/world.mjs';

export { sleep };
export const latencyBinary = join(build, 'tests/fault/latency');
export const shimLibrary = join(build, 'tests/fault/libdpop-shim.so');

// ---- processes ----------------------------------------------------------------------------------------------------

const lines = (path) => readFileSync(path, 'utf8').split('\n');

// The processes of an agent: [{ pid, role, name }], the supervisor first. Those that have ended but are not buried
// count.
export function processes(supervisor) {
  const children = readFileSync(`/proc/${supervisor}/task/${supervisor}/children`, 'utf8').trim().split(' ')
    .filter(Boolean);
  const found = [{ pid: supervisor, role: 'supervisor' }];
  for (const pid of children.map(Number)) {
    try {
      const [, , role, name] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      const state = lines(`/proc/${pid}/status`).find((line) => line.startsWith('State:'));
      found.push({ pid, role: role ?? (state.includes('Z') ? 'zombie' : 'being started'), name });
    } catch {
      // it ended meanwhile
    }
  }
  return found;
}

export const ofRole = (supervisor, role) => processes(supervisor).filter((p) => p.role === role);

export function statusField(pid, name) {
  return lines(`/proc/${pid}/status`).find((line) => line.startsWith(`${name}:`))?.slice(name.length + 1).trim();
}

export const residentKiB = (pid) => Number(statusField(pid, 'VmRSS').split(' ')[0]);

export function descriptors(pid) {
  return readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`;
    } catch {
      return null;
    }
  }).filter(Boolean);
}

const SHADOW = 2n ** 33n; // a mapping of this size is a sanitizer's shadow of the others, and holds no text
const CHUNK = 4 << 20;
const PAGE = 4096;

// The parts of a process's memory that have pages: [{ at, length, mapping }], at most CHUNK bytes each.
function* resident(pid) {
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r');
  const pages = Buffer.alloc((CHUNK / PAGE) * 8);
  for (const line of lines(`/proc/${pid}/maps`)) {
    const [, from, to, mode] = /^([0-9a-f]+)-([0-9a-f]+) (\S+)/.exec(line) ?? [];
    if (!from || mode[0] !== 'r' || /\[v(var|syscall|dso)/.test(line)) continue;
    const [begin, end] = [BigInt(`0x${from}`), BigInt(`0x${to}`)];
    if (end - begin >= SHADOW) continue;
    for (let at = begin; at < end; at += BigInt(CHUNK)) {
      const length = Number(end - at < CHUNK ? end - at : CHUNK);
      const n = readSync(pagemap, pages, 0, (length / PAGE) * 8, (at / BigInt(PAGE)) * 8n);
      let there = false;
      for (let i = 7; i < n && !there; i += 8) there = (pages[i] & 0xc0) !== 0; // present or swapped out
      if (there) yield { at, length, mapping: line.trim() };
    }
  }
  closeSync(pagemap);
}

// Where in a process's memory one of the needles stands: [{ name, mapping }].
export function searchMemory(pid, needles) {
  const found = [];
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const overlap = Math.max(...Object.values(needles).map((needle) => Buffer.byteLength(needle)));
  const chunk = Buffer.alloc(CHUNK + overlap);
  for (const { at, length, mapping } of resident(pid)) {
    let n;
    try {
      n = readSync(memory, chunk, 0, length + overlap, at); // ends early at the mapping's end
    } catch {
      continue; // pages that cannot be read at all, such as those of a device or a guard
    }
    for (const [name, needle] of Object.entries(needles))
      if (chunk.subarray(0, n).includes(needle)) found.push({ name, mapping });
  }
  closeSync(memory);
  return found;
}

// ---- checks -------------------------------------------------------------------------------------------------------

// A proof verifies with its own jwk, which is the key that the thumbprint names, and says what was asked for.
export async function checkProof(proof, { htm, htu, ath, jkt }) {
  const { payload, protectedHeader } = await jose.jwtVerify(proof, jose.EmbeddedJWK,
    { typ: 'dpop+jwt', algorithms: ['ES256'] });
  assert.equal(payload.htm, htm);
  assert.equal(payload.htu, htu);
  if (ath !== undefined) assert.equal(payload.ath, ath);
  if (jkt !== undefined) assert.equal(await jose.calculateJwkThumbprint(protectedHeader.jwk), jkt);
  return payload;
}

export const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

// How a promise ended: { value } or { error }, and after how many milliseconds.
export async function outcome(promise) {
  const begun = performance.now();
  const ended = await promise.then((value) => ({ value }), (error) => ({ error }));
  return { ...ended, ms: performance.now() - begun };
}

// ---- the shim -----------------------------------------------------------------------------------------------------

// Files of one world's shim: environment for [key …], commands, and the calls that were written down. Several shims of
// one world have names of their own.
export function makeShim(dir, calls = 'C_Login,C_Sign', name = 'shim') {
  const [log, control] = [join(dir, `${name}.log`), join(dir, `${name}.control`)];
  return {
    environment: [`SHIM_LOG=${log}`, `SHIM_LOG_CALLS=${calls}`, `SHIM_CONTROL=${control}`],
    command: (...lines) => {
      writeFileSync(`${control}.new`, `${lines.join('\n')}\n`);
      // a module that reads it at this moment has the old commands or the new ones
      renameSync(`${control}.new`, control);
    },
    behave: () => rmSync(control, { force: true }),
    calls: (function_) => {
      let text;
      try {
        text = readFileSync(log, 'utf8');
      } catch {
        return [];
      }
      return text.split('\n').filter(Boolean).map((line) => line.split(' '))
        .filter(([, called]) => !function_ || called === function_)
        .map(([pid, called, rv, ...met]) => ({ pid: Number(pid), name: called, rv: Number(rv), met }));
    },
  };
}

// Puts the shim before the module of [key name], from the next configuration on.
export function useShim(world, shim, name = 'work', options = {}) {
  const section = world.keySections[`key ${name}`];
  const [, module] = /module-path=([^&]*)/.exec(section.uri);
  section.uri = section.uri.replace(`module-path=${module}`, `module-path=${shimLibrary}`);
  section.environment = [section.environment ?? [], `SHIM_MODULE=${decodeURIComponent(module)}`,
    shim.environment].flat();
  Object.assign(section, options);
}

// Whether a proof is signed by the key of this JWK: faster than checkProof, for a hundred thousand of them.
export function proofVerifier(jwk) {
  const key = { key: createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
  return (proof) => {
    const end = proof.lastIndexOf('.');
    return verify('sha256', Buffer.from(proof.slice(0, end)), key, Buffer.from(proof.slice(end + 1), 'base64url'));
  };
}
