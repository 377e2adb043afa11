// dpop request and dpop headers against the real servers: what is sent, what is repeated and what never is, what is shown
// and what is masked.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dpopBinary, makeWorld, run, showLogOnFailure } from './world.mjs';

let world;
showLogOnFailure(() => world);

before(async () => {
  world = await makeWorld();
  await world.agent.token('basic');
});
after(() => world?.stop());

const url = (path = '/a') => world.rs.origin + path;
const request = (...args) => world.dpop('request', '--ca-file', world.authority.ca, ...args);
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

// What the resource server saw since: its records, with the headers of each request.
async function seen(t, act) {
  const [first, headers] = [world.rs.requests.length, []];
  world.rs.intercept((req) => void headers.push({ ...req.headers }));
  t.after(() => world.rs.intercept(null));
  const result = await act();
  return { ...result, requests: world.rs.requests.slice(first).map((record, i) => ({ ...record, headers: headers[i] })) };
}

// The server answers each request like this, and reads all of it first.
function answering(t, status, headers = {}, body = '') {
  world.rs.intercept(async (req, res) => {
    await req.toArray();
    res.writeHead(status, headers).end(body);
    return true;
  });
  t.after(() => world.rs.intercept(null));
}

async function knowNonce() {
  const { status, stderr } = await request('basic', url('/warm-up'));
  assert.equal(status, 0, stderr);
}

