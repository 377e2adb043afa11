// The dpop command: every verb, in text and in JSON, and an exit status for each kind of failure. dpop request and dpop
// headers are in request.test.mjs, dpop proof in proofs.test.mjs too.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { entries, jose, makeWorld, showLogOnFailure, sized } from './world.mjs';
import { errorAnswer, helloAnswer, listenAt, politeAgent } from './fake-agent.mjs';
import { OPERATION_ANSWER, decode, encode, field, frame, messages, operations } from './wire.mjs';

let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld({ profiles: { basic: {}, jwt: { scope: 'write read' } }, workers: 2 });
});
after(() => world?.stop());

// Arguments with which each verb reaches the agent: those that the world's agent can do at once, and the others.
const complete = (url) => ({
  init: [], status: [], 'key list': [], 'key show': ['work'], 'profile list': [],
    proof: ['--profile', 'basic', 'GET', url], token: ['basic'],
  headers: ['basic', 'GET', url], request: ['basic', url],
});
const others = {
  login: ['work'], logout: ['work'], register: ['--name', 'new', '--issuer', 'https://as.example'], reload: [],
  'key csr': ['--subject', 'CN=app'], 'key cert': ['--subject', 'CN=app'], 'profile test': ['work'],
  introspect: ['work'], trace: ['work'],
  unlock: ['work', '--pin-file', import.meta.filename], lock: ['work'], 'key generate': ['new'],
  'key import': ['new', import.meta.filename], 'key rotate': ['work', '--prepare'], 'key delete': ['work', '--yes'],
};
const verbs = [...Object.keys(complete('')), ...Object.keys(others)];

async function succeeds(...args) {
  const { status, stdout, stderr } = await world.dpop(...args);
  assert.equal(status, 0, stderr);
  return stdout;
}
const json = async (...args) => JSON.parse(await succeeds('--json', ...args));

async function fails(expected, ...args) {
  const { status, stdout, stderr } = await world.dpop(...args);
  assert.equal(status, expected, `${args.filter((arg) => typeof arg !== 'object').join(' ')}: ${stderr}`);
  return { stdout, stderr };
}

