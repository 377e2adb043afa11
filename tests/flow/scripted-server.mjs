// An authorization server that does what a test tells it, for what no real one does: one issuer, its metadata and its
// token endpoint on a listener of its own, so that the agent knows no nonce of it at first.
//
//   const server = await startScriptedServer({ tls });
//   server.metadata = { dpop_signing_alg_values_supported: ['RS256'] };      // laid over what is true; null removes
//   server.token = (answer, request, n) => answer(400, { error: 'use_dpop_nonce' }, { 'DPoP-Nonce': `n-${n}` });
//
// request: { method, path, headers, form: URLSearchParams, proof: its claims, basic: 'id:secret' as sent }. `sends` are the
// token requests so far; n counts them from 1.

import { randomUUID } from 'node:crypto';
import { listen } from '../servers/transport.mjs';
import { jose } from './world.mjs';

const claimsOf = (jwt) => {
  try {
    return jose.decodeJwt(jwt);
  } catch {
    return {};
  }
};

export const bearerOf = (members = {}) => ({ access_token: `opaque-${randomUUID()}`, token_type: 'DPoP', expires_in: 600, ...members });

// A JWT access token, signed by nobody: the agent reads cnf.jkt and times of it, its signature is the resource server's.
export function unsignedJwt(claims) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'ES256', typ: 'at+jwt' })}.${part(claims)}.${Buffer.alloc(64).toString('base64url')}`;
}

export async function startScriptedServer({ tls, path = '', port = 0 }) {
  const server = { requests: [], sends: [], metadata: {}, onMetadata: null };
  server.grant = (answer) => answer(200, bearerOf());
  server.token = server.grant;

  const listener = await listen({ tls, port }, async (req, res) => {
    const body = (await req.toArray().catch(() => [])).join('');
    const request = {
      method: req.method, path: req.url, headers: req.headers, form: new URLSearchParams(body), proof: claimsOf(req.headers.dpop),
      basic: Buffer.from((req.headers.authorization ?? '').replace(/^Basic /, ''), 'base64').toString(), req, res,
    };
    const answer = (status, value = '', headers = {}) => {
      const isText = typeof value === 'string';
      res.writeHead(status, { 'Content-Type': isText ? 'text/plain' : 'application/json', ...headers });
      res.end(isText ? value : JSON.stringify(value));
    };
    server.requests.push(request);
    if (req.url.includes('/.well-known/')) {
      const truth = { issuer: server.issuer, token_endpoint: `${server.issuer}/token` };
      const told = Object.fromEntries(Object.entries({ ...truth, ...server.metadata }).filter(([, value]) => value !== null));
      return server.onMetadata ? server.onMetadata(answer, request) : answer(200, told);
    }
    server.sends.push(request);
    return server.token(answer, request, server.sends.length);
  });
  return Object.assign(server, { issuer: listener.origin + path, origin: listener.origin, port: listener.port, close: listener.close });
}

// One server for each name, and the profiles that use them: { servers, profiles, close() }.
export async function startScriptedServers(tls, names, profileOptions = {}) {
  const servers = {};
  for (const name of names) servers[name] = await startScriptedServer({ tls });
  const profiles = Object.fromEntries(names.map((name) => [name, { issuer: servers[name].issuer, resource: null, ...profileOptions }]));
  return { servers, profiles, close: () => Promise.all(names.map((name) => servers[name].close())) };
}
