// Where oidc-provider keeps what it must remember (replayed jti, opaque tokens, sessions, grants): this process's memory,
// until it expires. One store for each server started. Clients are kept here as well, so that a test can add one later.

const SWEEP_EVERY = 1000; // writes

export function memoryAdapter() {
  const entries = new Map(); // "Model:id" → { payload, expires in ms }
  let writes = 0;

  const live = (key) => {
    const entry = entries.get(key);
    return entry && entry.expires > Date.now() ? entry.payload : undefined;
  };
  const first = (model, member, value) => {
    for (const key of entries.keys()) {
      if (key.startsWith(`${model}:`) && live(key)?.[member] === value) return live(key);
    }
    return undefined;
  };
  const sweep = () => {
    const now = Date.now();
    for (const [key, { expires }] of entries) if (expires <= now) entries.delete(key);
  };

  return (model) => ({
    async upsert(id, payload, expiresIn) {
      if (++writes % SWEEP_EVERY === 0) sweep();
      entries.set(`${model}:${id}`, { payload, expires: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
    },
    find: async (id) => live(`${model}:${id}`),
    findByUid: async (uid) => first(model, 'uid', uid),
    findByUserCode: async (userCode) => first(model, 'userCode', userCode),
    async consume(id) {
      const payload = live(`${model}:${id}`);
      if (payload) payload.consumed = Math.floor(Date.now() / 1000);
    },
    destroy: async (id) => void entries.delete(`${model}:${id}`),
    async revokeByGrantId(grantId) {
      for (const [key, { payload }] of entries) if (payload.grantId === grantId) entries.delete(key);
    },
  });
}
