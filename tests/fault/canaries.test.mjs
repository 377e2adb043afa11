// No secret of any grant is where it should not be: every kind of login and token request is made, well and badly, at servers
// that send back what they were sent; the real values are collected at the server and at the user's browser, and then looked
// for in the log, the session logs, what the dpop command prints, command lines, environments and names of files.
//
//   secrets: what is collected, value → what it is. Tokens, codes, verifiers, states, secrets, assertions, proofs, PINs.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { makeAssertion } from '../servers/oauth-client.mjs';
import { addClient, logIn, loginCommand, writeToken } from '../flow/login-steps.mjs';
import { startScriptedServer } from '../flow/scripted-server.mjs';
import { jose, makeWorld, showLogOnFailure } from '../flow/world.mjs';
import { deny, logIn as userLogsIn } from '../flow/user.mjs';
import { outcome, processes } from './fault.mjs';

const idp = 'https://idp.example';
const idpKeys = await jose.generateKeyPair('ES256', { extractable: true });
const initialAccessToken = 'canary-initial+access/token~5281=';
const secrets = new Map();
const said = []; //   what programs printed and errors said
const commands = new Set(); // command lines and environments that were seen
const traces = new Map(); // what dpop trace shows, by profile
let world;
let echo; //          a server that says nothing but what it was told

const note = (what, value) => {
  if (typeof value === 'string' && value.length >= 8) secrets.set(value, what);
};
const secretFields = [
  'access_token', 'refresh_token', 'id_token', 'device_code', 'user_code', 'request_uri', 'client_secret', 'registration_access_token', 'code',
  'code_verifier', 'state', 'client_assertion', 'assertion', 'subject_token', 'actor_token', 'token', 'verification_uri_complete',
];
function collect(members = {}) {
  for (const name of secretFields) note(name, members[name]);
}

// What a request holds, as a server that tells too much would write it.
function heard({ headers, body }) {
  const { authorization = '', dpop = '' } = headers;
  const values = Object.entries(body ?? {}).filter(([name]) => secretFields.includes(name)).map(([, value]) => value);
  const basic = Buffer.from(authorization.replace(/^Basic /, ''), 'base64').toString();
  return [authorization, ...(authorization.startsWith('Basic ') ? [basic, decodeURIComponent(basic.split(':')[1].replaceAll('+', ' '))] : []),
    ...values.toSorted((a, b) => a.length - b.length), ...values.map(encodeURIComponent), dpop, JSON.stringify(values)].filter(Boolean);
}

function makeTalkative(as) {
  as.amend(async (ctx, record) => {
    collect(ctx.oidc?.body);
    collect(ctx.oidc?.params);
    if (ctx.body && typeof ctx.body === 'object') collect(ctx.body);
    note('a proof', ctx.get('dpop'));
    note('an Authorization header', ctx.get('authorization').split(' ')[1]);
    if (!['/token', '/request', '/device/auth', '/reg', '/token/revocation', '/token/introspection'].includes(record.path)) return;
    const words = heard({ headers: ctx.headers, body: ctx.oidc?.body });
    ctx.set('X-Echo', words.join(' ').replace(/[^\x20-\x7e]/g, '?').slice(0, 6000));
    ctx.append('Set-Cookie', `echo=${encodeURIComponent(words[0] ?? '')}`);
    if (ctx.status >= 400) ctx.set('WWW-Authenticate', `DPoP error="x", error_description="${(words[1] ?? '').replace(/[^\x20-\x7e]|["\\]/g, '?')}", echo="${(words[0] ?? '').replace(/["\\]/g, '?')}", ${encodeURIComponent(words[0] ?? '')}`);
    if (ctx.body && typeof ctx.body === 'object') Object.assign(ctx.body, { echo: words, nested: { echo: { words } }, [words.at(-1)?.slice(0, 100) ?? 'x']: 1 });
    if (ctx.body?.error) ctx.body.error_description = `you sent ${words.join(' and ')}`.replace(/[^\x20-\x7e]/g, '?').slice(0, 4000);
  });
}

const fileOf = (name) => join(world.dir, `${name}.token`);
const assertionOf = (sub) => makeAssertion(idpKeys.privateKey, { iss: idp, sub, aud: world.as.issuer });
const url = () => `${world.rs.origin}/x?y=z`;

