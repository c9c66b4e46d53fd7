// Input that no official client sends. Each gets the error form of the reference, and the same
// connection serves on.
import { BAD_REQUEST, group } from '../lib/harness.mjs';
import { shelves } from '../lib/apps.mjs';
import { show } from '../lib/waiting.mjs';
import { triples } from '../lib/raw.mjs';

const test = group('hostile');

const QUERY = { books: {} };

// The connection still answers a query and takes a write.
async function servesOn(t, session, after) {
  const title = `after ${after}`;
  const written = await session.transact(session.steps('books', t.id(), { title }));
  t.eq(written.op, 'transact-ok', `a write after ${after}`);
  const q = { books: { $: { where: { title } } } };
  const answer = await session.ask({ op: 'add-query', q });
  t.eq(answer.op, 'add-query-ok', `a query after ${after}`);
  t.ok(triples(answer.result).some(([, , v]) => v === title), `the row written after ${after}`);
}

async function opened(t) {
  const app = await t.app(shelves);
  return { app, session: await t.raw(app) };
}

const FRAMES = {
  'empty text': '',
  'a word': 'hello',
  'half an object': '{"op":',
  'an object and more': '{"op":"add-query","q":{}} {}',
  'a number': '42',
  'a string': '"init"',
  null: 'null',
  'an empty array': '[]',
  'an array of messages': '[{"op":"add-query","q":{"books":{}}}]',
  'a lone surrogate': '{"op":"\\ud800',
  'deep arrays': '['.repeat(200_000),
  'deep objects': '{"op":'.repeat(200_000),
  'a deep value': `{"op":"add-query","q":${'{"books":'.repeat(20_000)}{}${'}'.repeat(20_000)}}`,
};

for (const [name, text] of Object.entries(FRAMES)) {
  test(`frame-is-${name.replaceAll(' ', '-')}`, async (t) => {
    const { app, session } = await opened(t);
    session.sendText(text);
    t.error(await session.take((m) => m.op === 'error', 'an error'), undefined, BAD_REQUEST);
    await servesOn(t, session, name);
    // The same before init.
    const fresh = await t.raw();
    fresh.sendText(text);
    t.error(await fresh.take((m) => m.op === 'error', 'an error before init'), undefined, BAD_REQUEST);
    t.eq((await fresh.init(app)).op, 'init-ok', 'init afterwards');
  });
}

test('frame-is-binary', async (t) => {
  const { session } = await opened(t);
  session.ws.send(Buffer.from([0, 1, 2, 0xff]));
  await servesOn(t, session, 'a binary frame');
});

// The names that the original uses between its own parts are no ops of a client's.
const NO_OPS = ['nonsense', '', 'refresh', 'error', 'refresh-presence', 'server-broadcast', 'refresh-sync-table', 'sse-init'];

for (const op of NO_OPS) {
  test(`unknown-op-${op || 'empty'}`, async (t) => {
    const { session } = await opened(t);
    const sent = session.send({ op });
    const answer = await session.answer(sent);
    t.error(answer, sent, 'param-malformed');
    t.eq(answer.message, 'Invalid op', 'message');
    t.eq(answer.hint.op, op, 'hint.op');
    await servesOn(t, session, 'an unknown op');
  });
}

for (const [name, message] of Object.entries({ missing: {}, null: { op: null }, number: { op: 5 }, object: { op: {} } })) {
  test(`op-is-${name}`, async (t) => {
    const { session } = await opened(t);
    const sent = session.send(message);
    const answer = await session.answer(sent);
    t.error(answer, undefined, BAD_REQUEST);
    await servesOn(t, session, 'a message without an op');
  });
}

const BEFORE_INIT = {
  'add-query': { q: QUERY },
  'remove-query': { q: QUERY },
  transact: { 'tx-steps': [] },
};

