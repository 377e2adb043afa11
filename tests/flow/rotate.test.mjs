// A key's rotation and end against the real oidc-provider: dpop key rotate --prepare and --commit, key generate and key
// delete, under load, refused, interrupted at each step; what was bound to the old key is revoked, and the old key is
// gone.

import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchTrusting } from '../servers/transport.mjs';
import { addClient, askServer, logIn } from './login-steps.mjs';
import { requestResource } from './resource-request.mjs';
import { childrenOf, iniText, makeWorld, parseIni, showLogOnFailure, sized, until } from './world.mjs';

const secret = 'the resource server asks';
const code = { client: 'app', grant: 'authorization_code', scope: 'openid offline_access read' };

let world;
showLogOnFailure(() => world);

const makeRotationWorld = (more) =>
  makeWorld({
    asOptions: { introspectionSecret: secret, accessTokenFormat: 'opaque' },
    rsOptions: { introspection: { clientId: 'resource-server', clientSecret: secret } },
    ...more,
  });

const sections = async (w = world) => parseIni(await readFile(w.configPath, 'utf8'));
const addSection = async (name, options) =>
  world.writeConfigText(`${await readFile(world.configPath, 'utf8')}\n${iniText({ [name]: options })}`);
const keyInfo = async (name, w = world) => (await w.agent.keys()).find((info) => info.name === name);
const jwkOf = ({ x, y, jkt }) =>
  ({ kty: 'EC', crv: 'P-256', x: x.toString('base64url'), y: y.toString('base64url'), kid: jkt });
const isGood = async (profile) => assert.equal((await requestResource(world, { profile })).status, 200);

// The server knows these keys of a client: 'jwt' needs no user, 'signer' does.
const registerAs = {
  jwt: (...keys) =>
    world.as.putClient({
      client_id: 'jwt', jwks: { keys }, token_endpoint_auth_method: 'private_key_jwt',
        token_endpoint_auth_signing_alg: 'ES256',
    }),
  signer: (...keys) => addClient(world, 'signer', 'private_key_jwt', { clientKey: 'work', jwks: { keys } }),
};
const register = (...keys) => Promise.all([registerAs.jwt(...keys), registerAs.signer(...keys)]);

async function prepare(key = 'work') {
  const made = await world.agent.keyPrepare({ key });
  await world.ready([key, `${key}.next`]);
  return made;
}

async function commit(key = 'work') {
  const answer = await world.agent.keyCommit({ key, timeout: 30_000 });
  await until('the new family is there', async () => {
    await world.ready([key]);
    return (await keyInfo(`${key}.next`)) === undefined;
  });
  return answer;
}

