// The agent's wire protocol for tests, written from proto/PROTOCOL.md and sharing no code with the C client: frames,
// messages as tables of fields, and a connection with any number of requests in flight.
//
//   const agent = await connect(socketPath);            // says hello
//   const { proof } = await agent.proof({ profile: 'basic', htm: 'GET', htu: 'https://api.example/' });
//   await assert.rejects(agent.token({ profile: 'none' }), { name: 'unknown-profile' });
//   agent.close();
//
// Answers are objects with the names of proto/messages.h: numbers as Number, bytes as Buffer, text as string; a member
// that did not come is undefined for text and bytes, 0 or false for numbers. An error answer rejects with AgentError.

import net from 'node:net';
import { once } from 'node:events';

export const HEADER_SIZE = 12;

export const operations = {
  hello: 1, status: 2, keys: 3, profiles: 4, proof: 5, token: 6, authorize: 7, outcome: 8, init: 9,
  loginBegin: 10, loginWait: 11, loginRedirect: 12, loginCancel: 13, logout: 14, introspect: 15, profileTest: 16,
  trace: 17, register: 18, keyCsr: 19, keyCert: 20, reload: 21,
  keyGenerate: 22, keyImport: 23, keyDelete: 24, keyPrepare: 25, keyCommit: 26, unlock: 27, lock: 28,
};
export const OPERATION_ANSWER = 0x8000;
export const OPERATION_ERROR = 0xffff;

export const verdicts = ['none', 'done', 'retry', 'refresh', 'login', 'fail'];
export const checkResults = ['none', 'passed', 'failed', 'not tried', 'warning'];

export const statuses = {
  0: 'ok', 1: 'malformed', 2: 'unknown-operation', 3: 'unsupported-field', 4: 'too-large', 5: 'version',
    6: 'hello-required',
  20: 'invalid-argument', 21: 'unknown-key', 22: 'unknown-profile', 23: 'exists', 24: 'configuration',
  40: 'peer-refused', 41: 'origin-refused', 42: 'insecure-url', 43: 'server-refused', 44: 'token-not-dpop',
  45: 'token-other-key', 46: 'token-too-short',
  60: 'busy', 61: 'timeout', 62: 'key-absent', 63: 'key-locked', 64: 'key-wrong', 65: 'key-unfit', 66: 'key-failed',
  67: 'not-configured', 68: 'server-unreachable', 69: 'server-unavailable', 70: 'restarted', 71: 'store-failed',
  72: 'secret-unreadable', 73: 'agent-unreachable',
  80: 'login-required', 100: 'server-misbehaved', 101: 'agent-misbehaved', 120: 'internal', 121: 'no-memory',
};

// ---- the field tables: name: [tag, type], in the order of proto/messages.c -----------------------------------------
// types: bool u16 u32 u64 text bytes; texts and bytesList may repeat; an object is a repeated nested message.

const processInfo = { name: [1, 'text'], state: [2, 'text'], pid: [3, 'u32'], starts: [4, 'u32'] };
const keyInfo = {
  name: [1, 'text'], uri: [2, 'text'], state: [3, 'text'], reason: [4, 'text'], next: [5, 'text'], jkt: [6, 'text'],
  x: [7, 'bytes'], y: [8, 'bytes'], attributes: [9, 'u32'], imported: [10, 'bool'], token: [11, 'text'],
  model: [12, 'text'], workers: [13, 'u16'], waiting: [14, 'u32'], signatures: [15, 'u64'],
  sign_time: [16, 'u32'], stalled: [17, 'u32'], recoveries: [18, 'u32'], warning: [19, 'text'],
};
const profileInfo = {
  name: [1, 'text'], key: [2, 'text'], issuer: [3, 'text'], token_endpoint: [4, 'text'], client_id: [5, 'text'],
  client_authentication: [6, 'text'], grant: [7, 'text'], scope: [8, 'text'], resources: [9, 'texts'],
  origins: [10, 'texts'], state: [11, 'text'], reason: [12, 'text'], expires_in: [13, 'u32'], login: [14, 'text'],
  login_reason: [15, 'text'], subject: [16, 'text'], persisted: [17, 'bool'], dpop: [18, 'text'],
};
const checkInfo = { name: [1, 'text'], result: [2, 'u16'], detail: [3, 'text'], next: [4, 'text'] };
const boundInfo = { profile: [1, 'text'], revoked: [2, 'bool'], login_due: [3, 'bool'], note: [4, 'text'] };
const keyMade = {
  name: [1, 'text'], uri: [2, 'text'], jkt: [3, 'text'], x: [4, 'bytes'], y: [5, 'bytes'], imported: [6, 'bool'],
  configuration: [7, 'text'], authenticates: [8, 'texts'],
};
const unlocked = { token: [1, 'text'], keys: [2, 'texts'] };
const traceEntry = { sequence: [1, 'u64'], time: [2, 'u64'], text: [3, 'bytes'] };