for (const [op, fields] of Object.entries(BEFORE_INIT)) {
  test(`before-init-${op}`, async (t) => {
    const app = await t.app(shelves);
    const session = await t.raw();
    const sent = session.send({ op, ...fields });
    const answer = await session.answer(sent);
    t.error(answer, sent, 'validation-failed');
    t.ok(/init/.test(answer.message), `the message names init: ${answer.message}`);
    t.eq((await session.init(app)).op, 'init-ok', 'init afterwards');
    await servesOn(t, session, `${op} before init`);
  });
}

const NOBODY = '00000000-0000-4000-8000-000000000000';

const INIT = {
  'no-app-id': [{}, 'param-missing', (hint) => hint.in],
  'app-id-null': [{ 'app-id': null }, 'param-missing', (hint) => hint.in],
  'app-id-no-uuid': [{ 'app-id': 'my app' }, 'param-malformed', (hint) => hint.in],
  'app-id-number': [{ 'app-id': 5 }, 'param-malformed', (hint) => hint.in],
  'app-id-object': [{ 'app-id': {} }, 'param-malformed', (hint) => hint.in],
  'app-unknown': [{ 'app-id': NOBODY }, 'record-not-found', (hint) => [hint['record-type']], ['app']],
};

for (const [name, [fields, type, part, expected = ['app-id']]] of Object.entries(INIT)) {
  test(`init-${name}`, async (t) => {
    const app = await t.app(shelves);
    const session = await t.raw();
    const sent = session.send({ op: 'init', ...fields });
    const answer = await session.answer(sent);
    t.error(answer, sent, type);
    t.eq(part(answer.hint), expected, `the hint ${show(answer.hint)}`);
    t.eq((await session.init(app)).op, 'init-ok', 'a good init afterwards');
    await servesOn(t, session, 'a bad init');
  });
}

// Official clients sign out by exactly this type and record type.
test('init-unknown-user', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw();
  const sent = session.send({ op: 'init', 'app-id': app.id, 'refresh-token': NOBODY });
  const answer = await session.answer(sent);
  t.error(answer, sent, 'record-not-found');
  t.eq(answer.hint['record-type'], 'app-user', 'record-type');
  t.eq((await session.init(app)).op, 'init-ok', 'an anonymous init afterwards');
});

test('init-wrong-admin-token', async (t) => {
  const [app, another] = await Promise.all([t.app(shelves), t.app(shelves)]);
  for (const token of [NOBODY, another.adminToken]) {
    const session = await t.raw();
    const sent = session.send({ op: 'init', 'app-id': app.id, '__admin-token': token });
    t.error(await session.answer(sent), sent, 'record-not-found');
  }
});

for (const [field, value] of [
  ['refresh-token', 5],
  ['refresh-token', { token: NOBODY }],
  ['refresh-token', 'no uuid'],
  ['__admin-token', 5],
  ['__admin-token', [NOBODY]],
]) {
  test(`init-${field.replace('__', '')}-${Array.isArray(value) ? 'array' : typeof value}`, async (t) => {
    const app = await t.app(shelves);
    const session = await t.raw();
    const sent = session.send({ op: 'init', 'app-id': app.id, [field]: value });
    t.error(await session.answer(sent), sent, [...BAD_REQUEST, 'record-not-found']);
    t.eq((await session.init(app)).op, 'init-ok', 'a good init afterwards');
  });
}

// Versions only say what a client understands: nothing intelligible there means an old client.
for (const [name, versions] of Object.entries({ number: 5, text: 'v1', array: [1], values: { '@instantdb/core': 5 } })) {
  test(`init-versions-${name}`, async (t) => {
    const app = await t.app(shelves);
    const session = await t.raw();
    const sent = session.send({ op: 'init', 'app-id': app.id, versions });
    const answer = await session.answer(sent);
    if (answer.op === 'init-ok') session.attrs = answer.attrs;
    else {
      t.error(answer, sent);
      t.eq((await session.init(app)).op, 'init-ok', 'a good init afterwards');
    }
    await servesOn(t, session, 'odd versions');
  });
}

