// A resource server that answers only a request whose DPoP-bound access token and proof hold, checked with
// oauth4webapi, which shares no code with the agent. It is stricter than that library where the agent must be exact:
// the proof's header members, its htm, its htu as a string, its nonce, its iat and its jti used once. An opaque token is
// asked about at the authorization server (introspection), each time.
//
// Every request leaves a record in `requests`, with its answer: { time, method, path, status, jti, nonce, error, bodyBytes,
// token } where token has those of the good token's claims: { sub, client_id, scope, aud, act, authorization_details }.
// The order of the checks: token and proof, then nonce, then iat, then replay. A refusal does not use up the jti.
//
// Its metadata (RFC 9728) is at /.well-known/oauth-protected-resource, and every 401 names it (resource_metadata). Each of
// `paths`, e.g. '/api', is a resource of its own (origin + '/api'), with metadata at /.well-known/oauth-protected-resource/api
// and with that URL as the audience of tokens for it and what is below it.

import { createHash, randomBytes } from 'node:crypto';
import * as jose from 'jose';
import * as oauth from 'oauth4webapi';
import { fetchTrusting, listen } from './transport.mjs';

const REMEMBERED_JTIS = 500_000;
const WELL_KNOWN = '/.well-known/oauth-protected-resource';

class Refusal extends Error {
  constructor(error, description) {
    super(description);
    this.error = error;
  }
}

class Unreachable extends Error {} // the authorization server is

export async function startResourceServer({
  issuer,
  audience, //            default: this server's own origin
  ca, //                  path of the PEM file that the issuer's certificate is checked with
  tls = null, //          { key, cert } in PEM; null speaks plain http
  host = 'localhost', //  the name in the origin
  port = 0,
  requireNonce = true,
  nonceLifetime = 60, //  seconds as the newest; as the one before it, as long again
  introspection, //       { clientId, clientSecret }, the authorization server's introspectionClient: opaque tokens are taken
  iatWindow = null, //    [before, after]: iat must be so many seconds around now, e.g. [25, 15], whatever the nonce is
  clockOffset = 0, //     seconds: this server's clock, and its Date, are so far ahead
  paths = [], //          resources of their own
  advertise = {}, //      laid over its metadata; null takes a member away
}) {
  const requests = [];
  const jtis = new Set();
  const tokens = { seen: new Set(), revoked: new Set() };
  const nonces = makeNonces(nonceLifetime * 1000);
  const now = () => Date.now() + clockOffset * 1000;
  const tokenCheck = makeTokenCheck(issuer, fetchTrusting(ca), { introspection, now });
  let intercept = null;

  async function check(req, path, record) {
    const { accessToken, proof } = credentials(req);
    const { header, claims: proven } = decodeProof(proof);
    record.jti = proven.jti;
    record.nonce = proven.nonce;
    const request = new Request(origin + req.url, { method: req.method, headers: { authorization: `DPoP ${accessToken}`, dpop: proof } });
    const claims = await tokenCheck(request, accessToken, pathOf(path) ? origin + pathOf(path) : audience ?? origin);
    const id = claims.jti ?? accessToken;
    tokens.seen.add(id);
    if (tokens.revoked.has(id)) throw new Refusal('invalid_token', 'the token was revoked');
    checkExactness(header, proven, { htm: req.method, htu: origin + path });
    if (requireNonce && !nonces.accepts(proven.nonce)) throw new Refusal('use_dpop_nonce', 'a nonce of this server is required');
    const ahead = proven.iat - now() / 1000;
    if (iatWindow && !(ahead >= -iatWindow[0] && ahead <= iatWindow[1])) throw new Refusal('invalid_dpop_proof', 'iat is not recent enough');
    if (jtis.has(proven.jti)) throw new Refusal('invalid_dpop_proof', 'jti was used before');
    jtis.add(proven.jti);
    if (jtis.size > REMEMBERED_JTIS) jtis.delete(jtis.values().next().value);
    const { sub, client_id, scope, aud, act, authorization_details } = claims;
    record.token = { sub, client_id, scope, aud, act, authorization_details };
    return claims;
  }

  const pathOf = (path) => paths.find((one) => path === one || path.startsWith(`${one}/`)) ?? '';

  function describe(path) {
    const resource = path ? origin + path : audience ?? origin;
    const metadata = {
      resource, authorization_servers: [issuer], bearer_methods_supported: ['header'], dpop_bound_access_tokens_required: true,
      dpop_signing_alg_values_supported: ['ES256'], ...advertise,
    };
    return JSON.stringify(Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== null)));
  }

  async function handle(req, res) {
    const [path] = req.url.split('?');
    const record = { time: Date.now(), method: req.method, path, status: null };
    requests.push(record);
    res.once('finish', () => (record.status = res.statusCode));
    res.setHeader('Date', new Date(now()).toUTCString());
    if (intercept && (await intercept(req, res, record))) return;
    if (req.method === 'GET' && path.startsWith(WELL_KNOWN)) {
      const of = path.slice(WELL_KNOWN.length);
      if (of !== '' && !paths.includes(of)) return void res.writeHead(404).end();
      return void res.writeHead(200, { 'Content-Type': 'application/json' }).end(describe(of));
    }

    const body = createHash('sha256');
    record.bodyBytes = 0;
    try {
      for await (const chunk of req) {
        body.update(chunk);
        record.bodyBytes += chunk.length;
      }
    } catch {
      return; // the client went away
    }

    let status = 200;
    let answer;
    try {
      const claims = await check(req, path, record);
      answer = {
        ok: true, method: req.method, path, sub: claims.sub, client_id: claims.client_id, jkt: claims.cnf.jkt,
        bodyBytes: record.bodyBytes, bodySha256: body.digest('hex'),
      };
    } catch (failure) {
      status = failure instanceof Refusal ? 401 : 503;
      record.error = failure.error ?? 'unavailable';
      answer = { error: record.error, error_description: failure.message };
      if (status === 401) {
        const error = failure.error === 'no_credentials' ? '' : `error="${failure.error}", `;
        const metadata = `${origin}${WELL_KNOWN}${pathOf(path)}`;
        res.setHeader('WWW-Authenticate', `DPoP ${error}algs="ES256", resource_metadata="${metadata}"`);
      }
    }
    if (requireNonce) res.setHeader('DPoP-Nonce', nonces.newest());
    res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' }).end(`${JSON.stringify(answer)}\n`);
  }

  const { origin, port: bound, close } = await listen({ tls, host, port }, handle);
  return {
    origin,
    port: bound,
    requests,
    rotate: () => nonces.rotate(), //                   a new nonce; every earlier one is refused from now on
    revoke: () => void (tokens.revoked = new Set(tokens.seen)), // refuses, as invalid_token, every token seen until now
    setRequireNonce: (on) => void (requireNonce = on),
    setClockOffset: (seconds) => void (clockOffset = seconds),
    advertise: (members) => void (advertise = members),
    intercept: (fn) => void (intercept = fn), //        async (req, res, record) → true when it answered itself; null ends it
    close, //                                           at once, requests in flight included
  };
}

