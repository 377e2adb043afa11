// Where oidc-provider keeps what it must remember (replayed jti, opaque tokens, sessions, grants): this process's memory,
// until it expires. One store for each server started. Clients are kept here as well, so that a test can add one later.

const SWEEP_EVERY = 1000; // writes

export function memoryAdapter() {
  const models = new Map(); // name → its entries: id → { payload, expires in ms }
  let writes = 0;

  const entriesOf = (model) => models.get(model) ?? models.set(model, new Map()).get(model);
  const isLive = (entry) => entry !== undefined && entry.expires > Date.now();
  const sweep = () => {
    for (const entries of models.values()) {
      for (const [id, entry] of entries) if (!isLive(entry)) entries.delete(id);
    }
  };

  return (model) => {
    const entries = entriesOf(model);
    const find = (id) => (isLive(entries.get(id)) ? entries.get(id).payload : undefined);
    const first = (member, value) => {
      for (const entry of entries.values()) if (isLive(entry) && entry.payload[member] === value) return entry.payload;
      return undefined;
    };
    return {
      async upsert(id, payload, expiresIn) {
        if (++writes % SWEEP_EVERY === 0) sweep();
        entries.set(id, { payload, expires: expiresIn ? Date.now() + expiresIn * 1000 : Infinity });
      },
      find: async (id) => find(id),
      findByUid: async (uid) => first('uid', uid),
      findByUserCode: async (userCode) => first('userCode', userCode),
      async consume(id) {
        const payload = find(id);
        if (payload) payload.consumed = Math.floor(Date.now() / 1000);
      },
      destroy: async (id) => void entries.delete(id),
      async revokeByGrantId(grantId) {
        for (const [id, { payload }] of entries) if (payload.grantId === grantId) entries.delete(id);
      },
    };
  };
}