export const messages = {
  helloRequest: { version_min: [1, 'u16'], version_max: [2, 'u16'], client: [3, 'text'] },
  helloAnswer: { version: [1, 'u16'], max_frame: [2, 'u32'], agent: [3, 'text'] },
  statusRequest: {},
  statusAnswer: {
    agent: [1, 'text'], pid: [2, 'u32'], uptime: [3, 'u64'], configuration: [4, 'text'], connections: [5, 'u32'],
    requests_waiting: [6, 'u32'], tokens_cached: [7, 'u32'], processes: [8, processInfo], keys: [9, keyInfo],
    profiles: [10, profileInfo],
  },
  keysRequest: {},
  keysAnswer: { keys: [1, keyInfo] },
  profilesRequest: {},
  profilesAnswer: { profiles: [1, profileInfo] },
  proofRequest: {
    key: [1, 'text'], profile: [2, 'text'], htm: [3, 'text'], htu: [4, 'bytes'], nonce: [5, 'bytes'],
    access_token: [6, 'bytes'], ath: [7, 'bytes'], timeout: [8, 'u32'],
  },
  proofAnswer: { proof: [1, 'text'], htu: [2, 'text'], jkt: [3, 'text'] },
  tokenRequest: {
    profile: [1, 'text'], scope: [2, 'text'], resources: [3, 'texts'], min_valid: [4, 'u32'], force: [5, 'bool'],
    timeout: [6, 'u32'], raw: [7, 'bool'], subject_token: [8, 'bytes'], subject_token_type: [9, 'text'],
    actor_token: [10, 'bytes'], actor_token_type: [11, 'text'], assertion: [12, 'bytes'],
  },
  tokenAnswer: {
    access_token: [1, 'text'], token_type: [2, 'text'], expires_in: [3, 'u32'], expires_at: [4, 'u64'],
      scope: [5, 'text'],
    jkt: [6, 'text'], raw: [7, 'text'],
  },
  authorizeRequest: {
    profile: [1, 'text'], htm: [2, 'text'], url: [3, 'bytes'], attempt: [4, 'bytes'], scope: [5, 'text'],
    resources: [6, 'texts'], timeout: [7, 'u32'],
  },
  authorizeAnswer: { url: [1, 'text'], authorization: [2, 'text'], dpop: [3, 'text'], attempt: [4, 'bytes'] },
  outcomeRequest: {
    attempt: [1, 'bytes'], http_status: [2, 'u16'], date: [3, 'bytes'], nonces: [4, 'bytesList'],
    challenges: [5, 'bytesList'],
  },
  outcomeAnswer: { verdict: [1, 'u16'], reason: [2, 'text'] },
  initRequest: {
    name: [1, 'text'], module: [2, 'text'], kind: [3, 'text'], token: [4, 'text'], environment: [5, 'texts'],
    pin: [6, 'bool'], keep_pin: [7, 'bool'],
  },
  initAnswer: {
    uri: [1, 'text'], jkt: [2, 'text'], configuration: [3, 'text'], token_folder: [4, 'text'], pin_file: [5, 'text'],
    reason: [6, 'text'], model: [7, 'text'],
  },
  loginBeginRequest: { profile: [1, 'text'], device: [2, 'bool'], timeout: [3, 'u32'] },
  loginBeginAnswer: {
    login: [1, 'bytes'], url: [2, 'text'], redirect_uri: [3, 'text'], user_code: [4, 'text'],
      verification_uri: [5, 'text'],
    verification_uri_complete: [6, 'text'], expires_in: [7, 'u32'],
  },
  loginWaitRequest: { login: [1, 'bytes'], timeout: [2, 'u32'] },
  loginWaitAnswer: {
    profile: [1, 'text'], subject: [2, 'text'], scope: [3, 'text'], jkt: [4, 'text'], token_type: [5, 'text'],
    expires_in: [6, 'u32'], refresh: [7, 'bool'], persisted: [8, 'bool'], note: [9, 'text'],
  },
  loginRedirectRequest: { login: [1, 'bytes'], url: [2, 'bytes'] },
  loginRedirectAnswer: {},
  loginCancelRequest: { login: [1, 'bytes'] },
  loginCancelAnswer: {},
  logoutRequest: { profile: [1, 'text'], timeout: [2, 'u32'] },
  logoutAnswer: { logged_in: [1, 'bool'], revoked: [2, 'bool'], note: [3, 'text'] },
  introspectRequest: { profile: [1, 'text'], scope: [2, 'text'], resources: [3, 'texts'], timeout: [4, 'u32'] },
  introspectAnswer: { active: [1, 'bool'], claims: [2, 'text'] },
  profileTestRequest: { profile: [1, 'text'], timeout: [2, 'u32'] },
  profileTestAnswer: { checks: [1, checkInfo] },
  traceRequest: { profile: [1, 'text'], after: [2, 'u64'], timeout: [3, 'u32'] },
  traceAnswer: { entries: [1, traceEntry] },
  registerRequest: {
    name: [1, 'text'], key: [2, 'text'], issuer: [3, 'text'], resource: [4, 'text'], client_authentication: [5, 'text'],
    grant: [6, 'text'], scope: [7, 'text'], origins: [8, 'texts'], client_name: [9, 'text'],
    initial_access_token: [10, 'bytes'], ca_file: [11, 'text'], allow_http_loopback: [12, 'bool'], timeout: [13, 'u32'],
  },
  registerAnswer: {
    profile: [1, 'text'], issuer: [2, 'text'], client_id: [3, 'text'], client_authentication: [4, 'text'],
    configuration: [5, 'text'], secret_file: [6, 'text'],
  },
  keyCsrRequest: { key: [1, 'text'], subject: [2, 'text'], timeout: [3, 'u32'] },
  keyCsrAnswer: { pem: [1, 'bytes'] },
  keyCertRequest: { key: [1, 'text'], subject: [2, 'text'], days: [3, 'u32'], timeout: [4, 'u32'] },
  keyCertAnswer: { pem: [1, 'bytes'] },
  reloadRequest: {},
  reloadAnswer: {},
  keyGenerateRequest: { name: [1, 'text'], like: [2, 'text'], timeout: [3, 'u32'] },
  keyGenerateAnswer: keyMade,
  keyImportRequest: { name: [1, 'text'], like: [2, 'text'], password: [3, 'bool'], timeout: [4, 'u32'] },
  keyImportAnswer: keyMade,
  keyDeleteRequest: { key: [1, 'text'], timeout: [2, 'u32'] },
  keyDeleteAnswer: { bound: [1, boundInfo], configuration: [2, 'text'] },
  keyPrepareRequest: { key: [1, 'text'], timeout: [2, 'u32'] },
  keyPrepareAnswer: keyMade,
  keyCommitRequest: { key: [1, 'text'], timeout: [2, 'u32'] },
  keyCommitAnswer: {
    jkt: [1, 'text'], old_jkt: [2, 'text'], bound: [3, boundInfo], configuration: [4, 'text'], note: [5, 'text'],
  },
  unlockRequest: { key: [1, 'text'], timeout: [2, 'u32'] },
  unlockAnswer: unlocked,
  lockRequest: { key: [1, 'text'] },
  lockAnswer: unlocked,
  error: {
    status: [1, 'u16'], retryable: [2, 'bool'], http_status: [3, 'u16'], retry_after: [4, 'u32'], message: [5, 'text'],
    next: [6, 'text'], oauth_error: [7, 'text'], oauth_description: [8, 'text'], oauth_uri: [9, 'text'],
    stage: [10, 'text'],
  },
};

