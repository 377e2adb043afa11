// The session log: every exchange of a login, a refresh, a service's token, a token exchange, a device login and a logout is
// in `dpop trace`, in `dpop trace --follow` and in the trace-file, with proofs as claims and secrets as lengths.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { addClient, logIn } from './login-steps.mjs';
import { dpopBinary, makeWorld, showLogOnFailure, until } from './world.mjs';

let world;
showLogOnFailure(() => world);
const fileOf = (profile) => join(world.dir, 'traces', `${profile}.log`);

before(async () => {
  world = await makeWorld({ asOptions: { refreshTokens: 'always', deviceInterval: 1 } });
  await addClient(world, 'app', 'private_key_jwt');
  await addClient(world, 'web', 'client_secret_post');
  await mkdir(join(world.dir, 'traces'), { mode: 0o700 });
  const profiles = {
    service: {}, web: { client: 'web', grant: 'authorization_code', scope: 'openid read' },
    device: { client: 'app', grant: 'device_code' },
    exchange: { client: 'app', grant: 'token-exchange', 'subject-token-profile': 'web' },
    quiet: { client: 'basic' },
  };
  for (const [name, options] of Object.entries(profiles)) if (name !== 'quiet') options['trace-file'] = fileOf(name);
  await world.configure({ profiles });
});
after(() => world?.stop());

// The entries of a profile since `after` that are exchanges: [{ line: 'POST /token', text }]
async function exchanges(profile, after = 0) {
  const entries = (await world.agent.trace({ profile, after })).filter(({ text }) => /^(GET|POST) /.test(text));
  return entries.map(({ text }) => {
    const [, method, url] = /^(GET|POST) (\S+)/.exec(text);
    return { line: `${method} ${new URL(url).pathname}`, text };
  });
}

const status = (text) => Number(/^< HTTP\/1\.1 (\d+)/m.exec(text)[1]);
const lastOf = async (profile) => (await world.agent.trace(profile)).at(-1)?.sequence ?? 0;
// What the server saw since its request number `from`, in the same words.
const seen = (from) => world.as.requests.slice(from).filter(({ path }) => !/^\/(auth|interaction|device$|device\/[^a])/.test(path) || path === '/device/auth')
  .map(({ method, path, status: answered }) => `${method} ${path} ${answered}`);

async function matches(profile, from, after) {
  const shown = (await exchanges(profile, after)).map(({ line, text }) => `${line} ${status(text)}`);
  assert.deepEqual(shown, seen(from), profile);
  return exchanges(profile, after);
}