describe('dpop', () => {
  test('has help for itself and for every verb, on standard output, with exit status 0', async () => {
    const help = await succeeds('--help');
    for (const verb of verbs) {
      assert.match(help, new RegExp(`^  ${verb}\\b`, 'm'));
      const own = await succeeds(...verb.split(' '), '--help');
      assert.match(own, new RegExp(`^usage: dpop ${verb} \\[options\\]`));
      for (const option of ['--socket', '--json', '--help', 'Exit statuses'])
        assert.ok(own.includes(option), `${verb}: ${option}`);
    }
    assert.match(await succeeds('--version'), /^dpop \d+\.\d+\.\d+\n$/);
  });

  test('without an agent ends every verb with exit status 4 and a next step', async () => {
    const socket = join(world.dir, 'nobody');
    for (const [verb, args] of Object.entries({ ...complete('https://api.example/'), ...others })) {
      const { stderr, stdout } = await fails(4, ...verb.split(' '), ...args, '--socket', socket);
      assert.equal(stdout, '');
      assert.match(stderr, /^dpop: no agent at .*nobody/);
      assert.match(stderr, /^ {2}next: start one \(dpop-agent\)/m);
    }
    const { stderr } = await fails(4, 'status', { env: { XDG_RUNTIME_DIR: join(world.dir, 'empty') } });
    assert.match(stderr, /tried .*empty\/dpop-agent\/socket .*\/run\/dpop-agent\/socket/);
  });

  test('looks for the agent at --socket, then $DPOP_AGENT_SOCKET, then $XDG_RUNTIME_DIR', async () => {
    const nowhere = join(world.dir, 'nowhere');
    await succeeds('status');
    await fails(4, 'status', { env: { DPOP_AGENT_SOCKET: nowhere } });
    await succeeds('status', { env: { DPOP_AGENT_SOCKET: world.socket, XDG_RUNTIME_DIR: nowhere } });
    await succeeds('--socket', world.socket, 'status', { env: { DPOP_AGENT_SOCKET: nowhere } });
    await fails(4, 'status', '--socket', nowhere);
  });

  test('answers every mistake on the command line with exit status 2, and says what it is', async () => {
    for (const [args, message] of [
      [[], /command is missing/], [['nonsense'], /no command "nonsense"/],
        [['key'], /no command "key"; there are: key list, .*key generate, key import, key rotate, key delete, /],
      [['key', 'eat'], /no command "key eat"; there are: key list/],
      [['profile'], /there are: profile list, profile test/], [['token'], /usage: dpop token/],
      [['--socket', '', 'status'], /socket's path is empty/],
      [['register', '--name', 'a'], /--issuer .* or --resource/], [['key', 'csr'], /--subject is missing/],
      [['key', 'rotate', 'work'], /--prepare .* or --commit/],
      [['key', 'generate'], /usage: dpop key generate \[options\] NAME/],
      [['init', '--tpm', '--softhsm'], /one of --tpm/],
      [['key', 'import', 'new', '/nowhere'], /\/nowhere cannot be opened/],
      [['token', '--subject-token-file', '-', '--assertion-file', '-', 'a'], /standard input/],
      [['token', 'a', 'b'], /usage: dpop token/], [['token', '--min-valid', 'soon', 'basic'], /whole number/],
      [['token', '--nonsense', 'basic'], /--nonsense/],
      [['proof', '--profile', 'a', '--key', 'b', 'GET', 'https://x/'], /not both/],
      [['proof', '--ath', 'x', '--token-file', 'y', 'GET', 'https://x/'], /not both/],
      [['status', '--timeout', '0'], /timeout/], [['request', '-d', 'a', '-d', 'b', 'basic', 'https://x/'], /once/],
      [['request', '-H', 'no colon', 'basic', 'https://x/'], /header/],
    ]) {
      const { stderr, stdout } = await fails(2, ...args);
      assert.match(stderr, message);
      assert.equal(stdout, '');
      const error = JSON.parse((await fails(2, '--json', ...args)).stdout).error;
      assert.deepEqual([error.name, error.status, error.retryable], ['invalid-argument', 20, false]);
    }
  });
});

describe('--json', () => {
  test('makes every verb print one JSON value, wherever it stands', async () => {
    for (const [verb, args] of Object.entries(complete(`${world.rs.origin}/`))) {
      if (verb === 'init') continue;
      const more = verb === 'request' ? ['--ca-file', world.authority.ca] : [];
      for (const line of [['--json', ...verb.split(' '), ...args, ...more],
        [...verb.split(' '), ...args, ...more, '--json']]) JSON.parse(await succeeds(...line));
    }
  });

  test('prints errors as JSON too, with all that the agent said', async () => {
    const { stdout, stderr } = await fails(3, '--json', 'proof', '--profile', 'basic', 'GET', 'https://evil.example/');
    const { error } = JSON.parse(stdout);
    assert.deepEqual([error.name, error.status, error.retryable, stderr], ['origin-refused', 41, false, '']);
    assert.match(error.message, /https:\/\/evil\.example/);
    assert.match(error.next, /origins/);
    const gone = JSON.parse((await fails(4, '--json', 'status', '--socket', join(world.dir, 'nobody'))).stdout).error;
    assert.deepEqual([gone.name, gone.retryable], ['agent-unreachable', true]);
  });

  test('gives of every failure stage, status, the server\'s words, retryable and next, '
    + 'whatever the verb', async (t) => {
    const told = {
      status: 43, retryable: false, http_status: 400, retry_after: 7, message: 'm', next: 'n',
        oauth_error: 'invalid_grant', oauth_description: 'd', stage: 'refresh',
    };
    const agent = await politeAgent(join(world.dir, 'fake'), ({ request }) => errorAnswer(request, told));
    t.after(agent.close);
    for (const [verb, args] of Object.entries({ ...complete('https://api.example/'), ...others })) {
      const { stdout, stderr } = await fails(3, '--json', ...verb.split(' '), ...args, '--socket', agent.path);
      assert.deepEqual(JSON.parse(stdout).error, {
        stage: 'refresh', status: 43, name: 'server-refused', message: 'm', next: 'n', retryable: false, retry_after: 7,
          http_status: 400,
        error: 'invalid_grant', error_description: 'd', error_uri: null,
      }, verb);
      assert.equal(stderr, '');
    }
  });
});

describe('the verbs', () => {
  test('status shows agent, configuration, keys, profiles and processes', async () => {
    await world.agent.token('basic');
    const text = await succeeds('status');
    for (const part of [/^agent {10}dpop-agent \d.*pid \d+/m, new RegExp(`^configuration  ${world.configPath}$`, 'm'),
      /^key {12}work: ready/m, /^profile {8}basic: token, \d+ s left \(key work\)/m, /^profile {8}jwt: no token/m,
      /^process {8}front: ready, pid \d+, started 1 time$/m,
      /^process {8}key work 1: ready/m]) assert.match(text, part);
    const status = await json('status');
    assert.equal(status.pid, world.process.pid);
    assert.deepEqual(status.processes.map(({ name }) => name).sort(),
      ['front', 'key work 0', 'key work 1', 'net', 'store']);
    assert.equal(status.tokens_cached, 1);
  });

  test('key list has a line for each key', async () => {
    const [head, line, ...more] = (await succeeds('key', 'list')).trimEnd().split('\n');
    assert.match(head, /^KEY +STATE +TOKEN +MODEL +MADE +THUMBPRINT$/);
    assert.match(line, new RegExp(`^work +ready +dpop-agent-work +SoftHSM v2 +in token +${world.jkt.work}$`));
    assert.deepEqual(more, []);
    assert.deepEqual((await json('key', 'list')).map(({ name, thumbprint }) => [name, thumbprint]),
      [['work', world.jkt.work]]);
  });

  test('key show has JWK, thumbprint, URI and attributes', async () => {
    const key = await json('key', 'show', 'work');
    const { kty, crv, x, y } = key.jwk;
    assert.deepEqual({ kty, crv, x, y }, world.jwk.work);
    assert.ok(!('d' in key.jwk));
    assert.equal(await jose.calculateJwkThumbprint(key.jwk), key.thumbprint);
    assert.deepEqual([key.uri, key.imported, key.workers, key.model], [world.keyUri.work, false, 2, 'SoftHSM v2']);
    assert.deepEqual(key.attributes,
      ['private', 'sensitive', 'always-sensitive', 'never-extractable', 'local', 'sign']);
    const text = await succeeds('key', 'show', 'work');
    for (const part of [world.keyUri.work, world.jkt.work, 'never-extractable', `"x":"${x}"`])
      assert.ok(text.includes(part));
    const { stderr } = await fails(2, 'key', 'show', 'none');
    assert.match(stderr, /no key "none"[\s\S]*next: dpop key list/);
  });

  test('profile list has a line for each profile, and in JSON all that it is made of', async () => {
    assert.match(await succeeds('profile', 'list'),
      new RegExp(`^jwt +work +no token +- +required +private_key_jwt +${world.as.issuer}$`, 'm'));
    const profile = (await json('profile', 'list')).find(({ name }) => name === 'jwt');
    assert.deepEqual([profile.key, profile.issuer, profile.client_id, profile.client_authentication, profile.grant,
      profile.scope, profile.resources, profile.origins],
      ['work', world.as.issuer, 'jwt', 'private_key_jwt', 'client_credentials', 'write read', [world.rs.origin],
        [world.rs.origin]]);
  });

  test('token prints the token alone, or in JSON all that is known of it', async () => {
    const [token, ...rest] = (await succeeds('token', 'basic')).split('\n');
    assert.deepEqual(rest, ['']);
    assert.equal(jose.decodeJwt(token).cnf.jkt, world.jkt.work);
    const told = await json('token', 'basic');
    assert.deepEqual(Object.keys(told),
      ['access_token', 'token_type', 'expires_in', 'expires_at', 'scope', 'jkt', 'raw']);
    assert.deepEqual([told.access_token, told.token_type, told.jkt], [token, 'DPoP', world.jkt.work]);
    const other = await json('token', '--scope', 'write', '--resource', world.rs.origin, 'basic');
    assert.equal(jose.decodeJwt(other.access_token).scope, 'write');
  });

  test('init makes a key and a configuration on an agent that has none, '
    + 'and then never overwrites anything', async (t) => {
    const own = await makeWorld({ servers: false, keys: [] });
    t.after(own.stop);
    assert.match((await own.dpop('status')).stdout, /^configuration  none: dpop init makes one$/m);
    const early = await own.dpop('token', 'basic');
    assert.equal(early.status, 4);
    assert.match(early.stderr, /not configured\n {2}next: dpop init/);

    const made = await own.dpop('init', '--softhsm', '--json');
    assert.equal(made.status, 0, made.stderr);
    const { uri, thumbprint, token_folder: folder, pin_file: pin, configuration } = JSON.parse(made.stdout);
    assert.equal(configuration, own.configPath);
    await own.ready(['default']);
    const [key] = await own.agent.keys();
    assert.deepEqual([key.name, key.uri, key.jkt, key.imported], ['default', uri, thumbprint, false]);
    assert.match(await readFile(configuration, 'utf8'), new RegExp(`^thumbprint = ${thumbprint}$`, 'm'));
    const mode = async (path) => ((await stat(path)).mode & 0o777).toString(8);
    assert.deepEqual([await mode(configuration), await mode(pin), await mode(folder), await mode(own.stateFolder)],
      ['600', '600', '700', '700']);

    const state = async () =>
      [await readFile(configuration), await readFile(pin), await entries(folder), await entries(own.stateFolder)];
    const before = await state();
    for (const args of [['init'], ['init', '--name', 'other'], ['init', '--name', 'default']]) {
      const { status, stderr } = await own.dpop(...args);
      assert.equal(status, 2, stderr);
      assert.match(stderr, /already[\s\S]*nothing was changed/);
    }
    assert.deepEqual(await state(), before);
  });

  test('init takes names of a few plain characters only', async (t) => {
    const own = await makeWorld({ servers: false, keys: [] });
    t.after(own.stop);
    for (const name of ['../up', 'a b', '', 'x'.repeat(64)]) {
      const { status, stderr } = await own.dpop('init', '--softhsm', '--name', name);
      assert.equal(status, 2, stderr);
    }
    assert.deepEqual((await entries(own.stateFolder)).filter((name) => name !== 'lock'), []);
    assert.equal((await own.dpop('init', '--softhsm', '--name', 'my-key.1')).status, 0);
    await own.ready(['my-key.1']);
  });
});

test('no command fails while the agent reloads: it is asked again', async (t) => {
  const reloads = sized(t, 'reloads', 50, 5);
  let over = false, calls = 0;
  const callers = Array.from({ length: 3 }, async () => {
    for (; !over; calls++) await succeeds('proof', '--profile', 'basic', 'GET', `${world.rs.origin}/`);
  });
  for (let i = 0; i < reloads; i++) await succeeds('reload');
  over = true;
  await Promise.all(callers);
  assert.ok(calls > reloads, `${calls} proofs`);
  await world.ready();
});

describe('exit statuses', () => {
  test('are 3 for what is refused, 2 for what is not there', async () => {
    await fails(3, 'proof', '--profile', 'basic', 'GET', 'https://evil.example/');
    await fails(3, 'headers', 'basic', 'GET', 'http://localhost/');
    await fails(3, 'token', '--resource', 'https://unknown.example', 'basic');
    for (const args of [['token', 'none'], ['headers', 'none', 'GET', 'https://x/'],
      ['proof', '--key', 'none', 'GET', 'https://x/']]) await fails(2, ...args);
  });

  for (const [number, name, exit] of [[20, 'invalid-argument', 2], [40, 'peer-refused', 3], [44, 'token-not-dpop', 3],
    [61, 'timeout', 4], [63, 'key-locked', 4], [70, 'restarted', 4],
    [80, 'login-required', 5], [1, 'malformed', 6], [100, 'server-misbehaved', 6], [120, 'internal', 1],
    [999, 'unknown', 6]]) {
    test(`are ${exit} when the agent answers ${name}`, async (t) => {
      const agent = await politeAgent(join(world.dir, 'fake'), ({ request }) =>
        errorAnswer(request, { status: number, message: 'so it is', next: 'do this' }));
      t.after(agent.close);
      // restarted is tried until then
      const { stderr } = await fails(exit, 'token', 'basic', '--timeout', '1', '--socket', agent.path);
      assert.match(stderr, /^dpop: so it is\n {2}next: do this\n$/);
    });
  }

  test('are 6 when what listens does not speak the protocol', async (t) => {
    const proofAnswer = operations.token | OPERATION_ANSWER;
    const polite = (reply) => (path) => politeAgent(path, reply);
    const atOnce = (bytes) => (path) => listenAt(path, (socket) => socket.end(bytes));
    const cases = {
      garbage: atOnce('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'an oversized frame': atOnce(Buffer.from('ffffffff', 'hex')),
      'a frame too short': atOnce(Buffer.from('00000003000000', 'hex')),
      'a version that it does not know': atOnce(helloAnswer(1, { version: 9 })),
      'an answer to another question': polite(({ request }) => frame(operations.keys | OPERATION_ANSWER, request)),
      'an answer without its fields': polite(({ request }) => frame(proofAnswer, request)),
      'a field that is cut short': polite(({ request }) => frame(proofAnswer, request, field(1, 'abc').subarray(0, 7))),
    };
    for (const [what, start] of Object.entries(cases)) {
      const agent = await start(join(world.dir, 'fake'));
      t.after(() => agent.close().catch(() => {}));
      const { stderr, stdout } = await fails(6, 'token', 'basic', '--socket', agent.path, { timeout: 10_000 });
      assert.equal(stdout, '', what);
      assert.match(stderr, /^dpop: /, what);
      await agent.close();
    }
  });

  test('are 4 when the agent is silent, after --timeout, or closes the connection', async (t) => {
    const silent = await listenAt(join(world.dir, 'silent'), () => {});
    t.after(silent.close);
    const begun = Date.now();
    await fails(4, 'status', '--timeout', '1', '--socket', silent.path);
    assert.ok(Date.now() - begun < 3000);
    const closing = await politeAgent(join(world.dir, 'closing'), () => null);
    t.after(closing.close);
    await fails(4, 'token', 'basic', '--socket', closing.path);
  });
});

describe('a login', () => {
  const answer = (received, name, values) =>
    frame(operations[name] | OPERATION_ANSWER, received.request, encode(messages[`${name}Answer`], values));
  const login = Buffer.from('handle');
  // An agent whose login goes on for as many waits as it is told, and that counts what it is asked.
  const loginAgent = (asked, waits, end) => politeAgent(join(world.dir, 'fake'), (received) => {
    const name = Object.keys(operations).find((key) => operations[key] === received.operation);
    asked.push({ name, ...decode(messages[`${name}Request`], received.fields) });
    if (name === 'loginBegin')
      return answer(received, name, { login, url: 'https://as.example/authorize?a=b', expires_in: 60 });
    if (name === 'loginCancel') return answer(received, name, {});
    return asked.filter((one) => one.name === 'loginWait').length > waits ? end(received)
      : errorAnswer(received.request, { status: 61, message: 'it goes on' });
  });

  test('is waited for in short calls, and ends with what the agent says', async (t) => {
    const asked = [];
    const agent = await loginAgent(asked, 3, (received) => answer(received, 'loginWait',
      { profile: 'work', subject: 'alice', expires_in: 60, refresh: true, persisted: true }));
    t.after(agent.close);
    const { status, stdout, stderr } = await world.dpop('login', '--no-browser', '--json', 'work', '--socket',
      agent.path);
    assert.equal(status, 0, stderr);
    const [begun, done] = stdout.trimEnd().split('\n').map((line) => JSON.parse(line));
    assert.deepEqual([begun.event, begun.url, begun.expires_in], ['begun', 'https://as.example/authorize?a=b', 60]);
    assert.deepEqual([done.event, done.subject, done.persisted, done.note], ['logged in', 'alice', true, null]);
    assert.deepEqual(asked.map(({ name }) => name), ['loginBegin', 'loginWait', 'loginWait', 'loginWait', 'loginWait']);
    assert.ok(asked.slice(1).every((one) => one.login.equals(login) && one.timeout <= 1000));
  });

  test('that failed because a request to the server timed out is not waited for again', async (t) => {
    const asked = [];
    const agent = await loginAgent(asked, 0, ({ request }) =>
      errorAnswer(request, { status: 61, message: 'too late', stage: 'token request' }));
    t.after(agent.close);
    const { stderr } = await fails(4, 'login', '--no-browser', 'work', '--socket', agent.path);
    assert.match(stderr, /^dpop: too late\n {2}stage: token request$/m);
    assert.equal(asked.length, 2);
  });

  test('is cancelled when --timeout has passed', async (t) => {
    const asked = [];
    const agent = await loginAgent(asked, Infinity);
    t.after(agent.close);
    await fails(4, 'login', '--no-browser', '--timeout', '1', 'work', '--socket', agent.path);
    assert.deepEqual(asked.at(-1), { name: 'loginCancel', login });
  });
});