// A profile's name alone stands for { profile: name }.
const forProfile = (values) => (typeof values === 'string' ? { profile: values } : values);

const numberSizes = { bool: 1, u16: 2, u32: 4, u64: 8 };
const repeated = (type) => typeof type === 'object' || type === 'texts' || type === 'bytesList';

export class AgentError extends Error {
  constructor(fields) {
    super(fields.message ?? '');
    Object.assign(this, fields, { message: fields.message ?? '', name: statuses[fields.status] ?? 'unknown' });
  }
}

// ---- codec --------------------------------------------------------------------------------------------------------

// One field: tag (bit 15: critical), length, value.
export function field(tag, value) {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value);
  const head = Buffer.alloc(6);
  head.writeUInt16BE(tag, 0);
  head.writeUInt32BE(bytes.length, 2);
  return Buffer.concat([head, bytes]);
}

function numberBytes(value, size) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes.subarray(8 - size);
}

export function encode(table, values) {
  const parts = [];
  for (const name of Object.keys(values)) if (!(name in table)) throw new Error(`no field ${name}`);
  for (const [name, [tag, type]] of Object.entries(table)) {
    const value = values[name];
    if (value === undefined || value === null) continue;
    if (typeof type === 'object') for (const item of value) parts.push(field(tag, encode(type, item)));
    else if (repeated(type)) for (const item of value) parts.push(field(tag, item));
    else if (type in numberSizes) parts.push(field(tag, numberBytes(Number(value), numberSizes[type])));
    else parts.push(field(tag, value));
  }
  return Buffer.concat(parts);
}

