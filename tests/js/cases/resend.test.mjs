// A transaction that is sent again with its client-event-id gets its first outcome and is not run
// again: clients send again whatever a lost connection left unanswered.
import { group } from '../lib/harness.mjs';
import { admin, shelves } from '../lib/apps.mjs';

const test = group('resend');

const titles = async (app) => (await admin(app).query({ books: {} })).books.map((b) => b.title).sort();

test('accepted-on-one-connection', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw(app);
  const book = t.id();
  const steps = session.steps('books', book, { title: 'first' }, 'create');
  const first = await session.transact(steps, { 'client-event-id': 'again' });
  t.eq(first.op, 'transact-ok', 'the first answer');
  const later = await session.transact(session.steps('books', book, { title: 'later' }));
  t.ok(later['tx-id'] > first['tx-id'], 'a later transaction has a higher tx-id');
  const second = await session.transact(steps, { 'client-event-id': 'again' });
  t.eq(second.op, 'transact-ok', 'the answer to the resend');
  t.eq(second['tx-id'], first['tx-id'], 'tx-id of the resend');
  t.eq(await titles(app), ['later'], 'titles: the resend did not run');
});

test('accepted-on-another-connection', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw(app);
  const book = t.id();
  const steps = session.steps('books', book, { title: 'first' });
  const event = t.id();
  const first = await session.transact(steps, { 'client-event-id': event });
  t.eq(first.op, 'transact-ok', 'the first answer');
  await session.transact([['delete-entity', book, 'books']]);
  await session.close();
  const returned = await t.raw(app);
  const second = await returned.transact(steps, { 'client-event-id': event });
  t.eq([second.op, second['tx-id']], ['transact-ok', first['tx-id']], 'the answer to the resend');
  t.eq(await titles(app), [], 'titles: the deleted book is not back');
});

test('rejected-stays-rejected', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw(app);
  const holder = t.id();
  await session.transact(session.steps('books', holder, { title: 'holder', isbn13: '978' }));
  const steps = session.steps('books', t.id(), { title: 'second', isbn13: '978' });
  const event = t.id();
  const first = await session.transact(steps, { 'client-event-id': event });
  t.error(first, { op: 'transact', 'client-event-id': event }, 'record-not-unique');
  // What stood in its way goes; the outcome is not to change.
  await session.transact([['delete-entity', holder, 'books']]);
  for (const from of [session, await t.raw(app)]) {
    const again = await from.transact(steps, { 'client-event-id': event });
    t.error(again, { op: 'transact', 'client-event-id': event }, 'record-not-unique');
    t.eq(again.message, first.message, 'message of the resend');
  }
  t.eq(await titles(app), [], 'titles: the rejected book was never written');
  const fresh = await session.transact(steps);
  t.eq(fresh.op, 'transact-ok', 'the same steps under another event id');
});

test('malformed-stays-rejected', async (t) => {
  const app = await t.app(shelves);
  const session = await t.raw(app);
  const event = t.id();
  const bad = [['add-triple', 'no uuid', session.attr('books', 'title'), 'x']];
  t.error(await session.transact(bad, { 'client-event-id': event }), { op: 'transact', 'client-event-id': event });
  t.error(await session.transact(bad, { 'client-event-id': event }), { op: 'transact', 'client-event-id': event });
  t.eq(await titles(app), [], 'titles');
});

test('sent-twice-at-once', async (t) => {
  const app = await t.app(shelves);
  const sessions = await Promise.all([t.raw(app), t.raw(app)]);
  const event = t.id();
  const steps = sessions[0].steps('books', t.id(), { title: 'once' }, 'create');
  const answers = await Promise.all(
    [...sessions, ...sessions].map((s) => s.transact(steps, { 'client-event-id': event })),
  );
  t.eq(answers.map((a) => a.op), Array(4).fill('transact-ok'), 'answers');
  t.eq(new Set(answers.map((a) => a['tx-id'])).size, 1, 'number of tx-ids');
  t.eq(await titles(app), ['once'], 'titles');
});

test('apps-do-not-share-event-ids', async (t) => {
  const apps = await Promise.all([t.app(shelves), t.app(shelves)]);
  for (const app of apps) {
    const session = await t.raw(app);
    const steps = session.steps('books', t.id(), { title: 'mine' });
    const answer = await session.transact(steps, { 'client-event-id': 'shared id' });
    t.eq(answer.op, 'transact-ok', 'answer');
    t.eq(await titles(app), ['mine'], 'titles');
  }
});
