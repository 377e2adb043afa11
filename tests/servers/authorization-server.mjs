// The real oidc-provider on loopback, over HTTPS: client credentials with DPoP, server nonces required, JWT access
// tokens for a resource that was configured and opaque ones when none is asked for.
//
// Every request leaves a record in `requests`, at its arrival, so that one that is never answered counts too:
//   { time, method, path, status, jti, nonce, dpopNonceSent, clientId, clientAssertionJti, grantType }
// status is null until it was answered; jti and nonce are the proof's; dpopNonceSent is the answer's DPoP-Nonce. It
// holds no secret, no token and no assertion.
//
// hang, delay and intercept misbehave around the real thing, which does not know of them.

import { randomBytes } from 'node:crypto';
import { exportJWK, generateKeyPair, calculateJwkThumbprint, decodeJwt } from 'jose';
import Provider, { errors } from 'oidc-provider';
import { listen } from './transport.mjs';
import { memoryAdapter } from './memory-adapter.mjs';

const wellKnown = { oauth: '/.well-known/oauth-authorization-server', oidc: '/.well-known/openid-configuration' };

export async function startAuthorizationServer({
  tls = null, //                   { key, cert } in PEM; null speaks plain http
  host = 'localhost', //           the name in the issuer
  port = 0,
  path = '', //                    the issuer's path: '', '/', '/tenant' or '/tenant/'
  secrets = {}, //                 { basic, post }: makes the clients "basic" and "post"
  jwks, //                         { keys: [public JWK] }: makes the client "jwt"
  clients = [], //                 more clients, as oidc-provider's client metadata
  resources = [], //               resource indicators, as strings; more with addResource
  scope = 'read write', //         what every resource has
  alg = 'ES256', //                signs the JWT access tokens: ES256 or RS256
  tokenTtl = 600, //               seconds
  requireNonce = true,
  nonceSecret = randomBytes(32), // null: a server that knows no nonces
  dpopBound = true, //             every client's dpop_bound_access_tokens
  metadata = 'both', //            which well-known documents are there: 'both', 'oauth', 'oidc', 'none'
} = {}) {
  const state = { requireNonce, tokenTtl, delay: 0, hanging: false, intercept: null };
  const known = new Set(resources);
  const requests = [];
  const mount = path.replace(/\/$/, '');

  let handle;
  const listener = await listen({ tls, host, port }, (req, res) => handle(req, res));
  const issuer = listener.origin + path;

  const adapter = memoryAdapter();
  const provider = new Provider(issuer, {
    adapter,
    jwks: { keys: [await makeSigningKey(alg)] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: [alg] },
    scopes: ['openid', 'offline_access', ...scope.split(' ')],
    ttl: { ClientCredentials: () => state.tokenTtl, AccessToken: () => state.tokenTtl },
    clientBasedCORS: () => false,
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret: nonceSecret ?? undefined, requireNonce: () => nonceSecret !== null && state.requireNonce },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_ctx, resource) {
          if (!known.has(resource)) throw new errors.InvalidTarget();
          return { scope, audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg } } };
        },
      },
    },
  });
  provider.on('server_error', (_ctx, error) => console.error('authorization server:', error));
  provider.use(async (ctx, next) => {
    await next();
    const { params } = ctx.oidc ?? {};
    const record = ctx.req.record;
    record.grantType = params?.grant_type;
    record.clientId = ctx.oidc?.client?.clientId;
    record.clientAssertionJti = claimsOf(params?.client_assertion).jti;
  });
  const answer = provider.callback();

  // An issuer with a path is mounted as a reverse proxy would: the prefix is taken off, and remembered in originalUrl.
  const route = (req, res) => {
    const [pathname] = req.url.split('?');
    const form = Object.keys(wellKnown).find((name) => pathname.includes(wellKnown[name]));
    if (form && metadata !== 'both' && metadata !== form) return res.writeHead(404).end();
    if (mount && pathname === wellKnown.oauth + mount) {
      req.originalUrl = mount + wellKnown.oauth;
      req.url = wellKnown.oauth;
    } else if (mount) {
      if (!req.url.startsWith(`${mount}/`)) return res.writeHead(404).end();
      req.originalUrl = req.url;
      req.url = req.url.slice(mount.length);
    }
    return answer(req, res);
  };

  handle = async (req, res) => {
    const [pathname] = req.url.split('?');
    const proof = claimsOf(req.headers.dpop);
    const record = { time: Date.now(), method: req.method, path: pathname, status: null, jti: proof.jti, nonce: proof.nonce };
    requests.push(record);
    req.record = record;
    res.once('finish', () => {
      record.status = res.statusCode;
      record.dpopNonceSent = res.getHeader('dpop-nonce');
    });
    if (state.intercept && (await state.intercept(req, res, record))) return;
    if (pathname === `${mount}/token`) {
      if (state.hanging) return void req.resume();
      if (state.delay) await new Promise((resolve) => setTimeout(resolve, state.delay));
    }
    route(req, res);
  };

  const putClient = (client) =>
    adapter('Client').upsert(client.client_id, {
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      dpop_bound_access_tokens: dpopBound,
      ...client,
    });
  if (secrets.basic) await putClient({ client_id: 'basic', client_secret: secrets.basic, token_endpoint_auth_method: 'client_secret_basic' });
  if (secrets.post) await putClient({ client_id: 'post', client_secret: secrets.post, token_endpoint_auth_method: 'client_secret_post' });
  if (jwks) await putClient({ client_id: 'jwt', jwks, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256' });
  for (const client of clients) await putClient(client);

  return {
    issuer,
    port: listener.port,
    url: listener.origin,
    requests,
    tokenRequests: () => requests.filter((record) => record.path === `${mount}/token`),
    putClient, //                                            adds or replaces a client
    addResource: (resource) => void known.add(resource),
    setTokenTtl: (seconds) => void (state.tokenTtl = seconds),
    setRequireNonce: (on) => void (state.requireNonce = on),
    hang: (on = true) => void (state.hanging = on), //       token requests are read and never answered
    delay: (ms) => void (state.delay = ms), //               token requests wait this long first
    intercept: (fn) => void (state.intercept = fn), //       async (req, res, record) → true when it answered itself; null ends it
    close: listener.close, //                                at once, requests in flight included
  };
}

async function makeSigningKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg, use: 'sig', kid: await calculateJwkThumbprint(jwk) };
}

function claimsOf(jwt) {
  try {
    return decodeJwt(jwt);
  } catch {
    return {};
  }
}
