// The tests' own codec (wire.mjs) against the byte vectors of the protocol, so that it cannot drift from PROTOCOL.md.

import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { OPERATION_ERROR, decode, encode, messages, operations, takeFrames } from './wire.mjs';
import { repository } from './world.mjs';

const text = await readFile(join(repository, 'tests/vectors/wire.txt'), 'utf8');
const vectors = text.split('\nvector ').slice(1).map((block) => {
  const [name, ...lines] = block.trimEnd().split('\n');
  const values = (word) => lines.filter((line) => line.startsWith(`${word} `)).map((line) => line.slice(word.length + 1));
  return {
    name,
    operation: Number(values('operation')[0]),
    fields: values('field').map((line) => line.split(' ')).map(([tag, field, type]) => ({ tag: Number(tag), field, type })),
    bytes: Buffer.from(values('hex').join(''), 'hex'),
  };
});

const tableOf = ({ operation }) => {
  if (operation === OPERATION_ERROR) return messages.error;
  const [name] = Object.entries(operations).find(([, number]) => number === (operation & 0x7fff));
  return messages[`${name}${operation & 0x8000 ? 'Answer' : 'Request'}`];
};
// A list of bytes or texts is in the vectors what one of its items is; the tests take some bytes as text.
const fits = (type, vector) => type === vector || (vector === 'text' && type === 'texts') || (vector === 'bytes' && ['text', 'bytesList'].includes(type)) ||
  (vector === 'bytes' && typeof type === 'object');

test('wire.mjs has every operation and field of the vectors, and reads and writes their values', () => {
  assert.deepEqual(new Set(vectors.map(({ operation }) => operation & 0x7fff)), new Set([...Object.values(operations), OPERATION_ERROR & 0x7fff]));
  for (const vector of vectors) {
    const table = tableOf(vector);
    const { frames: [frame], rest } = takeFrames(vector.bytes);
    assert.equal(rest.length, 0, vector.name);
    assert.equal(frame.operation, vector.operation, vector.name);
    for (const { tag, field, type } of vector.fields) {
      assert.equal(table[field]?.[0], tag, `${vector.name}: ${field}`);
      assert.ok(fits(table[field][1], type), `${vector.name}: ${field} is ${type}`);
    }
    const values = decode(table, frame.fields);
    for (const { field } of vector.fields) assert.ok(values[field] !== undefined && values[field] !== 0 && values[field] !== false, `${vector.name}: ${field}`);
    assert.deepEqual(decode(table, encode(table, values)), values, vector.name);
  }
});