function credentials(req) {
  const { authorization = [], dpop = [] } = req.headersDistinct;
  if (authorization.length === 0) throw new Refusal('no_credentials', 'no Authorization header');
  const [, scheme, accessToken] = /^(\S+) ([A-Za-z0-9._~+/-]+=*)$/.exec(authorization[0]) ?? [];
  if (authorization.length !== 1 || scheme?.toLowerCase() !== 'dpop') throw new Refusal('invalid_token', 'one Authorization: DPoP is required');
  if (dpop.length !== 1) throw new Refusal('invalid_dpop_proof', 'exactly one DPoP header is required');
  return { accessToken, proof: dpop[0] };
}

function decodeProof(proof) {
  try {
    return { header: jose.decodeProtectedHeader(proof), claims: jose.decodeJwt(proof) };
  } catch {
    throw new Refusal('invalid_dpop_proof', 'the proof is no JWT');
  }
}

function checkExactness(header, claims, expected) {
  const members = (object) => Object.keys(object).sort().join(' ');
  const require = (holds, what) => {
    if (!holds) throw new Refusal('invalid_dpop_proof', what);
  };
  require(header.alg === 'ES256' && members(header) === 'alg jwk typ', 'the header must be exactly typ, alg ES256, jwk');
  require(members(header.jwk) === 'crv kty x y', 'the jwk must be exactly kty, crv, x, y');
  require(jose.base64url.decode(header.jwk.x).length === 32 && jose.base64url.decode(header.jwk.y).length === 32, 'x and y must be 32 bytes');
  require(claims.htm === expected.htm, `htm must be ${expected.htm}`);
  require(claims.htu === expected.htu, `htu must be ${expected.htu}`);
}

