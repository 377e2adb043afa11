// The real oidc-provider on loopback, over HTTPS: every grant, with DPoP and server nonces required, JWT access tokens for
// a resource that was configured and opaque ones when none is asked for.
//
// Every request leaves a record in `requests`, at its arrival, so that one that is never answered counts too:
//   { time, method, path, status, jti, nonce, dpopNonceSent, certificate, clientId, clientAssertionJti, grantType, fields,
//     scope, resource, presented, assertionJti, lost }
// status is null until it was answered; jti and nonce are the proof's; dpopNonceSent is the answer's DPoP-Nonce;
// certificate is the client certificate's SHA-256 in hex, or null; fields are the names of the parameters as they came,
// sorted, once each (from grantType on: of requests that reached the provider); presented is hashOf the refresh token, code
// or device code (events.mjs); assertionJti is that of a JWT bearer assertion; lost is the status of an answer that
// loseAnswers threw away. It holds no secret, no token and no assertion. `events` (events.mjs) says what the provider did.
//
// Clients: clients.mjs (clientFor). Users: they log in by the pages of interactions.mjs; tests/flow/user.mjs is one.
// Refresh tokens are issued for the scope offline_access, which oidc-provider drops from an authorization request without
// prompt=consent; refreshTokens: 'always' issues one without the scope. Structured (JWT) tokens can be neither revoked nor
// introspected at oidc-provider; accessTokenFormat: 'opaque' makes tokens that can.
//
// hang, delay, intercept, loseAnswers and amend misbehave around the real thing, which does not know of them.

import { randomBytes } from 'node:crypto';
import { exportJWK, generateKeyPair, calculateJwkThumbprint, decodeJwt } from 'jose';
import Provider from 'oidc-provider';
import ServerChallenge from 'oidc-provider/lib/helpers/challenge.js';
import internals from 'oidc-provider/lib/helpers/weak_cache.js';
import { clientFor } from './clients.mjs';
import { hashOf, presentedToken, watchEvents } from './events.mjs';
import { registerGrants } from './grants.mjs';
import { makeInteractions } from './interactions.mjs';
import { memoryAdapter } from './memory-adapter.mjs';
import { presentedCertificate } from './mutual-tls.mjs';
import { configurationFor } from './provider-configuration.mjs';
import { listen } from './transport.mjs';

const wellKnown = { oauth: '/.well-known/oauth-authorization-server', oidc: '/.well-known/openid-configuration' };

const defaults = {
  tls: null, //                    { key, cert, ca } in PEM; null speaks plain http; ca is for mtls only
  host: 'localhost', //            the name in the issuer
  port: 0,
  path: '', //                     the issuer's path: '', '/', '/tenant' or '/tenant/'
  secrets: {}, //                  { basic, post }: makes the clients "basic" and "post"
  jwks: undefined, //              { keys: [public JWK] }: makes the client "jwt"
  clients: [], //                  more clients, as oidc-provider's client metadata; clientFor makes it
  resources: [], //                resource indicators, as strings; more with addResource
  scope: 'read write', //          what every resource has
  alg: 'ES256', //                 signs JWT access tokens and ID tokens: ES256 or RS256
  accessTokenFormat: 'jwt', //     or 'opaque': of tokens for a resource
  tokenTtl: 600, //                seconds
  refreshTtl: 14 * 24 * 60 * 60,
  codeTtl: 60,
  deviceTtl: 600,
  rotate: true, //                 a new refresh token with each use
  refreshTokens: 'offline_access', // or 'always'
  requireNonce: true,
  nonceSecret: undefined, //       32 bytes, random when left out; null: a server that knows no nonces
  iatWindow: null, //              [before, after]: proofs must have their iat so many seconds around now, e.g. [25, 15]
  dpopBound: true, //              every client's dpop_bound_access_tokens
  metadata: 'both', //             which well-known documents are there: 'both', 'oauth', 'oidc', 'none'
  par: true,
  requirePar: false,
  device: true,
  deviceInterval: null, //         seconds: `interval` in the device authorization's answer
  revocation: true,
  introspection: true,
  introspectionSecret: undefined, // of the client "resource-server" (handle.introspectionClient); random when left out
  fapi2: false, //                 oidc-provider's FAPI 2.0 profile
  audienceParameter: false, //     `audience` names a resource in every request
  authorizationDetails: [], //     types of RFC 9396, e.g. ['payment']
  registration: null, //           {} or { initialAccessToken: 'text' }: dynamic registration and its management
  assertionKeys: { keys: [] }, //  public JWKs that JWT bearer assertions may be signed with, besides the client's own
  assertionIssuers: ['https://idp.example'], // whose they are; with the client's own keys, iss is the client_id
  mtls: null, //                   { ca = tls.ca, aliases = true, port = 0 }: see below
};