function look() {
  for (const { pid } of processes(world.process.pid)) {
    for (const file of ['cmdline', 'environ']) {
      try {
        commands.add(readFileSync(`/proc/${pid}/${file}`, 'latin1'));
      } catch {
        // it has ended
      }
    }
  }
}

// Prints what is said, of a command that prints no token.
async function dpop(...args) {
  const ended = await world.dpop(...args);
  said.push(ended.stdout, ended.stderr);
  return ended;
}

const failing = async (promise) => {
  const { error } = await outcome(promise);
  assert.ok(error, 'a failure was wanted');
  said.push(JSON.stringify({ ...error, message: error.message }));
};

before(async () => {
  world = await makeWorld({
    keys: ['work', 'tls'],
    asOptions: {
      mtls: {}, refreshTokens: 'always', deviceInterval: 1, registration: { initialAccessToken }, accessTokenFormat: 'opaque',
      assertionKeys: { keys: [await jose.exportJWK(idpKeys.publicKey)] },
    },
  });
  note('initial access token', initialAccessToken);
  for (const name of ['basic', 'post']) note(`the secret of ${name}`, world.secrets[name]);
  for (const key of ['work', 'tls']) note(`the PIN of ${key}`, (await readFile(world.pinFile[key], 'utf8')).trim());
  for (const client of ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt']) note(`the secret of ${client}`, (await addClient(world, client, client)).secret);
  await addClient(world, 'self_signed_tls_client_auth', 'self_signed_tls_client_auth', { clientKey: 'tls' });
  makeTalkative(world.as);
  echo = await startScriptedServer({ tls: world.authority.tls });
  echo.token = (answer, request) => {
    collect(Object.fromEntries(request.form));
    note('a proof', request.headers.dpop);
    const words = heard({ headers: request.headers, body: Object.fromEntries(request.form) });
    const text = words.join(' ').replace(/[^\x20-\x7e]/g, '?');
    answer(400, { error: 'invalid_request', error_description: text.slice(0, 3000), error_uri: `https://e.example/${encodeURIComponent(words.at(-1)).slice(0, 1000)}?${encodeURIComponent(text.slice(0, 500))}`, echo: words },
      { 'X-Echo': text.slice(0, 5000), 'Retry-After': words[0].slice(0, 2000), 'DPoP-Nonce': 'n' });
  };
  await mkdir(join(world.dir, 'traces'), { mode: 0o700 });
  await world.configure({ profiles: traced({
    'basic.service': { client: 'client_secret_basic' }, 'post.service': { client: 'client_secret_post' }, 'jwt.service': { client: 'private_key_jwt' },
    'tls.service': { client: 'self_signed_tls_client_auth' },
    par: { client: 'client_secret_basic', grant: 'authorization_code', scope: 'openid read' },
    plain: { client: 'client_secret_post', grant: 'authorization_code', scope: 'openid read', 'pushed-authorization-requests': 'no' },
    public: { client: 'none', grant: 'authorization_code', scope: 'openid read' },
    assertion: { client: 'private_key_jwt', grant: 'authorization_code', scope: 'openid read' },
    device: { client: 'client_secret_basic', grant: 'device_code', scope: 'openid read' },
    'exchange-profile': { client: 'client_secret_basic', grant: 'token-exchange', 'subject-token-profile': 'par' },
    'exchange-file': { client: 'client_secret_post', grant: 'token-exchange', 'subject-token-file': fileOf('subject'), 'actor-token-file': fileOf('actor') },
    'exchange-caller': { client: 'private_key_jwt', grant: 'token-exchange' },
    'bearer-own': { client: 'private_key_jwt', grant: 'jwt-bearer', 'assertion-subject': 'carol' },
    'bearer-file': { client: 'client_secret_basic', grant: 'jwt-bearer', 'assertion-file': fileOf('assertion') },
    'bearer-caller': { client: 'client_secret_post', grant: 'jwt-bearer' },
    ...Object.fromEntries(['basic', 'post', 'jwt'].map((client) => [`echo.${client}`, { client, issuer: echo.issuer, resource: null }])),
    'echo.exchange': { client: 'basic', issuer: echo.issuer, resource: null, grant: 'token-exchange', 'subject-token-file': fileOf('subject') },
    'echo.bearer': { client: 'post', issuer: echo.issuer, resource: null, grant: 'jwt-bearer', 'assertion-file': fileOf('assertion') },
  }) });
  await useEverything();
});
after(async () => {
  await world?.stop();
  await echo?.close();
});
showLogOnFailure(() => world);

const traced = (profiles) => Object.fromEntries(Object.entries(profiles).map(([name, options]) => [name, { ...options, 'trace-file': join(world.dir, 'traces', name) }]));

async function logins() {
  const { ca } = world.authority;
  for (const profile of ['par', 'plain', 'public', 'assertion']) {
    const { redirect, page, begun } = await logIn(world, profile);
    collect(Object.fromEntries(new URL(redirect).searchParams));
    collect(Object.fromEntries(new URL(begun.url).searchParams));
    said.push(page.body);
    await world.agent.token({ profile, force: true });
    await outcome(world.agent.introspect(profile));
    const { page: refused } = await logIn(world, profile, { consent: false }).catch((error) => error);
    said.push(refused.body);
  }
  const { redirect: denied } = await (async () => {
    const begun = await world.agent.loginBegin('plain');
    const waiting = world.agent.loginWait(begun, { timeout: 10_000 });
    waiting.catch(() => {});
    const seen = await deny(begun.url, { ca });
    await failing(waiting);
    return seen;
  })();
  collect(Object.fromEntries(new URL(denied).searchParams));
  await logIn(world, 'device', { device: true });
  await world.agent.token({ profile: 'device', force: true });
  // A code that the server never issued, with a canary in it.
  const begun = await world.agent.loginBegin('plain');
  const waiting = world.agent.loginWait(begun, { timeout: 10_000 });
  const redirect = new URL(begun.redirect_uri);
  redirect.search = new URLSearchParams({ code: 'canary code "never" issued', iss: world.as.issuer, state: new URL(begun.url).searchParams.get('state') });
  note('a code', 'canary code "never" issued');
  await world.agent.loginRedirect(begun, redirect.href);
  await failing(waiting);
  // dpop login itself: what it prints has the address, and nothing else.
  const command = await loginCommand(world, ['login', 'par', '--no-browser'], (address) => userLogsIn(address, { ca }));
  assert.equal(command.status, 0, command.stderr);
  said.push(command.stdout, command.stderr.replace(/^ +https:.*$/m, ''));
}

async function files() {
  const { access_token: subject } = await world.agent.token('par');
  await writeToken(fileOf('subject'), subject);
  await writeToken(fileOf('actor'), (await world.agent.token('public')).access_token);
  await writeToken(fileOf('assertion'), await assertionOf('dave'));
  await writeToken(fileOf('canary'), 'canary-subject+token/with%25=');
  note('a subject token', 'canary-subject+token/with%25=');
  for (const name of ['subject', 'actor', 'assertion']) note(`${name} token`, await readFile(fileOf(name), 'utf8'));
}

async function useEverything() {
  const watching = setInterval(look, 50);
  try {
    for (const profile of ['basic.service', 'post.service', 'jwt.service', 'tls.service']) {
      await world.agent.token(profile);
      const request = await dpop('request', '-v', '--ca-file', world.authority.ca, profile, url());
      assert.match(request.stderr, /authorization: DPoP /i);
    }
    await logins();
    await files();
    for (const profile of ['exchange-profile', 'exchange-file', 'bearer-own', 'bearer-file']) assert.ok((await world.agent.token(profile)).access_token, profile);
    for (const [profile, option, name] of [['exchange-caller', '--subject-token-file', 'subject'], ['exchange-caller', '--subject-token-file', 'canary'], ['bearer-caller', '--assertion-file', 'canary']]) {
      const { status, stdout, stderr } = await world.dpop('token', '--json', profile, option, fileOf(name));
      said.push(stderr);
      if (status === 0) collect(JSON.parse(stdout));
      else said.push(stdout);
    }
    await writeToken(fileOf('assertion'), await assertionOf('erin'));
    note('assertion token', await readFile(fileOf('assertion'), 'utf8'));
    for (const client of ['basic', 'post', 'jwt', 'exchange', 'bearer']) {
      await failing(world.agent.token(`echo.${client}`));
      await dpop('token', `echo.${client}`);
      await dpop('token', '--json', `echo.${client}`);
      await dpop('profile', 'test', `echo.${client}`);
    }
    for (const profile of ['par', 'device', 'basic.service', 'bearer-own']) await dpop('profile', 'test', profile);
    for (const args of [['status'], ['--json', 'status'], ['profile', 'list'], ['--json', 'profile', 'list'], ['key', 'list']]) await dpop(...args);
    await world.agent.logout('par');
    await world.agent.logout('device');
    for (const { name } of await world.agent.profiles()) traces.set(name, await tracesOf(name));
    await register(); // the agent starts anew with it
    traces.set('registered', await tracesOf('registered'));
  } finally {
    clearInterval(watching);
  }
}

const tracesOf = async (name) => (await world.dpop('trace', name)).stdout + (await world.dpop('--json', 'trace', name)).stdout;

async function register() {
  await writeToken(fileOf('initial'), initialAccessToken);
  const args = ['register', '--key', 'work', '--issuer', world.as.issuer, '--origin', world.rs.origin, '--ca-file', world.authority.ca, '--grant', 'client_credentials'];
  await dpop(...args, '--name', 'uninvited');
  const { status, stderr } = await dpop(...args, '--name', 'registered', '--client-authentication', 'client_secret_basic', '--initial-access-token-file', fileOf('initial'));
  assert.equal(status, 0, stderr);
  await world.ready();
  await world.agent.token('registered');
}

// The forms in which a secret may stand somewhere: a JWT's parts too, of which the signature alone is enough.
function forms(value) {
  const base64 = Buffer.from(value).toString('base64').replace(/=+$/, '');
  const all = [value, encodeURIComponent(value), new URLSearchParams({ v: value }).toString().slice(2), JSON.stringify(value).slice(1, -1), base64.slice(0, -1), base64.slice(0, -1).replaceAll('+', '-').replaceAll('/', '_')];
  const [, , signature] = /^([\w-]+)\.([\w-]+)\.([\w-]{20,})$/.exec(value) ? value.split('.') : [];
  return [...new Set(signature ? [...all, signature] : all)];
}

function assertClean(text, where, allow = () => false) {
  const found = [];
  for (const [value, what] of secrets) if (!allow(what) && forms(value).some((form) => text.includes(form))) found.push(what);
  if (found.length === 0) return;
  const [value] = [...secrets].find(([, what]) => what === found[0] && true) ?? [];
  const at = forms(value).map((form) => text.indexOf(form)).find((i) => i >= 0) ?? 0;
  assert.fail(`${where} has ${[...new Set(found)].join(', ')}: …${text.slice(Math.max(0, at - 200), at + 100)}…`);
}

test('the canaries are of every kind', (t) => {
  const kinds = [...new Set(secrets.values())];
  t.diagnostic(`${secrets.size} secrets of ${kinds.length} kinds: ${kinds.join(', ')}`);
  for (const name of secretFields) assert.ok(kinds.includes(name), `there is a ${name}`);
  assert.ok(secrets.size > 100);
});

test('none stands in the log at its highest level', async () => {
  const log = await world.log();
  assert.match(log, /debug:/);
  assertClean(log, 'the log');
  assert.doesNotMatch(log, /eyJ[\w-]{10}/);
});

test('none stands in a trace-file', () => {
  const names = readdirSync(join(world.dir, 'traces'));
  assert.ok(names.length >= 18, `${names.length} trace-files`);
  for (const name of names) {
    const text = readFileSync(join(world.dir, 'traces', name), 'utf8');
    assert.match(text, /masked/);
    assertClean(text, `the trace-file of ${name}`);
    assert.doesNotMatch(text, /eyJ[\w-]{10}/);
  }
});

test('none stands in what dpop trace shows', () => {
  assert.ok(traces.size > 20);
  for (const [name, text] of traces) {
    assert.match(text, /masked/, name);
    assertClean(text, `dpop trace ${name}`);
  }
});

test('none stands in what other commands and errors say, nor in the page that the user sees', () => {
  assert.ok(said.length > 60);
  for (const text of said) assertClean(text, JSON.stringify(text.slice(0, 300)));
});

test('none stands in a command line or an environment', () => {
  look();
  assert.ok(commands.size >= 10);
  for (const text of commands) assertClean(text, text.replaceAll('\0', ' ').slice(0, 200));
});

test('none is the name of a file, and the state folder has none in clear', () => {
  for (const entry of readdirSync(world.dir, { recursive: true, withFileTypes: true })) {
    assertClean(entry.name, entry.name);
    const path = join(entry.parentPath, entry.name);
    const pins = Object.values(world.pinFile);
    if (entry.isFile() && path.startsWith(world.stateFolder) && !pins.includes(path)) assertClean(readFileSync(path, 'latin1'), path);
  }
});