export function decode(table, bytes) {
  const out = {};
  const byTag = new Map();
  for (const [name, [tag, type]] of Object.entries(table)) {
    byTag.set(tag, [name, type]);
    out[name] = repeated(type) ? [] : type === 'bool' ? false : type in numberSizes ? 0 : undefined;
  }
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes.readUInt16BE(at) & 0x7fff;
    const length = bytes.readUInt32BE(at + 2);
    const value = bytes.subarray(at + 6, at + 6 + length);
    if (value.length !== length) throw new Error('a field is cut short');
    at += 6 + length;
    if (!byTag.has(tag)) continue;
    const [name, type] = byTag.get(tag);
    if (typeof type === 'object') out[name].push(decode(type, value));
    else if (type === 'texts') out[name].push(value.toString());
    else if (type === 'bytesList') out[name].push(Buffer.from(value));
    else if (type === 'text') out[name] = value.toString();
    else if (type === 'bytes') out[name] = Buffer.from(value);
    else {
      if (length !== numberSizes[type]) throw new Error(`field ${name} has ${length} bytes`);
      const number = Number(BigInt(`0x${value.toString('hex')}`));
      out[name] = type === 'bool' ? number === 1 : number;
    }
  }
  return out;
}

export function frame(operation, request, fields = Buffer.alloc(0)) {
  const head = Buffer.alloc(HEADER_SIZE);
  head.writeUInt32BE(HEADER_SIZE - 4 + fields.length, 0);
  head.writeUInt16BE(operation, 4);
  head.writeUInt32BE(request, 8);
  return Buffer.concat([head, fields]);
}

// Takes the complete frames off the front of bytes: { frames: [{ operation, request, fields }], rest }
export function takeFrames(bytes) {
  const frames = [];
  while (bytes.length >= 4) {
    const size = 4 + bytes.readUInt32BE(0);
    if (bytes.length < size) break;
    frames.push({ operation: bytes.readUInt16BE(4), request: bytes.readUInt32BE(8),
      fields: bytes.subarray(HEADER_SIZE, size) });
    bytes = bytes.subarray(size);
  }
  return { frames, rest: bytes };
}

// ---- connections --------------------------------------------------------------------------------------------------

class Connection {
  #waiting = new Map();
  #next = 1;
  #buffered = [];
  #bufferedLength = 0;
  #wanted = 4;