describe('dpop trace', () => {
  test('has each exchange of a service\'s token: metadata, nonce challenge, token', async () => {
    const from = world.as.requests.length;
    await world.agent.token('service');
    const all = await matches('service', from, 0);
    assert.deepEqual(all.map(({ line }) => line), ['GET /.well-known/oauth-authorization-server', 'POST /token', 'POST /token']);
    const text = all.at(-1).text;
    assert.match(text, /^connected to 127\.0\.0\.1 port \d+; TLSv1\.3, .*certificate of .*CN ?= ?server/m);
    assert.match(text, /^> Authorization: Basic \(masked, \d+ bytes\)$/m);
    assert.match(text, /^> grant_type=client_credentials$/m);
    assert.match(text, /^> DPoP: a JWT, signature masked$/m);
    const claims = JSON.parse(/^> +claims: (\{.*\})$/m.exec(text)[1]);
    const header = JSON.parse(/^> +header: (\{.*\})$/m.exec(text)[1]);
    assert.deepEqual([claims.htm, claims.htu, claims.jti, claims.nonce !== undefined], ['POST', `${world.as.issuer}/token`, world.as.tokenRequests().at(-1).jti, true]);
    assert.deepEqual([header.typ, header.alg, header.jwk], ['dpop+jwt', 'ES256', world.jwk.work]);
    assert.match(text, /^< access_token: \(masked, \d+ bytes\)$/m);
    assert.match(text, /^< token_type: DPoP$/m);
    assert.match(text, /^answered in \d+ ms \(name \d+, connection \d+, TLS \d+, first byte \d+\)$/m);
    assert.match(all[1].text, /^< error: use_dpop_nonce$/m);
  });

  test('has each exchange of a login, its refresh and its logout', async () => {
    const from = world.as.requests.length;
    await logIn(world, 'web');
    await world.agent.token({ profile: 'web', force: true });
    const all = await matches('web', from, 0);
    assert.ok(all.some(({ line, text }) => line === 'POST /request' && status(text) === 201 && /^> code_challenge_method=S256$/m.test(text)));
    assert.ok(all.some(({ text }) => /^> grant_type=authorization_code$/m.test(text) && /^> code=\(masked, \d+ bytes\)$/m.test(text) && /^> code_verifier=\(masked, \d+ bytes\)$/m.test(text)));
    assert.ok(all.some(({ text }) => /^> grant_type=refresh_token$/m.test(text) && /^> refresh_token=\(masked, \d+ bytes\)$/m.test(text)));
    assert.ok(all.every(({ text }) => !/^> client_secret=(?!\(masked)/m.test(text)));
    const notes = (await world.agent.trace('web')).map(({ text }) => text).filter((text) => !/^(GET|POST) /.test(text));
    assert.ok(notes.length > 0, 'what no exchange says stands in between');

    const mark = world.as.requests.length;
    const after = await lastOf('web');
    await logIn(world, 'web');
    await world.agent.logout('web');
    const last = await matches('web', mark, after);
    assert.match(last.at(-1).line, /revocation/);
  });

  test('has each exchange of a device login, polls included, and of a token exchange', async () => {
    let from = world.as.requests.length;
    await logIn(world, 'device', { device: true });
    const all = await matches('device', from, 0);
    assert.ok(all.some(({ line, text }) => line === 'POST /device/auth' && /^< device_code: \(masked/m.test(text) && /^< user_code: \(masked/m.test(text)));
    assert.ok(all.some(({ text }) => /^> grant_type=urn:ietf:params:oauth:grant-type:device_code$/m.test(text) && /^> device_code=\(masked/m.test(text)));
    const assertion = JSON.parse(/^> +claims: (\{.*"aud".*\})$/m.exec(all.at(-1).text)[1]);
    assert.deepEqual([assertion.iss, assertion.sub, assertion.aud], ['app', 'app', world.as.issuer], 'client assertions as claims too');

    await logIn(world, 'web');
    from = world.as.requests.length;
    await world.agent.token('exchange');
    const exchanged = await matches('exchange', from, 0);
    assert.match(exchanged.at(-1).text, /^> subject_token=\(masked, \d+ bytes\)$/m);
  });

  test('has exchanges that failed, and why', async () => {
    world.as.intercept((req) => {
      if (!req.url.startsWith('/token')) return false;
      req.socket.destroy();
      return true;
    });
    await assert.rejects(world.agent.token({ profile: 'quiet', force: true }), { name: 'server-unreachable' });
    world.as.intercept(null);
    const [last] = (await exchanges('quiet')).slice(-1);
    assert.match(last.text, /^failed, after it was sent in whole or in part: /m);
    assert.match(last.text, /^ended in \d+ ms/m);
  });

  test('shows the same to people and as JSON, only what is newer with --follow, and ends at Ctrl-C', async () => {
    const { status: ended, stdout } = await world.dpop('trace', 'service');
    assert.equal(ended, 0);
    assert.match(stdout, /^---- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$/m);
    const json = JSON.parse((await world.dpop('trace', '--json', 'service')).stdout);
    assert.deepEqual(json.map(({ text }) => text), (await world.agent.trace('service')).map(({ text }) => text));
    for (const { text } of json) assert.ok(stdout.includes(text));

    const child = spawn(dpopBinary, ['trace', '--follow', '--json', 'service'], { env: { PATH: process.env.PATH, ...world.environment }, stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    const lines = [];
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop();
      lines.push(...parts.map((line) => JSON.parse(line)));
    });
    try {
      await until('what is there is shown', () => lines.length >= json.length);
      assert.deepEqual(lines.map(({ sequence }) => sequence), json.map(({ sequence }) => sequence));
      await world.agent.token({ profile: 'service', force: true });
      await until('the new exchange is shown', () => lines.length > json.length && /^POST .*\/token/.test(lines.at(-1).text), { timeout: 3000 });
      await world.reload();
      const mark = lines.length;
      await world.agent.token('service');
      await until('it goes on after a reload', () => lines.length > mark);
      assert.ok(lines.every(({ sequence }, i) => i === 0 || sequence > lines[i - 1].sequence), 'each once, in order');
    } finally {
      child.kill('SIGINT');
      await closed;
    }
    assert.equal(child.exitCode, 0);
  });

  test('refuses what is no profile', async () => {
    const { status: ended, stderr } = await world.dpop('trace', 'nobody');
    assert.equal(ended, 2);
    assert.match(stderr, /no profile "nobody"/);
  });
});

describe('a trace-file', () => {
  test('is for its owner only, has every entry, each with its time, and goes on after a restart', async () => {
    for (const profile of ['service', 'web', 'device', 'exchange']) {
      const { mode, uid } = await stat(fileOf(profile));
      assert.deepEqual([mode & 0o777, uid], [0o600, process.geteuid()]);
    }
    await world.agent.token({ profile: 'service', force: true });
    const entries = (await world.agent.trace('service')).map(({ text }) => text);
    await until('the file has it', async () => {
      const text = await readFile(fileOf('service'), 'utf8');
      return entries.every((entry) => text.includes(entry));
    });
    const text = await readFile(fileOf('service'), 'utf8');
    assert.match(text, /^--- \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\nGET https:/);
    assert.ok((text.match(/^POST /gm) ?? []).length >= 4, 'from before the reload too');
  });

  test('that cannot be written is told once in the log, and hinders nothing', async () => {
    await world.configure({ profiles: { service: { 'trace-file': join(world.dir, 'no-such-folder/x.log') } } });
    await world.agent.token('service');
    await world.agent.token({ profile: 'service', force: true });
    await world.logged(/cannot open trace-file .*no-such-folder/);
    const told = (await world.log()).match(/cannot open trace-file .*no-such-folder/g);
    assert.ok(told.length <= 2, `${told.length} times`);
    assert.ok((await exchanges('service')).length >= 3, 'dpop trace has it all the same');
  });
});
