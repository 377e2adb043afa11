// Token exchange (RFC 8693) and JWT bearer (RFC 7523) for oidc-provider, which has neither. Client authentication,
// the DPoP proof with its nonce and its replay check, scopes, resources and the token itself are oidc-provider's own,
// called as its own grants call them.

import * as jose from 'jose';
import { errors } from 'oidc-provider';
import * as helpers from 'oidc-provider/lib/helpers/grants.js';
import { applyDpopBinding } from 'oidc-provider/lib/helpers/grant_common.js';
import epochTime from 'oidc-provider/lib/helpers/epoch_time.js';
import { grantTypes } from './clients.mjs';

const tokenType = (name) => `urn:ietf:params:oauth:token-type:${name}`;
const accessTokenTypes = [tokenType('access_token'), tokenType('jwt')];

// keys: { keys: [public JWK] } of this server; assertions: { keys, issuers } of foreign ones; extras: a WeakMap, access
// token → its extra claims.
export function registerGrants(provider, { keys, assertions, extras }) {
  const ownKeys = jose.createLocalJWKSet(keys);
  const resourceParams = ['scope', 'resource', 'authorization_details'];

  // → { sub, clientId } of an access token of this server
  async function findAccessToken(value, type, what) {
    if (!accessTokenTypes.includes(type)) throw new errors.InvalidRequest(`${what}_token_type is not supported`);
    const stored = (await provider.AccessToken.find(value)) ?? (await provider.ClientCredentials.find(value));
    if (stored) return { sub: stored.accountId ?? stored.clientId, clientId: stored.clientId };
    try {
      const currentDate = new Date(epochTime() * 1000);
      const { payload } = await jose.jwtVerify(value, ownKeys, { issuer: provider.issuer, typ: 'at+jwt', currentDate });
      return { sub: payload.sub, clientId: payload.client_id };
    } catch {
      throw new errors.InvalidRequest(`${what}_token is not valid`);
    }
  }

  // An access token for sub, bound to the proof's key.
  async function issue(ctx, dPoP, sub, { extra, issuedTokenType } = {}) {
    const { client } = ctx.oidc;
    const scopes = [...helpers.validateClientScope(provider, ctx)];
    const servers = await helpers.resolveRequestedResources(provider, ctx);
    if (servers.length > 1) throw new errors.InvalidTarget('only one resource');
    const token = new provider.AccessToken({ accountId: sub, client, gty: ctx.oidc.params.grant_type });
    const [server] = servers;
    if (server) token.resourceServer = server;
    token.scope = (server ? scopes.filter((scope) => server.scopes.has(scope)) : scopes).join(' ') || undefined;
    await applyDpopBinding(provider, ctx, dPoP, token);
    await helpers.applyAuthorizationDetails(provider, ctx, token);
    if (extra) extras.set(token, extra);
    ctx.oidc.entity('AccessToken', token);
    const accessToken = await token.save();
    ctx.body = helpers.buildTokenResponse(provider, {
      accessToken, issuedTokenType, authorizationDetails: token.rar, expiresIn: token.expiration, scope: token.scope, tokenType: token.tokenType,
    });
  }

  function require(params, ...names) {
    for (const name of names) if (!params[name]) throw new errors.InvalidRequest(`missing required parameter '${name}'`);
  }

  async function proofOf(ctx) {
    const dPoP = await helpers.validateDpop(provider, ctx);
    helpers.checkDpopRequired(provider, ctx, dPoP);
    return dPoP;
  }

  async function exchange(ctx) {
    const { params } = ctx.oidc;
    require(params, 'subject_token', 'subject_token_type');
    const dPoP = await proofOf(ctx);
    if (params.requested_token_type && !accessTokenTypes.includes(params.requested_token_type)) {
      throw new errors.InvalidRequest('requested_token_type is not supported');
    }
    const subject = await findAccessToken(params.subject_token, params.subject_token_type, 'subject');
    if (!params.actor_token && params.actor_token_type) throw new errors.InvalidRequest('actor_token_type without actor_token');
    const actor = params.actor_token && (await findAccessToken(params.actor_token, params.actor_token_type, 'actor'));
    await issue(ctx, dPoP, subject.sub, {
      extra: actor ? { act: { sub: actor.sub } } : undefined, issuedTokenType: params.requested_token_type ?? tokenType('access_token'),
    });
  }

  async function bearer(ctx) {
    const { params, client } = ctx.oidc;
    require(params, 'assertion');
    const dPoP = await proofOf(ctx);
    const claims = await checkAssertion(params.assertion, client);
    const unique = await provider.ReplayDetection.unique(`assertion ${claims.iss}`, claims.jti, claims.exp);
    if (!unique) throw new errors.InvalidGrant('the assertion was used before');
    await issue(ctx, dPoP, claims.sub);
  }

  async function checkAssertion(assertion, client) {
    try {
      const { iss } = jose.decodeJwt(assertion);
      const isOwn = iss === client.clientId;
      if (!isOwn && !assertions.issuers.includes(iss)) throw new Error(`the issuer ${iss} is not known`);
      const payload = await verifyWithOneOf(isOwn ? client.jwks?.keys ?? [] : assertions.keys, assertion);
      if (payload.aud !== provider.issuer) throw new Error('aud must be the issuer, alone');
      return payload;
    } catch (error) {
      throw new errors.InvalidGrant(`assertion: ${error.message}`);
    }
  }

  async function verifyWithOneOf(candidates, jwt) {
    let failure = new Error('no key is known');
    for (const key of candidates) {
      try {
        const { payload } = await jose.jwtVerify(jwt, await jose.importJWK(key, 'ES256'), {
          algorithms: ['ES256'], requiredClaims: ['iss', 'sub', 'aud', 'exp', 'jti'], currentDate: new Date(epochTime() * 1000),
        });
        return payload;
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }

  provider.registerGrantType(grantTypes.exchange, exchange, [
    ...resourceParams, 'audience', 'subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type',
  ], ['resource', 'audience']);
  provider.registerGrantType(grantTypes.bearer, bearer, [...resourceParams, 'assertion'], ['resource']);
}