test('init-twice', async (t) => {
  const { app, session } = await opened(t);
  const sent = session.send({ op: 'init', 'app-id': app.id });
  t.error(await session.answer(sent), sent, 'validation-failed');
  await servesOn(t, session, 'a second init');
});

test('client-event-id-of-another-type', async (t) => {
  const { session } = await opened(t);
  for (const id of [5, {}, [], true, null]) {
    const before = session.received.length;
    session.send({ op: 'add-query', q: { users: { $: { limit: 1 } } }, 'client-event-id': id });
    await session.take(
      (m) => session.received.indexOf(m) >= before && (m.op === 'error' || m.op.startsWith('add-query-')),
      `an answer to the id ${show(id)}`,
    );
  }
  await servesOn(t, session, 'odd event ids');
});

const QUERIES = {
  missing: undefined,
  null: null,
  number: 7,
  text: 'books',
  boolean: true,
  'empty-array': [],
  array: ['books'],
  'namespace-is-number': { books: 5 },
  'namespace-is-text': { books: 'all' },
  'options-are-number': { books: { $: 5 } },
  'where-is-number': { books: { $: { where: 5 } } },
  'limit-is-text': { books: { $: { limit: 'ten' } } },
  'limit-is-negative': { books: { $: { limit: -1 } } },
  'offset-is-object': { books: { $: { offset: {} } } },
  'order-is-number': { books: { $: { order: 5 } } },
  'order-is-no-direction': { books: { $: { order: { serverCreatedAt: 'sideways' } } } },
  'in-is-number': { books: { $: { where: { title: { $in: 5 } } } } },
  'or-is-object': { books: { $: { where: { or: {} } } } },
};

for (const [name, q] of Object.entries(QUERIES)) {
  test(`query-${name}`, async (t) => {
    const { session } = await opened(t);
    const sent = session.send({ op: 'add-query', q });
    const answer = await session.answer(sent);
    t.error(answer, sent, 'validation-failed');
    // The client finds its subscription by the query that comes back.
    if (q !== undefined) t.eq(answer['original-event'].q, q, 'original-event.q');
    await servesOn(t, session, 'a bad query');
  });
}

test('remove-query-that-nobody-added', async (t) => {
  const { session } = await opened(t);
  const answer = await session.ask({ op: 'remove-query', q: { films: {} } });
  t.eq(answer.op, 'remove-query-ok', 'answer');
  await servesOn(t, session, 'an odd remove-query');
});

// Nothing is subscribed under such a query, so that an ok is as true as an error.
for (const [name, q] of Object.entries({ missing: undefined, null: null, number: 7 })) {
  test(`remove-query-${name}`, async (t) => {
    const { session } = await opened(t);
    const sent = session.send({ op: 'remove-query', q });
    const answer = await session.answer(sent);
    if (answer.op !== 'remove-query-ok') t.error(answer, sent);
    await servesOn(t, session, 'an odd remove-query');
  });
}

const E = '11111111-1111-4111-8111-111111111111';
const A = '22222222-2222-4222-8222-222222222222';
const ident = (n, label) => [`3333333${n}-3333-4333-8333-333333333333`, 'books', label];
const attr = (change) => ({
  id: A,
  'forward-identity': ident(0, 'colour'),
  'value-type': 'blob',
  cardinality: 'one',
  'unique?': false,
  'index?': false,
  ...change,
});

