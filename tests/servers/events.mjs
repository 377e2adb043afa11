// What oidc-provider itself did, as it says so: the proof that a refresh token was consumed, or was not. An event is
//   { time, event, clientId, grantId, tokenHash, … }
// where tokenHash is the SHA-256 in hex of the token or code that the event is about (hashOf). The events:
//   refresh_issued (with rotations), refresh_consumed, refresh_destroyed, code_issued, code_consumed,
//   device_code_consumed, token_destroyed, grant_revoked (no tokenHash, no clientId),
//   token_issued: a successful answer of the token endpoint, with grantType, refreshHash (or undefined); tokenHash is the
//     access token's,
//   refused: an error answer of the token endpoint, with grantType, error and description; tokenHash is that of the
//     refresh token, code or device code that was presented.

import { createHash } from 'node:crypto';

export const hashOf = (token) => (typeof token === 'string' ? createHash('sha256').update(token).digest('hex') : undefined);

const ofTokens = {
  'refresh_token.saved': 'refresh_issued',
  'refresh_token.consumed': 'refresh_consumed',
  'refresh_token.destroyed': 'refresh_destroyed',
  'authorization_code.saved': 'code_issued',
  'authorization_code.consumed': 'code_consumed',
  'device_code.consumed': 'device_code_consumed',
  'access_token.destroyed': 'token_destroyed',
  'client_credentials.destroyed': 'token_destroyed',
};

export const presentedToken = (params) => params?.refresh_token ?? params?.code ?? params?.device_code ?? params?.token;

export function watchEvents(provider, add) {
  for (const [name, event] of Object.entries(ofTokens)) {
    provider.on(name, ({ jti, clientId, grantId, rotations }) => add({ event, clientId, grantId, tokenHash: hashOf(jti), rotations }));
  }
  provider.on('grant.revoked', (_ctx, grantId) => add({ event: 'grant_revoked', grantId }));
  provider.on('grant.success', ({ body, oidc }) =>
    add({
      event: 'token_issued', clientId: oidc.client.clientId, grantId: oidc.entities.AccessToken?.grantId, tokenHash: hashOf(body.access_token),
      refreshHash: hashOf(body.refresh_token), grantType: oidc.params.grant_type,
    }));
  provider.on('grant.error', ({ oidc }, failure) =>
    add({
      event: 'refused', clientId: oidc.client?.clientId, tokenHash: hashOf(presentedToken(oidc.params)),
      grantType: oidc.params?.grant_type, error: failure.error,
      description: failure.error_detail ?? failure.error_description,
    }));
}
