// The configuration of oidc-provider for the options of startAuthorizationServer. Every function that oidc-provider would
// warn about when it is left to its default is here.

import { randomBytes } from 'node:crypto';
import { errors } from 'oidc-provider';
import { grantTypes } from './clients.mjs';
import { endpointAliases, mutualTlsFeature } from './mutual-tls.mjs';

const DAY = 24 * 60 * 60;
const baseMethods = ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt'];

// state: what a test changes while the server runs. known: the resources. mutualTlsBase: where the aliases point, if there
// are any. extras: token → its extra claims.
export function configurationFor(options, { adapter, state, known, signingKey, mount, mutualTlsBase, extras }) {
  const { alg, scope, nonceSecret, audienceParameter } = options;
  return {
    adapter,
    jwks: { keys: [signingKey] },
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    clientDefaults: { id_token_signed_response_alg: alg, authorization_details_types: options.authorizationDetails },
    clientAuthMethods: [...baseMethods, ...(options.mtls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : [])],
    enabledJWA: { idTokenSigningAlgValues: [alg] },
    scopes: [...new Set(['openid', 'offline_access', ...scope.split(' ')])],
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'] },
    clientBasedCORS: () => false,
    extraParams: audienceParameter ? ['audience'] : [],
    extraTokenClaims: async (_ctx, token) => extras.get(token),
    findAccount: async (_ctx, id) => ({
      accountId: id,
      claims: async () => ({ sub: id, name: id, email: `${id}@example.com`, email_verified: true }),
    }),
    interactions: { url: async (_ctx, { uid }) => `${mount}/interaction/${uid}` },
    renderError: async (ctx, out) => {
      ctx.type = 'json';
      ctx.body = out;
    },
    pkce: { required: () => true },
    rotateRefreshToken: async () => state.rotate,
    issueRefreshToken: async (_ctx, client, source) =>
      client.grantTypeAllowed('refresh_token') && (state.refreshTokens === 'always' || source.scopes.has('offline_access')),
    expiresWithSession: async () => false,
    ttl: {
      ClientCredentials: () => state.tokenTtl,
      AccessToken: () => state.tokenTtl,
      RefreshToken: () => state.refreshTtl,
      IdToken: () => 600,
      AuthorizationCode: () => state.codeTtl,
      DeviceCode: () => state.deviceTtl,
      Interaction: () => 600,
      Session: () => 14 * DAY,
      Grant: () => 14 * DAY,
    },
    discovery: mutualTlsBase ? { mtls_endpoint_aliases: endpointAliases(mutualTlsBase) } : {},
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      claimsParameter: { enabled: true },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true, nonceSecret: nonceSecret ?? undefined, requireNonce: () => nonceSecret !== null && state.requireNonce },
      pushedAuthorizationRequests: { enabled: options.par, requirePushedAuthorizationRequests: options.requirePar },
      deviceFlow: { enabled: options.device, ...devicePages },
      revocation: { enabled: options.revocation, allowedPolicy: async (_ctx, client, token) => client.clientId === token.clientId },
      introspection: { enabled: options.introspection, allowedPolicy: async () => true },
      resourceIndicators: resourceIndicators(options, known, state),
      ...(options.mtls ? { mTLS: mutualTlsFeature } : {}),
      ...(options.fapi2 ? { fapi: { enabled: true, profile: '2.0' } } : {}),
      ...(options.authorizationDetails.length > 0 ? { richAuthorizationRequests: authorizationDetails(options.authorizationDetails) } : {}),
      ...(options.registration ? registration(options.registration) : {}),
    },
  };
}

function resourceIndicators({ scope, alg, audienceParameter }, known, state) {
  return {
    enabled: true,
    getResourceServerInfo(_ctx, resource) {
      if (!known.has(resource)) throw new errors.InvalidTarget();
      const opaque = state.accessTokenFormat === 'opaque';
      return { scope, audience: resource, accessTokenFormat: state.accessTokenFormat, ...(opaque ? {} : { jwt: { sign: { alg } } }) };
    },
    // `audience` names a resource in a token exchange, and everywhere where the server is told so
    async defaultResource({ oidc }, _client, oneOf) {
      const named = audienceParameter || oidc.params?.grant_type === grantTypes.exchange;
      return oneOf ?? (named ? oidc.params?.audience ?? oidc.body?.audience : undefined);
    },
    useGrantedResource: async () => audienceParameter,
  };
}

// What was asked for and consented to is what the token has; no details in the token request means all of them.
function authorizationDetails(types) {
  const asked = (ctx) => (ctx.oidc.params.authorization_details === undefined ? undefined : JSON.parse(ctx.oidc.params.authorization_details));
  return {
    enabled: true,
    types: Object.fromEntries(types.map((type) => [type, { validate() {} }])),
    authorizationDetailsForGrantSource: async (ctx) => asked(ctx) ?? ctx.oidc.grant.rar,
    authorizationDetailsForAccessToken: async (ctx, _token, source) => asked(ctx) ?? source?.rar,
    authorizationDetailsForIntrospection: async (_ctx, token) => token.rar,
  };
}

function registration({ initialAccessToken = false }) {
  return {
    registration: { enabled: true, initialAccessToken, issueRegistrationAccessToken: true },
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: false },
  };
}

// The provider's own forms, and nothing around them. A page's title says where the user is.
const page = (title, form = '') => `<!DOCTYPE html><title>${title}</title>${form}`;
const devicePages = {
  deviceInfo: () => ({}),
  userCodeInputSource: async (ctx, form, _out, failure) => {
    ctx.body = page(failure ? `device: ${failure.name}` : 'device: which code?', form);
  },
  userCodeConfirmSource: async (ctx, form) => {
    ctx.body = page('device: confirm', form);
  },
  successSource: async (ctx) => {
    ctx.body = page('device: done');
  },
};
