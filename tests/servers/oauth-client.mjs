// An OAuth client made of oauth4webapi, which shares no code with the agent, to prove the test servers with: every grant, any
// client authentication, one DPoP key. A nonce challenge is answered once.
//
//   const client = await makeOAuthClient({ as, ca, id, authentication, secret, privateKey, certificate });
//   const token = await client.code({ scope, resource });      // logs in with the headless user

import { generateKeyPair, SignJWT } from 'jose';
import * as oauth from 'oauth4webapi';
import { randomUUID } from 'node:crypto';
import { approveDevice, logIn } from '../flow/user.mjs';
import { grantTypes } from './clients.mjs';
import { fetchTrusting } from './transport.mjs';

// certificate: { key, cert } in PEM, shown to the server.
export async function makeOAuthClient({
  as, ca, id, authentication = 'none', secret, privateKey, certificate, redirectUri = 'http://127.0.0.1:1/callback',
}) {
  const options = { [oauth.customFetch]: fetchTrusting(ca, certificate), [oauth.allowInsecureRequests]: true };
  const issuer = new URL(as.issuer);
  const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options }));
  const useMtls = authentication.includes('tls') && server.mtls_endpoint_aliases !== undefined;
  const client = { client_id: id, use_mtls_endpoint_aliases: useMtls };
  const dpop = oauth.DPoP({}, await generateKeyPair('ES256', { extractable: true }));
  const authenticate = {
    none: oauth.None,
    client_secret_basic: () => oauth.ClientSecretBasic(secret),
    client_secret_post: () => oauth.ClientSecretPost(secret),
    private_key_jwt: () => oauth.PrivateKeyJwt(privateKey),
    tls_client_auth: oauth.TlsClientAuth,
    self_signed_tls_client_auth: oauth.TlsClientAuth,
  }[authentication];
  const withDpop = { ...options, DPoP: dpop };

  async function twice(send) {
    try {
      return await send();
    } catch (error) {
      if (!oauth.isDPoPNonceError(error)) throw error;
      return send();
    }
  }
  const request = (grant, parameters) =>
    twice(async () =>
      oauth.processGenericTokenEndpointResponse(server, client,
        await oauth.genericTokenEndpointRequest(server, client, authenticate(), grantTypes[grant], new URLSearchParams(parameters), withDpop)));

  // → { url, finish(redirect) }: the authorization URL, and what makes a token of where it ended.
  async function beginCode({ par = false, ...parameters } = {}) {
    const verifier = oauth.generateRandomCodeVerifier();
    const state = oauth.generateRandomState();
    const asked = new URLSearchParams({
      client_id: id, response_type: 'code', redirect_uri: redirectUri, state, code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256', dpop_jkt: await dpop.calculateThumbprint(), ...parameters,
    });
    const url = new URL(server.authorization_endpoint);
    if (par) {
      const { request_uri } = await twice(async () =>
        oauth.processPushedAuthorizationResponse(server, client,
          await oauth.pushedAuthorizationRequest(server, client, authenticate(), asked, withDpop)));
      url.search = new URLSearchParams({ client_id: id, request_uri });
    } else url.search = asked;
    const finish = async (redirect) => {
      const callback = oauth.validateAuthResponse(server, client, new URL(redirect), state);
      return twice(async () =>
        oauth.processAuthorizationCodeResponse(server, client,
          await oauth.authorizationCodeGrantRequest(server, client, authenticate(), callback, redirectUri, verifier,
            { ...withDpop, additionalParameters: parameters.resource ? { resource: parameters.resource } : {} })));
    };
    return { url: url.href, finish };
  }

  return {
    server,
    dpop,
    request,
    beginCode,
    async code(parameters) {
      const { url, finish } = await beginCode(parameters);
      const { redirect, page } = await logIn(url, { ca, follow: false });
      if (redirect === null) throw new Error(page.body);
      return finish(redirect);
    },
    client: (parameters) => request('client', parameters),
    refresh: (refreshToken, parameters) => request('refresh', { refresh_token: refreshToken, ...parameters }),
    exchange: (subject, parameters) =>
      request('exchange', { subject_token: subject, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token', ...parameters }),
    bearer: (assertion, parameters) => request('bearer', { assertion, ...parameters }),
    async device(parameters, approve = (answer) => approveDevice(answer.verification_uri_complete, { ca })) {
      const asked = await oauth.deviceAuthorizationRequest(server, client, authenticate(), new URLSearchParams(parameters), options);
      const answer = await oauth.processDeviceAuthorizationResponse(server, client, asked);
      await approve(answer);
      const { resource } = parameters;
      return request('device', { device_code: answer.device_code, ...(resource ? { resource } : {}) });
    },
    async revoke(token) {
      return oauth.processRevocationResponse(await oauth.revocationRequest(server, client, authenticate(), token, options));
    },
    async introspect(token) {
      return oauth.processIntrospectionResponse(server, client, await oauth.introspectionRequest(server, client, authenticate(), token, options));
    },
    // The status of a request to a resource server with this token.
    async call(token, url) {
      return twice(async () => {
        const answer = await oauth.protectedResourceRequest(token.access_token ?? token, 'GET', new URL(url), undefined, undefined, withDpop);
        await answer.text();
        return answer.status;
      });
    },
  };
}

// A JWT bearer assertion (RFC 7523).
export const makeAssertion = (privateKey, { iss, sub, aud, ...claims }) =>
  new SignJWT({ jti: randomUUID(), iss, sub, aud, ...claims })
    .setProtectedHeader({ alg: 'ES256' }).setIssuedAt().setExpirationTime('60s').sign(privateKey);
