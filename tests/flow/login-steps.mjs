// What tests of logins and grants do besides world.mjs: register clients of any authentication, log users in through the
// wire or the dpop command, and ask a resource server with a token.
//
//   await addClient(world, 'app', 'none');                        // then { client: 'app' } in a profile means it
//   const { result, page } = await logIn(world, 'work');           // begin, the user, the end
//   const { status, stderr } = await loginCommand(world, ['login', 'work'], (url) => user.logIn(url));

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeCertificate, signRequest } from '../servers/authority.mjs';
import { clientFor } from '../servers/clients.mjs';
import { fetchTrusting } from '../servers/transport.mjs';
import { makeUser } from './user.mjs';
import { dpopBinary } from './world.mjs';

// Registers a client of every grant at the server (default: the world's). Its key, for private_key_jwt and for assertions
// of its own, is `key`; a TLS client's certificate is of clientKey. → { certificate: thumbprint } for TLS.
export async function addClient(world, id, authentication, { as = world.as, key = world.keyNames[0], clientKey = key, subject = `CN=${id}`, ...more } = {}) {
  const options = { 'client-id': id, 'client-authentication': authentication };
  const client = { id, authentication, jwks: { keys: [{ ...world.jwk[clientKey], kid: world.jkt[clientKey] }] } };
  let made;
  if (authentication.startsWith('client_secret')) {
    client.secret = `${id} secret+/%:&=${randomUUID()}`;
    options['client-secret-file'] = join(world.dir, `${id}.secret`);
    await world.writeSecret(options['client-secret-file'], client.secret);
  }
  if (authentication === 'private_key_jwt') options['client-key'] = clientKey;
  if (authentication.endsWith('tls_client_auth')) {
    made = await makeCertificate(world, id, authentication, { clientKey, subject });
    client.certificate = made.pem;
    Object.assign(options, { 'client-key': clientKey, 'client-certificate-file': made.path });
  }
  await as.putClient(clientFor({ ...client, ...more }));
  world.clients[id] = options;
  return { ...made, secret: client.secret };
}

async function makeCertificate(world, id, authentication, { clientKey, subject }) {
  const [path, csr] = [join(world.dir, `${id}.pem`), join(world.dir, `${id}.csr`)];
  const [verb, output] = authentication === 'tls_client_auth' ? ['csr', csr] : ['cert', path];
  const { status, stderr } = await world.dpop('key', verb, clientKey, '--subject', subject, '--output', output);
  assert.equal(status, 0, stderr);
  if (verb === 'csr') await signRequest(world.authority, csr, { out: path });
  const pem = await readFile(path, 'utf8');
  await world.own(path);
  return { path, pem, certificate: describeCertificate(pem).thumbprint };
}

// A login from its beginning to its end: { begun, redirect, page, result }. A result that is an error rejects, and has
// redirect and page too.
export async function logIn(world, profile, { agent = world.agent, login, device, user = makeUser({ ca: world.authority.ca, login }), ...how } = {}) {
  const begun = await agent.loginBegin({ profile, device });
  const waiting = agent.loginWait(begun, { timeout: 30_000 });
  waiting.catch(() => {});
  const seen = begun.url ? await user.logIn(begun.url, how) : await user.approveDevice(begun.verification_uri_complete, how);
  try {
    return { begun, ...seen, result: await waiting };
  } catch (error) {
    throw Object.assign(error, seen);
  }
}

// Goes where the server would send the browser, with these parameters, instead of a user: the page of the listener.
export async function comeBack(begun, parameters, { path, method } = {}) {
  const url = new URL(begun.redirect_uri);
  if (path) url.pathname = path;
  url.search = new URLSearchParams(parameters).toString();
  const answer = await fetchTrusting()(url, { method });
  return { status: answer.status, headers: answer.headers, body: await answer.text() };
}

// Runs dpop; as soon as `address` matches its standard error, act(the match's first group, child) is called. At its end:
// { status, stdout, stderr, acted }. wrap: a program and arguments before the command.
export async function loginCommand(world, args, act, { address = /^ +(https:\/\/\S+)$/m, wrap = [], on = 'stderr', env = {}, timeout = 60_000 } = {}) {
  const [file, ...rest] = [...wrap, dpopBinary, ...args.map(String)];
  const child = spawn(file, rest, { env: { PATH: process.env.PATH, ...world.environment, ...env }, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  let acted;
  const look = (name) => (chunk) => {
    output[name] += chunk;
    const match = acted === undefined && name === on && address.exec(output[name]);
    if (match) acted = Promise.resolve(act(match[1], child));
    acted?.catch(() => {});
  };
  for (const name of ['stdout', 'stderr']) child[name].setEncoding('utf8').on('data', look(name));
  child.stdin.on('error', () => {});
  const timer = setTimeout(() => child.kill('SIGKILL'), timeout);
  const status = await new Promise((done, failed) => {
    child.once('error', failed);
    child.once('close', done);
  }).finally(() => clearTimeout(timer));
  child.stdin.destroy();
  return { status, ...output, acted: await acted };
}

// A request to the resource server with a token that the agent does not hold as the profile's own: proofs are made for it
// by the operation proof, the second with the nonce of the first answer. → { status, body }
export async function useToken(world, profile, token, { htm = 'GET', url = `${world.rs.origin}/`, agent = world.agent } = {}) {
  let nonce;
  for (let send = 1; ; send++) {
    const { proof } = await agent.proof({ profile, htm, htu: url, access_token: token, nonce });
    const answer = await fetchTrusting(world.authority.ca)(url, { method: htm, headers: { authorization: `DPoP ${token}`, dpop: proof } });
    nonce = answer.headers.get('dpop-nonce');
    const body = await answer.json();
    if (answer.status !== 401 || body.error !== 'use_dpop_nonce' || send > 1) return { status: answer.status, body };
  }
}

// What the authorization server itself says of a token, asked by the resource server's client.
export async function askServer(world, token, as = world.as) {
  const { clientId, clientSecret } = as.introspectionClient;
  const answer = await fetchTrusting(world.authority.ca)(`${as.issuer}/token/introspection`, {
    method: 'POST', body: new URLSearchParams({ token }),
    headers: {
      'content-type': 'application/x-www-form-urlencoded',
      authorization: `Basic ${Buffer.from(`${encodeURIComponent(clientId)}:${encodeURIComponent(clientSecret)}`).toString('base64')}`,
    },
  });
  return answer.json();
}

export const writeToken = (path, token) => writeFile(path, token, { mode: 0o600 });