// mtls: the server takes client certificates, signed by the CA (PEM text) or by themselves. They are asked for at another
// port, which mtls_endpoint_aliases names; with aliases: false at the issuer's own, and there are no aliases.
export async function startAuthorizationServer(given = {}) {
  const options = { ...defaults, ...given };
  if (options.nonceSecret === undefined) options.nonceSecret = randomBytes(32);
  const state = { ...options, delay: 0, hanging: false, intercept: null, lose: null, amend: null, advertised: {}, spendOnChallenge: false };
  const known = new Set(options.resources);
  const requests = [];
  const events = [];
  const mount = options.path.replace(/\/$/, '');

  let handle;
  const { listener, second } = await openListeners(options, (req, res) => handle(req, res));
  const issuer = listener.origin + options.path;
  const adapter = memoryAdapter();
  const provider = await makeProvider(issuer, options, { adapter, state, known, mount, mutualTlsBase: second && second.origin + mount });
  watchEvents(provider, (event) => {
    const index = events.push({ time: Date.now(), ...event }) - 1;
    options.onRecord?.('event', index, events[index]);
  });
  const route = makeRoute(provider, mount, state);

  handle = async (req, res) => {
    const record = newRecord(req);
    const index = requests.push(record) - 1;
    req.record = record;
    options.onRecord?.('request', index, record);
    res.setHeader('Date', new Date().toUTCString());
    res.once('finish', () => {
      record.status = res.statusCode;
      record.dpopNonceSent = res.getHeader('dpop-nonce');
    });
    res.once('close', () => options.onRecord?.('request', index, record));
    if (state.intercept && (await state.intercept(req, res, record))) return;
    if (record.path === `${mount}/token`) {
      if (state.hanging) return void req.resume();
      if (state.delay) await new Promise((resolve) => setTimeout(resolve, state.delay));
    }
    await route(req, res);
  };

  const putClient = (client) =>
    adapter('Client').upsert(client.client_id, {
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      dpop_bound_access_tokens: options.dpopBound,
      ...client,
    });
  const introspectionClient = { clientId: 'resource-server', clientSecret: options.introspectionSecret ?? randomBytes(32).toString('base64url') };
  for (const client of clientsOf(options, introspectionClient)) await putClient(client);

  return {
    issuer,
    port: listener.port,
    url: listener.origin,
    mtlsUrl: second?.origin, //                              where certificates are asked for, if at a port of its own
    introspectionClient, //                                  { clientId, clientSecret }: for startResourceServer's introspection
    requests,
    events,
    tokenRequests: () => requests.filter((record) => record.path === `${mount}/token`),
    putClient, //                                            adds or replaces a client
    findClient: (clientId) => adapter('Client').find(clientId), // its metadata, of one that registered itself too
    addResource: (resource) => void known.add(resource),
    setTokenTtl: (seconds) => void (state.tokenTtl = seconds),
    setRefreshTtl: (seconds) => void (state.refreshTtl = seconds),
    setCodeTtl: (seconds) => void (state.codeTtl = seconds),
    setRotate: (on) => void (state.rotate = on),
    setRefreshTokens: (when) => void (state.refreshTokens = when),
    setAccessTokenFormat: (format) => void (state.accessTokenFormat = format),
    setRequireNonce: (on) => void (state.requireNonce = on),
    rotateNonces: () => void (internals(provider).DPoPNonces = new ServerChallenge(randomBytes(32), 'DPoP')), // every earlier one is refused
    spendOnChallenge: (on = true) => void (state.spendOnChallenge = on), // a nonce challenge consumes the code or refresh token
    advertise: (members) => void (state.advertised = members), // laid over the metadata; null takes a member away
    hang: (on = true) => void (state.hanging = on), //       token requests are read and never answered
    delay: (ms) => void (state.delay = ms), //               token requests wait this long first
    intercept: (fn) => void (state.intercept = fn), //       async (req, res, record) → true when it answered itself; null ends it
    loseAnswers: (fn) => void (state.lose = fn), //          (record) → true: the provider does its work, and the connection is cut
    amend: (fn) => void (state.amend = fn), //               async (ctx, record): changes the provider's answer (ctx.status, ctx.body)
    async close() { //                                       at once, requests in flight included
      await Promise.all([listener.close(), second?.close()]);
    },
  };
}

async function openListeners({ tls, host, port, mtls }, handler) {
  const clientCa = mtls ? mtls.ca ?? tls.ca : undefined;
  const apart = mtls && mtls.aliases !== false;
  const listener = await listen({ tls, host, port, clientCa: apart ? undefined : clientCa }, handler);
  return { listener, second: apart ? await listen({ tls, host, port: mtls.port, clientCa }, handler) : undefined };
}

async function makeProvider(issuer, options, parts) {
  const extras = new WeakMap();
  const { signingKey, publicKey } = await makeSigningKey(options.alg);
  const provider = new Provider(issuer, configurationFor(options, { ...parts, signingKey, extras }));
  const assertions = { keys: options.assertionKeys.keys, issuers: options.assertionIssuers };
  registerGrants(provider, { keys: { keys: [publicKey] }, assertions, extras });
  provider.on('server_error', (_ctx, error) => console.error('authorization server:', error));
  provider.use(afterProvider(provider, parts.state));
  return provider;
}