  constructor(socket) {
    this.socket = socket;
    this.frames = []; // every frame that answers nothing that waits
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()));
    this.isClosed = false;
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', () => {});
    socket.once('close', () => {
      this.isClosed = true;
      for (const { reject } of this.#waiting.values()) reject(new Error('the agent closed the connection'));
      this.#waiting.clear();
    });
  }

  #take(chunk) {
    this.#buffered.push(chunk);
    this.#bufferedLength += chunk.length;
    if (this.#bufferedLength < this.#wanted) return;
    const { frames, rest } = takeFrames(Buffer.concat(this.#buffered));
    this.#buffered = [rest];
    this.#bufferedLength = rest.length;
    this.#wanted = rest.length >= 4 ? 4 + rest.readUInt32BE(0) : 4;
    for (const received of frames) {
      const waiting = this.#waiting.get(received.request);
      this.#waiting.delete(received.request);
      if (waiting) waiting.resolve(received);
      else this.frames.push(received);
    }
  }

  // Bytes as they are, for malformed input.
  send(bytes) {
    this.socket.write(bytes);
  }

  // A request with fields as bytes: resolves with the frame that answers it, error or not.
  exchange(operation, fields = Buffer.alloc(0)) {
    if (this.isClosed || this.socket.readableEnded || this.socket.writableEnded) // nothing of it would be sent
      return Promise.reject(new Error('the connection is closed'));
    const request = this.#next++;
    const answer = new Promise((resolve, reject) => this.#waiting.set(request, { resolve, reject }));
    this.socket.write(frame(operation, request, fields));
    return answer;
  }

  async call(operation, values = {}) {
    const received = await this.exchange(operations[operation], encode(messages[`${operation}Request`], values));
    if (received.operation === OPERATION_ERROR) throw new AgentError(decode(messages.error, received.fields));
    if (received.operation !== (operations[operation] | OPERATION_ANSWER))
      throw new Error(`operation ${received.operation} answers ${operation}`);
    return decode(messages[`${operation}Answer`], received.fields);
  }

  hello(values = { version_min: 1, version_max: 1, client: 'flow test' }) { return this.call('hello', values); }
  status() { return this.call('status'); }
  async keys() { return (await this.call('keys')).keys; }
  async profiles() { return (await this.call('profiles')).profiles; }
  proof(values) { return this.call('proof', values); }
  token(values) { return this.call('token', forProfile(values)); }
  authorize(values) { return this.call('authorize', values); }
  init(values = {}) { return this.call('init', values); }
  // Logins: begin gives { login, url, … }; wait, redirect and cancel take it, or its handle.
  loginBegin(values) { return this.call('loginBegin', forProfile(values)); }
  loginWait(login, values = {}) { return this.call('loginWait', { login: login.login ?? login, ...values }); }
  loginRedirect(login, url) { return this.call('loginRedirect', { login: login.login ?? login, url }); }
  loginCancel(login) { return this.call('loginCancel', { login: login.login ?? login }); }
  logout(values) { return this.call('logout', forProfile(values)); }
  // { active, claims }, the claims parsed
  async introspect(values) {
    const answer = await this.call('introspect', forProfile(values));
    return { ...answer, claims: JSON.parse(answer.claims) };
  }
  // [{ name, result: 'passed' | 'failed' | 'not tried' | 'warning', detail, next }]
  async profileTest(values) {
    const { checks } = await this.call('profileTest', forProfile(values));
    return checks.map((check) => ({ ...check, result: checkResults[check.result] ?? check.result }));
  }
  // [{ sequence, time, text }], the text as string
  async trace(values) {
    const { entries } = await this.call('trace', forProfile(values));
    return entries.map((entry) => ({ ...entry, text: entry.text.toString() }));
  }
  register(values) { return this.call('register', values); }
  async keyCsr(values) { return (await this.call('keyCsr', values)).pem.toString(); }
  async keyCert(values) { return (await this.call('keyCert', values)).pem.toString(); }
  reload() { return this.call('reload'); }
  // Keys: generate({ name, like }), prepare, commit and delete({ key }); the agent reloads after them. Node sends no
  // descriptors: unlock, key import and init with a PIN are the dpop command's.
  keyGenerate(values) { return this.call('keyGenerate', values); }
  keyDelete(values) { return this.call('keyDelete', values); }
  keyPrepare(values = {}) { return this.call('keyPrepare', values); }
  keyCommit(values = {}) { return this.call('keyCommit', values); }
  lock(values = {}) { return this.call('lock', values); }

  // { verdict: 'done' | 'retry' | …, reason }
  async outcome(values) {
    const answer = await this.call('outcome', values);
    return { ...answer, verdict: verdicts[answer.verdict] ?? answer.verdict };
  }

  close() {
    this.socket.destroy();
    return this.closed;
  }
}

// A connection that has said nothing yet.
export async function connectRaw(path) {
  const socket = net.connect(path);
  await once(socket, 'connect');
  return new Connection(socket);
}

export async function connect(path) {
  const connection = await connectRaw(path);
  try {
    connection.agent = await connection.hello();
  } catch (error) {
    connection.close();
    throw error;
  }
  return connection;
}