// What stands for TITLE is the id of books.title.
const TITLE = 'TITLE';
const STEPS = {
  missing: undefined,
  null: null,
  number: 5,
  text: 'add-triple',
  boolean: true,
  'step-null': [null],
  'step-number': [5],
  'step-text': ['add-triple'],
  'step-object': [{ op: 'add-triple' }],
  'step-empty': [[]],
  'kind-number': [[5, E, TITLE, 'x']],
  'kind-unknown': [['explode', E, TITLE, 'x']],
  'add-triple-alone': [['add-triple']],
  'add-triple-short': [['add-triple', E, TITLE]],
  'add-triple-entity-number': [['add-triple', 5, TITLE, 'x']],
  'add-triple-entity-null': [['add-triple', null, TITLE, 'x']],
  'add-triple-entity-no-uuid': [['add-triple', 'book one', TITLE, 'x']],
  'add-triple-entity-object': [['add-triple', {}, TITLE, 'x']],
  'add-triple-entity-odd-lookup': [['add-triple', [TITLE], TITLE, 'x']],
  'add-triple-attr-number': [['add-triple', E, 5, 'x']],
  'add-triple-attr-null': [['add-triple', E, null, 'x']],
  'add-triple-attr-no-uuid': [['add-triple', E, 'title', 'x']],
  'add-triple-options-number': [['add-triple', E, TITLE, 'x', 5]],
  'add-triple-mode-number': [['add-triple', E, TITLE, 'x', { mode: 5 }]],
  'add-triple-mode-unknown': [['add-triple', E, TITLE, 'x', { mode: 'destroy' }]],
  'deep-merge-entity-number': [['deep-merge-triple', 5, TITLE, {}]],
  'deep-merge-short': [['deep-merge-triple', E]],
  'retract-entity-number': [['retract-triple', 5, TITLE, 'x']],
  'retract-attr-number': [['retract-triple', E, 5, 'x']],
  'delete-entity-alone': [['delete-entity']],
  'delete-entity-number': [['delete-entity', 5, 'books']],
  'delete-entity-no-uuid': [['delete-entity', 'book one', 'books']],
  'delete-entity-namespace-number': [['delete-entity', E, 5]],
  'add-attr-alone': [['add-attr']],
  'add-attr-number': [['add-attr', 5]],
  'add-attr-empty': [['add-attr', {}]],
  'add-attr-id-no-uuid': [['add-attr', attr({ id: 'colour' })]],
  'add-attr-identity-text': [['add-attr', attr({ 'forward-identity': 'colour' })]],
  'add-attr-identity-short': [['add-attr', attr({ 'forward-identity': [A, 'books'] })]],
  'add-attr-identity-numbers': [['add-attr', attr({ 'forward-identity': [1, 2, 3] })]],
  'add-attr-value-type-unknown': [['add-attr', attr({ 'value-type': 'picture' })]],
  'add-attr-cardinality-unknown': [['add-attr', attr({ cardinality: 'few' })]],
  'add-attr-unique-text': [['add-attr', attr({ 'unique?': 'yes' })]],
  'add-attr-index-number': [['add-attr', attr({ 'index?': 5 })]],
  'update-attr-number': [['update-attr', 5]],
  'update-attr-empty': [['update-attr', {}]],
  'delete-attr-number': [['delete-attr', 5]],
  'delete-attr-no-uuid': [['delete-attr', 'colour']],
};

// What the original's database finds out, and not its validation.
const RAISED = {
  'add-triple-attr-unknown': [['add-triple', E, A, 'x']],
};

for (const [name, steps] of Object.entries({ ...STEPS, ...RAISED })) {
  test(`transact-${name}`, async (t) => {
    const { session } = await opened(t);
    const fill = (v) => (v === TITLE ? session.attr('books', 'title') : Array.isArray(v) ? v.map(fill) : v);
    const good = session.steps('books', t.id(), { title: 'good' });
    // A good step in front: the transaction is refused as a whole.
    const whole = Array.isArray(steps) ? [...good, ...fill(steps)] : steps;
    const sent = session.send({ op: 'transact', 'tx-steps': whole });
    t.error(await session.answer(sent), sent, name in RAISED ? 'sql-raise' : undefined);
    const { op, result } = await session.ask({ op: 'add-query', q: QUERY });
    t.eq([op, triples(result ?? [])], ['add-query-ok', []], 'nothing of it was written');
    await servesOn(t, session, 'a bad transaction');
  });
}