// Completes the record, and makes of oidc-provider's own answer what the options and the test want.
const afterProvider = (provider, state) => async (ctx, next) => {
  await next();
  const { record } = ctx.req;
  describe(record, ctx);
  const { route, params } = ctx.oidc ?? {};
  if (route === 'discovery') {
    for (const [member, value] of Object.entries(state.advertised)) {
      if (value === null) delete ctx.body[member];
      else ctx.body[member] = value;
    }
  }
  if (route === 'device_authorization' && ctx.status === 200 && state.deviceInterval !== null) ctx.body.interval = state.deviceInterval;
  if (state.spendOnChallenge && ctx.body?.error === 'use_dpop_nonce') {
    await (await provider.RefreshToken.find(params.refresh_token))?.consume();
    await (await provider.AuthorizationCode.find(params.code))?.consume();
  }
  if (state.amend) await state.amend(ctx, record);
  if (!state.lose || !(await state.lose(record))) return;
  record.lost = ctx.status;
  ctx.respond = false;
  ctx.req.socket.destroy();
};

// An issuer with a path is mounted as a reverse proxy would: the prefix is taken off, and remembered in originalUrl.
function makeRoute(provider, mount, state) {
  const interact = makeInteractions(provider);
  const answer = provider.callback();
  return async (req, res) => {
    const [pathname] = req.url.split('?');
    const form = Object.keys(wellKnown).find((name) => pathname.includes(wellKnown[name]));
    if (form && state.metadata !== 'both' && state.metadata !== form) return res.writeHead(404).end();
    if (mount && pathname === wellKnown.oauth + mount) {
      req.originalUrl = mount + wellKnown.oauth;
      req.url = wellKnown.oauth;
    } else if (mount) {
      if (!req.url.startsWith(`${mount}/`)) return res.writeHead(404).end();
      req.originalUrl = req.url;
      req.url = req.url.slice(mount.length);
    }
    if (!isRecent(req.headers.dpop, state)) {
      const refusal = { error: 'invalid_dpop_proof', error_description: 'DPoP proof iat is not recent enough' };
      return res.writeHead(400, { 'Content-Type': 'application/json' }).end(JSON.stringify(refusal));
    }
    if (await interact(req, res)) return undefined;
    return answer(req, res);
  };
}

// A proof without the nonce that is required is left to the provider's challenge.
function isRecent(proof, { iatWindow, nonceSecret, requireNonce }) {
  if (!iatWindow || proof === undefined) return true;
  const { iat, nonce } = claimsOf(proof);
  if (nonceSecret !== null && requireNonce && nonce === undefined) return true;
  const ahead = iat - Date.now() / 1000;
  return ahead >= -iatWindow[0] && ahead <= iatWindow[1];
}

function clientsOf({ secrets, jwks, clients }, { clientId, clientSecret }) {
  const made = [];
  if (secrets.basic) made.push({ client_id: 'basic', client_secret: secrets.basic, token_endpoint_auth_method: 'client_secret_basic' });
  if (secrets.post) made.push({ client_id: 'post', client_secret: secrets.post, token_endpoint_auth_method: 'client_secret_post' });
  if (jwks) made.push({ client_id: 'jwt', jwks, token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256' });
  const resourceServer = { id: clientId, authentication: 'client_secret_basic', grants: [], secret: clientSecret, dpop_bound_access_tokens: false };
  return [...made, clientFor(resourceServer), ...clients];
}

function newRecord(req) {
  const { jti, nonce } = claimsOf(req.headers.dpop);
  return { time: Date.now(), method: req.method, path: req.url.split('?')[0], status: null, jti, nonce, certificate: presentedCertificate(req) };
}

function describe(record, ctx) {
  const { params, body } = ctx.oidc ?? {};
  record.grantType = params?.grant_type;
  record.clientId = ctx.oidc?.client?.clientId;
  record.clientAssertionJti = claimsOf(params?.client_assertion).jti;
  record.fields = [...new Set([...Object.keys(ctx.query), ...Object.keys(body ?? {})])].sort();
  record.scope = body?.scope ?? ctx.query.scope;
  record.resource = body?.resource ?? ctx.query.resource;
  record.presented = hashOf(presentedToken(params));
  record.assertionJti = claimsOf(params?.assertion).jti;
}

async function makeSigningKey(alg) {
  const pair = await generateKeyPair(alg, { extractable: true });
  const publicKey = await exportJWK(pair.publicKey);
  const named = { alg, use: 'sig', kid: await calculateJwkThumbprint(publicKey) };
  return { signingKey: { ...(await exportJWK(pair.privateKey)), ...named }, publicKey: { ...publicKey, ...named } };
}

function claimsOf(jwt) {
  try {
    return decodeJwt(jwt);
  } catch {
    return {};
  }
}