// Says which claims the token of a request has, once token and proof hold and belong together. A refusal of oauth4webapi
// does not tell a bad token from a bad proof; jose's verdict on the token alone does. A key that is not known makes it
// look once more, since the authorization server may have been started anew.
function makeTokenCheck(issuer, fetch, { introspection, now }) {
  const options = {
    [oauth.customFetch]: reach, [oauth.allowInsecureRequests]: true, [oauth.clockTolerance]: 0, requireDPoP: true,
    get [oauth.clockSkew]() {
      return Math.round((now() - Date.now()) / 1000);
    },
  };
  let server;

  async function reach(url, request) {
    const answer = await fetch(url, request).catch((cause) => {
      throw new Unreachable(`${url}: ${cause.message}`);
    });
    if (answer.status >= 500) throw new Unreachable(`${url}: ${answer.status}`);
    return answer;
  }

  async function discover() {
    for (const algorithm of ['oauth2', 'oidc']) {
      const answer = await oauth.discoveryRequest(new URL(issuer), { ...options, algorithm });
      if (answer.status === 404) continue;
      const as = await oauth.processDiscoveryResponse(new URL(issuer), answer);
      return { as, keys: jose.createRemoteJWKSet(new URL(as.jwks_uri), { [jose.customFetch]: reach, cooldownDuration: 0 }) };
    }
    throw new Unreachable(`${issuer} has no metadata`);
  }

  async function isGood(accessToken, keys, audience) {
    try {
      await jose.jwtVerify(accessToken, keys, { issuer, audience, typ: 'at+jwt', currentDate: new Date(now()) });
      return true;
    } catch (error) {
      if (error instanceof Unreachable) throw error;
      return false;
    }
  }

  // What the authorization server says of an opaque token. One for no resource has no audience.
  async function introspect(request, accessToken, audience, { as }) {
    const client = { client_id: introspection.clientId };
    const asked = await oauth.introspectionRequest(as, client, oauth.ClientSecretBasic(introspection.clientSecret), accessToken, options);
    const claims = await oauth.processIntrospectionResponse(as, client, asked);
    if (!claims.active) throw new Refusal('invalid_token', 'the token is not active');
    if (claims.aud !== undefined && claims.aud !== audience) throw new Refusal('invalid_token', `the audience is ${claims.aud}`);
    if (!claims.cnf?.jkt) throw new Refusal('invalid_token', 'the token is not bound to a key');
    await checkProof(request.headers.get('dpop'), accessToken, claims.cnf.jkt, now());
    return claims;
  }

  return async function check(request, accessToken, audience, again = false) {
    const current = (server ??= await discover());
    if (introspection && !accessToken.includes('.')) return introspect(request, accessToken, audience, current);
    try {
      return await oauth.validateJwtAccessToken(current.as, request, audience, options);
    } catch (refused) {
      if (refused instanceof Unreachable) throw refused;
      const unknownKey = refused.code === oauth.KEY_SELECTION;
      if (unknownKey && server === current) server = undefined;
      if (!(await isGood(accessToken, current.keys, audience))) throw new Refusal('invalid_token', refused.message);
      if (unknownKey && !again) return check(request, accessToken, audience, true);
      throw new Refusal('invalid_dpop_proof', refused.message);
    }
  };
}

// What oauth4webapi checks of a proof, for a token that is no JWT.
async function checkProof(proof, accessToken, jkt, now) {
  const wrong = (why) => new Refusal('invalid_dpop_proof', why);
  const verified = await jose.jwtVerify(proof, jose.EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'], currentDate: new Date(now) })
    .catch((cause) => {
      throw wrong(cause.message);
    });
  const { payload, protectedHeader } = verified;
  if (typeof payload.jti !== 'string' || typeof payload.iat !== 'number') throw wrong('jti and iat are required');
  if (Math.abs(now / 1000 - payload.iat) > 300) throw wrong('iat is not recent enough');
  if (payload.ath !== createHash('sha256').update(accessToken).digest('base64url')) throw wrong('ath mismatch');
  if ((await jose.calculateJwkThumbprint(protectedHeader.jwk)) !== jkt) throw wrong('another key than the token is bound to');
}

function makeNonces(lifetime) {
  const make = () => randomBytes(24).toString('base64url');
  let current = make();
  let previous = null;
  let made = Date.now();

  const step = () => {
    const age = Date.now() - made;
    if (age < lifetime) return;
    previous = age < 2 * lifetime ? current : null;
    current = make();
    made = Date.now();
  };
  return {
    newest() {
      step();
      return current;
    },
    accepts(nonce) {
      step();
      return nonce !== undefined && (nonce === current || nonce === previous);
    },
    rotate() {
      current = make();
      previous = null;
      made = Date.now();
      return current;
    },
  };
}
