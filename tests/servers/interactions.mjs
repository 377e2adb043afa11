// The pages on which a user logs in and consents, as plainly as a program can use them (tests/flow/user.mjs):
// GET /interaction/UID tells, as JSON, what oidc-provider waits for: { prompt: 'login' | 'consent', params }; POST of the
// form fields below answers it and redirects on.
//   login=alice          who logs in, or consents
//   consent=no           refuses: access_denied
//   refuse=write         scopes that are not granted, separated by spaces

const path = /^\/interaction\/[\w-]+$/;

export function makeInteractions(provider) {
  async function consent({ grantId, session, params, prompt: { details } }, refused) {
    const grant = grantId
      ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    const split = (scopes) => [scopes.filter((scope) => !refused.has(scope)), scopes.filter((scope) => refused.has(scope))];
    const [granted, rejected] = split(details.missingOIDCScope ?? []);
    if (granted.length > 0) grant.addOIDCScope(granted);
    if (rejected.length > 0) grant.rejectOIDCScope(rejected);
    if (details.missingOIDCClaims) grant.addOIDCClaims(details.missingOIDCClaims);
    for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
      const [given, kept] = split(scopes);
      if (given.length > 0) grant.addResourceScope(resource, given);
      if (kept.length > 0) grant.rejectResourceScope(resource, kept);
    }
    for (const detail of details.rar ?? []) grant.addRar(detail);
    return grant.save();
  }

  async function answer(req, res, interaction) {
    const form = new URLSearchParams(Buffer.concat(await req.toArray()).toString());
    if (form.get('consent') === 'no') {
      const refusal = { error: 'access_denied', error_description: 'the user refused' };
      return provider.interactionFinished(req, res, refusal, { mergeWithLastSubmission: false });
    }
    const result = interaction.prompt.name === 'login'
      ? { login: { accountId: form.get('login') } }
      : { consent: { grantId: await consent(interaction, new Set((form.get('refuse') ?? '').split(' '))) } };
    return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: interaction.prompt.name !== 'login' });
  }

  // → true when the request was for one of these pages
  return async function handle(req, res) {
    if (!path.test(req.url)) return false;
    try {
      const interaction = await provider.interactionDetails(req, res);
      if (req.method === 'POST') await answer(req, res, interaction);
      else {
        const { prompt, params } = interaction;
        res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify({ prompt: prompt.name, params }));
      }
    } catch (error) {
      res.writeHead(400, { 'Content-Type': 'text/plain' }).end(`${error.error_description ?? error.message}\n`);
    }
    return true;
  };
}