// Is there an object at the end of this URI? Asked with a second section for it.
async function isThere(uri, key = 'work') {
  const now = await sections();
  await addSection('key looked-for', { ...now[`key ${key}`], uri, thumbprint: null });
  await world.reload([key]);
  const { state } = await until('it is looked for', async () => {
    const info = await keyInfo('looked-for');
    return info.state !== 'starting' && info;
  });
  await world.writeConfigText((await readFile(world.configPath, 'utf8')).replace(/\n\[key looked-for\][^[]*$/, '\n'));
  await world.reload([key]);
  assert.ok(['ready', 'absent'].includes(state), state);
  return state === 'ready';
}

before(async () => {
  world = await makeRotationWorld({ profiles: { basic: {}, jwt: {} } });
  await addClient(world, 'app', 'none');
  await addClient(world, 'web', 'client_secret_basic');
  await addClient(world, 'signer', 'private_key_jwt');
  await world.configure({ profiles: { basic: {}, jwt: {}, work: code, kept: { ...code, client: 'web' },
    signed: { ...code, client: 'signer' } } });
});
after(() => world?.stop());

describe('dpop key rotate', () => {
  test('--prepare makes NAME.next in the same token, changes nothing else, '
    + 'and names who has to register it', async () => {
    const former = await sections();
    const from = world.as.requests.length;
    const made = await prepare();
    assert.equal(made.name, 'work.next');
    assert.notEqual(made.jkt, world.jkt.work);
    assert.deepEqual(made.authenticates, ['jwt', 'signed']);
    assert.equal(made.imported, false);
    const { 'key work.next': next, ...rest } = await sections();
    assert.deepEqual(rest, former);
    assert.deepEqual([next.uri, next.thumbprint, next['pin-file']],
      [made.uri, made.jkt, former['key work']['pin-file']]);
    const info = await keyInfo('work.next');
    assert.deepEqual([info.state, info.jkt, info.token], ['ready', made.jkt, (await keyInfo('work')).token]);
    assert.equal(world.as.requests.length, from, 'no server is asked');
    await isGood('basic');
    const { jkt } = await world.agent.proof({ htm: 'GET', htu: world.rs.origin });
    assert.equal(jkt, world.jkt.work, 'the only key is still the only one');
  });

  test('--prepare a second time is refused, with what to do', async () => {
    await assert.rejects(world.agent.keyPrepare({ key: 'work' }),
      { name: 'exists', next: /rotate --commit work.*key delete work\.next/ });
  });

  test('--commit is refused as long as a server does not know the new key, and nothing is changed', async () => {
    const [former, { jkt }] = [await readFile(world.configPath, 'utf8'), await keyInfo('work')];
    const { access_token: token } = await world.agent.token('basic');
    const refused = { name: 'server-refused', oauth_error: 'invalid_client', next: /register the new key there first/ };
    const made = await keyInfo('work.next');
    await assert.rejects(world.agent.keyCommit({ key: 'work' }), refused);
    await registerAs.jwt({ ...world.jwk.work, kid: jkt }, jwkOf(made)); // but not signer
    const message = /"work\.next" is not proved, and nothing is changed: profile "signed"/;
    await assert.rejects(world.agent.keyCommit({ key: 'work' }), { ...refused, message });
    assert.equal(await readFile(world.configPath, 'utf8'), former);
    assert.equal((await keyInfo('work')).jkt, jkt);
    assert.equal((await world.agent.token('basic')).access_token, token);
    assert.equal((await askServer(world, token)).active, true);
    await isGood('jwt');
  });

  test('is given up by dpop key delete NAME.next: the key is gone from the token, '
    + 'and the configuration is as before', async () => {
    const { uri } = await keyInfo('work.next');
    const answer = await world.agent.keyDelete({ key: 'work.next' });
    assert.deepEqual(answer.bound, []);
    await until('it is gone', async () => (await world.ready(['work'])) && (await keyInfo('work.next')) === undefined);
    assert.deepEqual(Object.keys(await sections()).filter((name) => name.startsWith('key')), ['key work']);
    assert.equal(await isThere(uri), false);
    await isGood('jwt');
  });

  test('--commit under load: no request fails, opaque tokens are revoked, the old key is gone, '
    + 'a login is due', async (t) => {
    const made = await prepare();
    await register({ ...world.jwk.work, kid: world.jkt.work }, jwkOf(made));
    for (const profile of ['work', 'kept', 'signed']) await logIn(world, profile);
    const old = {};
    for (const profile of ['basic', 'jwt', 'work', 'kept', 'signed'])
      old[profile] = (await world.agent.token(profile)).access_token;
    const { uri, jkt: oldJkt } = await keyInfo('work');
    const load = startLoad(['basic', 'kept', 'jwt', 'signed']);
    await sleep(sized(t, 'milliseconds of load before the commit', 27_000, 1000));
    const connection = await world.connect();
    const answer = await connection.keyCommit({ key: 'work', timeout: 30_000 });
    connection.close();
    await sleep(sized(t, 'milliseconds of load after it', 30_000, 1000));
    const { good, repeated, sends, seconds } = await load.stop();
    t.diagnostic(`${good} requests, ${(good / seconds).toFixed(0)} a second, ${sends} sends, `
      + `${repeated} repeated because they were unread`);
    assert.ok(good > 50, `${good} requests`);

    assert.deepEqual([answer.jkt, answer.old_jkt, answer.note], [made.jkt, oldJkt, undefined]);
    const stays =
      'its login stays, so its access token was not revoked: that might end the login; the token ends by itself, '
        + 'and is of no use without its key';
    assert.deepEqual(answer.bound.map(({ profile, revoked, login_due: due, note }) => [profile, revoked, due, note]),
      [...['basic', 'jwt'].map((name) => [name, true, false, undefined]), ['work', true, true, undefined],
        ...['kept', 'signed'].map((name) => [name, false, false, stays])]);
    for (const [profile, token] of Object.entries(old).slice(0, 3))
      assert.equal((await askServer(world, token)).active, false, profile);
    await world.ready(['work']);
    assert.equal((await keyInfo('work')).jkt, made.jkt);
    const after = await sections();
    assert.deepEqual([after['key work'].uri, after['key work'].thumbprint, after['key work.next']],
      [made.uri, made.jkt, undefined]);
    assert.equal((await world.agent.token('basic')).jkt, made.jkt);
    const logins = (await world.agent.profiles()).filter(({ login }) => login)
      .map(({ name, login, persisted }) => [name, login, persisted]);
    assert.deepEqual(logins,
      [['work', 'login required', false], ['kept', 'logged in', true], ['signed', 'logged in', true]]);
    for (const profile of ['kept', 'signed']) await isGood(profile);
    await assert.rejects(world.agent.token('work'), { name: 'login-required' });
    assert.equal(await isThere(uri), false);
    await register(jwkOf(made)); // the old one is taken out there
    await isGood('jwt');
    await logIn(world, 'work');
    await isGood('work');
  });

  test('--commit reports that a server revokes no JWTs', async (t) => {
    world.as.setAccessTokenFormat('jwt');
    t.after(() => world.as.setAccessTokenFormat('opaque'));
    const made = await prepare();
    await register(jwkOf(await keyInfo('work')), jwkOf(made));
    await world.agent.token({ profile: 'basic', force: true });
    const { bound } = await commit();
    const basic = bound.find(({ profile }) => profile === 'basic');
    assert.equal(basic.revoked, false);
    assert.match(basic.note, /unsupported_token_type; it ends by itself, and is of no use without its key/);
    await isGood('basic');
  });

  test('without a prepared key, or of a key that no configuration names, is refused', async () => {
    await assert.rejects(world.agent.keyCommit({ key: 'work' }),
      { name: 'unknown-key', next: /rotate --prepare work/ });
    for (const operation of ['keyCommit', 'keyPrepare', 'keyDelete']) {
      await assert.rejects(world.agent[operation]({ key: 'nobody' }), { name: 'unknown-key' });
    }
  });
});

describe('a crash of the whole agent in the middle of a rotation leaves one that works:', () => {
  // kill -9 of every process, and a new start.
  async function killAll() {
    const { pid } = world.process;
    process.kill(pid, 'SIGSTOP'); // it starts no more
    const all = [pid, ...(await childrenOf(pid))];
    for (const one of all) process.kill(one, 'SIGKILL');
    await world.process.exited;
    await world.start();
    await world.ready(['work']);
  }
  // Whatever the front was at, everything is asked anew.
  const killFront = async () => {
    const { front } = await world.pids();
    process.kill(front, 'SIGKILL');
    await world.ready(['work'], { frontIsNot: front });
  };
  const isSwitched = async (to) => (await sections())['key work'].thumbprint === to;

  async function begin() {
    const former = await keyInfo('work');
    if (await keyInfo('work.next')) await world.ready(['work', 'work.next']);
    const made = (await keyInfo('work.next')) ?? (await prepare());
    await register(jwkOf(former), jwkOf(made));
    return { former, made };
  }
  async function works(jkt) {
    assert.equal((await keyInfo('work')).jkt, jkt);
    await isGood('basic');
    await isGood('jwt');
  }

  test('during the proof the old key stays', async (t) => {
    t.after(() => world.as.intercept(null));
    const { former } = await begin();
    const held = new Promise((reached) =>
      world.as.intercept((_req, _res, { path }) => path === '/token' && new Promise(() => reached())));
    world.agent.keyCommit({ key: 'work' }).catch(() => {});
    await held;
    world.as.intercept(null);
    await killAll();
    await works(former.jkt);
    await world.ready(['work', 'work.next']);
  });

  for (const [who, kill] of [['all processes', killAll], ['the front', killFront]]) {
    test(`(${who}) after the switch, before the old key is destroyed, the new one is in use`, async () => {
      const { former, made } = await begin();
      world.agent.keyCommit({ key: 'work', timeout: 30_000 }).catch(() => {});
      await until('the configuration is switched', () => isSwitched(made.jkt), { every: 1 });
      await kill();
      await works(made.jkt);
      assert.equal(await keyInfo('work.next'), undefined);
      assert.equal(await isThere(former.uri), true, 'it is left in the token');
    });
  }

  test('during the revocation the new one is in use', async (t) => {
    t.after(() => world.as.intercept(null));
    const { made } = await begin();
    await world.agent.token('basic');
    const held = new Promise((reached) =>
      world.as.intercept((_req, _res, { path }) => path === '/token/revocation' && new Promise(() => reached())));
    world.agent.keyCommit({ key: 'work', timeout: 30_000 }).catch(() => {});
    await held;
    world.as.intercept(null);
    await killAll();
    await works(made.jkt);
  });

  test('at any moment there is a key, and a configuration that is good', async (t) => {
    const rounds = sized(t, 'crashes', 50, 4);
    for (let i = 0; i < rounds; i += 1) {
      const { former, made } = await begin();
      world.agent.keyCommit({ key: 'work', timeout: 30_000 }).catch(() => {});
      await sleep(Math.random() * 200);
      await killAll();
      await works((await isSwitched(made.jkt)) ? made.jkt : former.jkt);
    }
  });

  test('at SIGTERM the old key is destroyed all the same', async () => {
    const { former, made } = await begin();
    const committing = world.agent.keyCommit({ key: 'work', timeout: 30_000 });
    await until('the configuration is switched', () => isSwitched(made.jkt), { every: 1 });
    await world.process.stop();
    assert.equal((await committing).note, undefined);
    await world.start();
    await world.ready(['work']);
    await works(made.jkt);
    assert.equal(await isThere(former.uri), false);
  });
});

describe('a client that shows a certificate for the key', () => {
  let tls;
  before(async () => {
    tls = await makeRotationWorld({ profiles: { basic: {} }, asOptions: { mtls: {} }, rsOptions: {} });
    await addClient(tls, 'tls', 'self_signed_tls_client_auth');
    await tls.configure({ profiles: { tls: { client: 'tls' } } });
  });
  after(() => tls?.stop());

  test('keeps the commit from happening until its profile has the new key\'s certificate', async () => {
    const made = await tls.agent.keyPrepare({ key: 'work' });
    await tls.ready(['work', 'work.next']);
    assert.deepEqual(made.authenticates, ['tls']);
    const next = /dpop key csr work\.next.*client-key = work\.next.*client-certificate-file in \[profile tls\], reload/;
    await assert.rejects(tls.agent.keyCommit({ key: 'work' }),
      { name: 'configuration', message: /"tls" shows a TLS certificate/, next });
    assert.equal((await tls.agent.token('tls')).jkt, tls.jkt.work);

    tls.jwk['work.next'] = jwkOf(made);
    tls.jkt['work.next'] = made.jkt;
    // a new certificate, registered
    await addClient(tls, 'tls', 'self_signed_tls_client_auth', { clientKey: 'work.next' });
    await tls.writeConfigText((await readFile(tls.configPath, 'utf8'))
      .replace('client-key = work\n', 'client-key = work.next\n'));
    await tls.reload(['work', 'work.next']);
    const { jkt, bound, note } = await tls.agent.keyCommit({ key: 'work', timeout: 30_000 });
    assert.deepEqual([jkt, bound.map(({ profile }) => profile), note], [made.jkt, ['tls'], undefined]);
    await until('the new family is there', async () =>
      (await tls.ready(['work'])) && (await keyInfo('work.next', tls)) === undefined);
    assert.equal((await sections(tls))['profile tls']['client-key'], 'work');
    assert.equal((await tls.agent.token({ profile: 'tls', force: true })).jkt, made.jkt);
  });
});

describe('dpop key generate and dpop key delete', () => {
  test('make a key in the token of another one, and destroy it with what is bound to it', async () => {
    const made = await world.agent.keyGenerate({ name: 'spare', like: 'work' });
    assert.deepEqual([made.name, made.imported, made.authenticates], ['spare', false, []]);
    await until('the new key is there', () => world.ready(['work', 'spare']));
    assert.equal((await keyInfo('spare')).jkt, made.jkt);
    await assert.rejects(world.agent.keyGenerate({ name: 'spare', like: 'work' }), { name: 'exists' });
    for (const name of ['', '.x', 'a b', 'x'.repeat(64), 'ä'])
      await assert.rejects(world.agent.keyGenerate({ name, like: 'work' }), { name: 'invalid-argument' });

    await addSection('profile own', { ...(await sections())['profile basic'], key: 'spare' });
    await world.reload(['work', 'spare']);
    const { access_token: token, jkt } = await world.agent.token('own');
    assert.equal(jkt, made.jkt);
    assert.equal((await askServer(world, token)).active, true);

    const { bound } = await world.agent.keyDelete({ key: 'spare' });
    assert.deepEqual(bound.map(({ profile, revoked, login_due: due, note }) => [profile, revoked, due, note]),
      [['own', true, false, undefined]]);
    assert.equal((await askServer(world, token)).active, false);
    await until('it is gone', async () => (await world.ready(['work'])) && (await keyInfo('spare')) === undefined);
    assert.equal((await sections())['profile own'], undefined);
    assert.match(await readFile(world.configPath, 'utf8'), /# \[profile own\]/);
    assert.equal(await isThere(made.uri), false);
    await isGood('basic');
  });

  test('a key that cannot be reached is not deleted, and nothing is revoked', async () => {
    const { uri } = await keyInfo('work');
    const { 'pin-file': pinFile, environment } = (await sections())['key work'];
    const lost = uri.replace(/id=[^;]*;?|object=[^;?]*;?/g, '').replace(/(\?|$)/, ';object=lost$1').replace(';;', ';');
    await addSection('key lost', { uri: lost, 'pin-file': pinFile, environment });
    await world.reload(['work']);
    await until('it is absent', async () => (await keyInfo('lost')).state === 'absent');
    await assert.rejects(world.agent.keyDelete({ key: 'lost' }),
      { name: 'key-absent', next: /take \[key lost\] and its profiles out of the configuration by hand/ });
  });
});

// Requests at 100 a second as applications make them, each to its end: authorize, send, outcome. A call whose
// connection ended before it was read is made again, as libdpop-agent does.
function startLoad(profiles) {
  const fetch = fetchTrusting(world.authority.ca);
  const count = { good: 0, repeated: 0, sends: 0 };
  const began = Date.now();
  const under = new Set();
  let [connecting, next, failure] = [null, 0, null];
  const open = async () => {
    const connection = await until('the agent answers', world.connect);
    connection.socket.on('error', ({ code: reason }) => { connection.failure = reason; });
    return connection;
  };
  async function ask(step) {
    for (;;) {
      connecting ??= open();
      const mine = connecting;
      const connection = await mine;
      try {
        return await step(connection);
      } catch (error) {
        await sleep(0); // the socket's own error is told
        const unread = error.message === 'the connection is closed' ||
          (connection.isClosed && ['EPIPE', 'ECONNRESET'].includes(connection.failure));
        if (!unread) throw error;
        count.repeated += 1;
        if (connecting === mine) connecting = null;
      }
    }
  }
  async function request(profile) {
    let attempt;
    for (let sends = 1; sends < 5; sends += 1) {
      count.sends += 1;
      const authorized = await ask((agent) =>
        agent.authorize({ profile, htm: 'GET', url: `${world.rs.origin}/`, attempt }));
      const { status, headers } = await fetch(authorized.url,
        { headers: { authorization: authorized.authorization, dpop: authorized.dpop } });
      const all = (name) => [headers.get(name)].filter((value) => value !== null);
      const { verdict, reason } = await ask((agent) => agent.outcome({
        attempt: authorized.attempt, http_status: status, date: headers.get('date') ?? undefined,
          nonces: all('dpop-nonce'),
        challenges: all('www-authenticate'),
      }));
      if (verdict === 'done' && status === 200) return void (count.good += 1);
      assert.ok(['retry', 'refresh'].includes(verdict),
        `${profile}: ${status}, ${verdict}: ${reason} (${headers.get('www-authenticate')})`);
      attempt = authorized.attempt;
    }
    throw new Error(`${profile}: no end of sends`);
  }
  const timer = setInterval(() => {
    for (const due = (Date.now() - began) / 10; next < due && under.size < 256 && !failure; next += 1) {
      const one = request(profiles[next % profiles.length]).catch((error) => { failure ??= error; })
        .finally(() => under.delete(one));
      under.add(one);
    }
  }, 10);
  return {
    async stop() {
      clearInterval(timer);
      await Promise.all(under);
      (await connecting)?.close();
      if (failure) throw failure;
      return { ...count, seconds: (Date.now() - began) / 1000 };
    },
  };
}