describe('dpop request', () => {
  test('is answered 200: it gets the token, learns the nonce and prints the body', async (t) => {
    world.rs.rotate();
    const { status, stdout, stderr, requests } = await seen(t, () => request('basic', url('/a/b?c=d')));
    assert.deepEqual([status, stderr], [0, '']);
    const body = JSON.parse(stdout);
    assert.deepEqual([body.method, body.path, body.jkt], ['GET', '/a/b', world.jkt.work]);
    assert.deepEqual(requests.map((record) => record.status), [401, 200]);
    assert.notEqual(requests[0].jti, requests[1].jti);
  });

  test('needs one send only once the nonce is known', async (t) => {
    await knowNonce();
    const { requests } = await seen(t, () => request('basic', url()));
    assert.deepEqual(requests.map((record) => record.status), [200]);
  });

  test('sends the method of -X, the headers of -H, the body of -d, and no second Authorization', async (t) => {
    await knowNonce();
    const { status, requests } = await seen(t, () => request('-X', 'PATCH', '-H', 'X-One: 1', '-H', 'X-Two: zwei', '-d', 'a=b&c', 'basic', url()));
    const [{ method, headers, bodyBytes }] = requests;
    assert.deepEqual([status, method, headers['x-one'], headers['x-two'], bodyBytes], [0, 'PATCH', '1', 'zwei', 5]);
    for (const line of ['Authorization: Bearer x', 'authorization:x', 'DPoP: x', 'dpop;']) {
      const { status: exit, stderr } = await request('-H', line, 'basic', url());
      assert.equal(exit, 2);
      assert.match(stderr, /agent's to make/);
    }
    assert.equal((await request('-H', 'Authorization : x', 'basic', url())).status, 2, 'a blank before the colon hides nothing');
    assert.equal((await seen(t, () => request('-d', 'x', 'basic', url()))).requests[0].method, 'POST');
    assert.deepEqual((await seen(t, () => request('-X', 'HEAD', '-i', 'basic', url()))).requests.map((record) => record.method), ['HEAD']);
  });

  test('sends the URL in the normalised form that the proof is for', async (t) => {
    await knowNonce();
    const { status, requests } = await seen(t, () => request('basic', `${world.rs.origin.replace('https', 'HTTPS')}/x/../%7euser/a%2fb?q=%2e#frag`));
    assert.equal(status, 0);
    assert.equal(requests[0].path, '/~user/a%2Fb');
  });

  test('prints the header lines with -i, and writes body and header lines to the file of -o', async () => {
    await knowNonce();
    const { stdout } = await request('-i', 'basic', url());
    const [head, body] = stdout.split('\r\n\r\n');
    assert.match(head, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(head, /^DPoP-Nonce: /m);
    JSON.parse(body);
    const file = join(world.dir, 'answer');
    const written = await request('-o', file, 'basic', url('/out'));
    assert.deepEqual([written.status, written.stdout], [0, '']);
    assert.equal(JSON.parse(await readFile(file, 'utf8')).path, '/out');
  });

  test('drops the refused answer: only the last one is printed and written', async () => {
    world.rs.rotate();
    const { stdout } = await request('-i', 'basic', url());
    assert.equal(stdout.match(/^HTTP\//gm).length, 1);
    assert.doesNotMatch(stdout, /use_dpop_nonce/);
  });

  test('prints one JSON value with --json: status, URL, sends, headers and body', async (t) => {
    await knowNonce();
    const answer = JSON.parse((await request('--json', 'basic', url('/j'))).stdout);
    assert.deepEqual([answer.http_status, answer.url, answer.sends, JSON.parse(answer.body).path], [200, url('/j'), 1, '/j']);
    assert.ok(answer.headers.some(({ name }) => name === 'DPoP-Nonce'));
    answering(t, 200, {}, Buffer.from([0xff, 0, 1]));
    assert.equal(JSON.parse((await request('--json', 'basic', url())).stdout).body_base64, '/wAB');
  });

  test('-v shows the exchange with token, signature and cookies masked', async (t) => {
    world.rs.rotate();
    const { stderr, requests } = await seen(t, () => request('-v', '-H', 'Cookie: session=secret-cookie', 'basic', url()));
    assert.match(stderr, /^> GET \/a HTTP\/1\.1$/m);
    assert.match(stderr, /^< HTTP\/1\.1 401 Unauthorized$/m);
    assert.match(stderr, /^< HTTP\/1\.1 200 OK$/m);
    assert.match(stderr, /^> Authorization: DPoP <masked>$/m);
    assert.match(stderr, /^> DPoP: \{"typ":"dpop\+jwt".*"htm":"GET".*<signature masked>$/m);
    assert.equal(requests.length, 2);
    for (const { headers } of requests) {
      const token = headers.authorization.split(' ')[1];
      for (const secret of [token, ...token.split('.'), headers.dpop, headers.dpop.split('.')[2], 'secret-cookie']) assert.ok(!stderr.includes(secret));
    }
    for (const secret of Object.values(world.secrets)) assert.ok(!stderr.includes(secret));
  });
});

describe('a body', () => {
  test('from a pipe is never sent twice: a clear error, and the second run succeeds', async (t) => {
    world.rs.rotate();
    const send = () => request('-d', '@-', 'basic', url(), { stdin: 'from a pipe' });
    const refused = await seen(t, send);
    assert.equal(refused.status, 4);
    assert.match(refused.stderr, /body cannot be sent twice\n {2}next: run it again/);
    assert.deepEqual(refused.requests.map((record) => record.status), [401]);
    const repeated = await seen(t, send);
    assert.equal(repeated.status, 0, repeated.stderr);
    assert.deepEqual(repeated.requests.map((record) => record.status), [200]);
    assert.equal(JSON.parse(repeated.stdout).bodySha256, sha256('from a pipe'));
    world.rs.rotate();
    const { error } = JSON.parse((await request('--json', '-d', '@-', 'basic', url(), { stdin: 'x' })).stdout);
    assert.equal(error.name, 'not-rewindable');
  });

  test('from a file is repeated from its beginning, whole', async (t) => {
    const [file, bytes] = [join(world.dir, 'body'), randomBytes(3_000_001)];
    await writeFile(file, bytes);
    world.rs.rotate();
    const { status, stdout, requests } = await seen(t, () => request('-d', `@${file}`, 'basic', url()));
    assert.equal(status, 0);
    assert.deepEqual(requests.map(({ status: answered, bodyBytes }) => [answered, bodyBytes]), [[401, bytes.length], [200, bytes.length]]);
    assert.equal(JSON.parse(stdout).bodySha256, sha256(bytes));
  });

  test('from standard input that is a file is repeated from where it stood', async (t) => {
    const [file, bytes] = [join(world.dir, 'stdin-body'), randomBytes(100_000)];
    await writeFile(file, bytes);
    world.rs.rotate();
    const { status, stdout, stderr, requests } = await seen(t, () => run('/bin/sh',
      ['-c', 'exec < "$0"; head -c 0; exec "$@"', file, dpopBinary, 'request', '--ca-file', world.authority.ca, '-d', '@-', 'basic', url()], { env: world.environment }));
    assert.equal(status, 0, stderr);
    assert.equal(requests.length, 2);
    assert.equal(JSON.parse(stdout).bodySha256, sha256(bytes));
  });

  test('from the command line is repeated', async (t) => {
    world.rs.rotate();
    const { stdout, requests } = await seen(t, () => request('-d', 'inline', 'basic', url()));
    assert.equal(requests.length, 2);
    assert.equal(JSON.parse(stdout).bodySha256, sha256('inline'));
  });

  test('of 24 MiB is streamed through a pipe', async () => {
    await knowNonce();
    const bytes = randomBytes(24 << 20);
    const { status, stdout, stderr } = await request('-d', '@-', 'basic', url(), { stdin: bytes });
    assert.equal(status, 0, stderr);
    const { bodyBytes, bodySha256 } = JSON.parse(stdout);
    assert.deepEqual([bodyBytes, bodySha256], [bytes.length, sha256(bytes)]);
  });

  test('of an answer of 24 MiB arrives whole in the file of -o', async (t) => {
    const bytes = randomBytes(24 << 20);
    answering(t, 200, {}, bytes);
    const file = join(world.dir, 'large-answer');
    assert.equal((await request('-o', file, 'basic', url())).status, 0);
    assert.equal((await stat(file)).size, bytes.length);
    assert.equal(sha256(await readFile(file)), sha256(bytes));
  });

  test('that cannot be read is an error before anything is sent', async (t) => {
    for (const path of [join(world.dir, 'no-such-file'), world.dir]) {
      const { status, stderr, requests } = await seen(t, () => request('-d', `@${path}`, 'basic', url()));
      assert.equal(status, 2);
      assert.match(stderr, /cannot be read/);
      assert.equal(requests.length, 0);
    }
  });
});

describe('an answer', () => {
  test('of 400 or more is printed and gives exit status 22', async (t) => {
    for (const code of [400, 404, 409, 500, 503]) {
      answering(t, code, {}, `no: ${code}`);
      const { status, stdout } = await request('basic', url());
      assert.deepEqual([status, stdout], [22, `no: ${code}`]);
    }
    assert.equal(JSON.parse((await request('--json', 'basic', url())).stdout).http_status, 503);
  });

  test('that refuses the proof or the nonce for good gives exit status 22 and the reason', async (t) => {
    answering(t, 401, { 'WWW-Authenticate': 'DPoP error="invalid_dpop_proof"' }, 'refused');
    const { status, stdout, stderr } = await request('basic', url());
    assert.deepEqual([status, stdout], [22, 'refused']);
    assert.match(stderr, /invalid_dpop_proof.*clock/);
    let n = 0;
    world.rs.intercept((_req, res) => {
      res.writeHead(401, { 'WWW-Authenticate': 'DPoP error="use_dpop_nonce"', 'DPoP-Nonce': `endless-${n++}` }).end();
      return true;
    });
    const endless = await request('basic', url());
    assert.equal(endless.status, 22);
    assert.equal(n, 2, 'two sends at most for a nonce');
    world.rs.intercept(null);
    await knowNonce();
  });

  test('that redirects is not followed', async (t) => {
    let visits = 0;
    world.rs.intercept((req, res) => {
      visits++;
      res.writeHead(307, { Location: url('/elsewhere') }).end('moved');
      return true;
    });
    t.after(() => world.rs.intercept(null));
    const { status, stdout } = await request('basic', url());
    assert.deepEqual([status, stdout, visits], [0, 'moved', 1]);
  });

  test('that never comes ends at --max-time with exit status 4', async (t) => {
    world.rs.intercept(() => true);
    t.after(() => world.rs.intercept(null));
    const begun = Date.now();
    const { status, stderr } = await request('--max-time', '1', 'basic', url());
    assert.equal(status, 4, stderr);
    assert.ok(Date.now() - begun < 4000);
  });

  test('of a server whose certificate is not trusted is never asked for: exit status 4, and no token is sent', async (t) => {
    const { status, stderr, requests } = await seen(t, () => world.dpop('request', 'basic', url()));
    assert.equal(status, 4, stderr);
    assert.equal(requests.length, 0);
  });

  test('whose token was refused comes with a new token', async (t) => {
    await knowNonce();
    world.rs.revoke();
    const { status, requests } = await seen(t, () => request('basic', url()));
    assert.deepEqual([status, requests.map((record) => record.status)], [0, [401, 200]]);
    assert.notEqual(requests[0].headers.authorization, requests[1].headers.authorization);
  });

  test('is asked for only at the origins of the profile', async (t) => {
    const { status, stderr, requests } = await seen(t, () => request('basic', world.rs.origin.replace('localhost', '127.0.0.1')));
    assert.equal(status, 3);
    assert.match(stderr, /does not name the origin/);
    assert.equal(requests.length, 0);
  });
});

describe('dpop headers', () => {
  test('are two lines that curl -H @- sends, and the answer is 200', async () => {
    await knowNonce();
    const { status, stdout, stderr } = await world.dpop('headers', 'basic', 'POST', url('/curl'));
    assert.deepEqual([status, stderr], [0, '']);
    assert.match(stdout, /^Authorization: DPoP \S+\nDPoP: \S+\n$/);
    const curl = await run('curl', ['-sS', '--cacert', world.authority.ca, '-H', '@-', '-d', 'body', url('/curl')], { stdin: stdout });
    assert.equal(curl.status, 0, curl.stderr);
    const { ok, method, bodyBytes } = JSON.parse(curl.stdout);
    assert.deepEqual([ok, method, bodyBytes], [true, 'POST', 4]);
  });

  test('say so when the URL is another in its normalised form', async () => {
    const { status, stderr } = await world.dpop('headers', 'basic', 'GET', `${world.rs.origin}/a/../b`);
    assert.equal(status, 0);
    assert.ok(stderr.includes(url('/b')));
  });
});
