// Update operators in the JSON of official clients: data until the app turns them on, and then counted
// exactly once, whoever sends them.
import { group } from '../lib/harness.mjs';
import { admin, changeSettings, shelves } from '../lib/apps.mjs';

const test = group('operators');

const meta = async (app, book) => (await admin(app).query({ books: {} })).books.find((b) => b.id === book)?.meta;

// Changes settings; the status, and what the setting is now.
const operators = async (app, change) => {
  const { status, settings } = await changeSettings(app, change);
  return [status, settings.operators];
};

async function appWithBook(t, values) {
  const app = await t.app(shelves);
  const book = t.id();
  await admin(app).transact(admin(app).tx.books[book].update({ title: 'one', ...values }));
  return { app, book };
}

test('off-at-first', async (t) => {
  const { app, book } = await appWithBook(t, {});
  const peer = await t.peer(app);
  await peer.write(['update', 'books', book, { meta: { $increment: 1 } }]);
  t.eq(await meta(app, book), { $increment: 1 }, 'the object is data');
  await admin(app).transact(admin(app).tx.books[book].update({ meta: { $push: 1 } }));
  t.eq(await meta(app, book), { $push: 1 }, 'the object is data from the admin API, too');
});

test('settings-are-the-admins', async (t) => {
  const app = await t.app(shelves);
  t.eq(await operators(app, {}), [200, false], 'the settings at first');
  const stranger = { ...app, adminToken: t.id() };
  t.eq((await changeSettings(stranger, { operators: true })).status, 400, 'status for a stranger');
  t.eq((await changeSettings(app, { operator: true })).status, 400, 'status for a misspelt setting');
  t.eq((await changeSettings(app, { operators: 'yes' })).status, 400, 'status for a value of the wrong type');
  t.eq(await operators(app, {}), [200, false], 'the settings afterwards');
});

test('counted-in-the-order-of-commits', async (t) => {
  const { app, book } = await appWithBook(t, { pageCount: 10 });
  const writers = await Promise.all([t.peer(app), t.peer(app)]);
  // A change of the settings holds for sessions that are open already.
  t.eq(await operators(app, { operators: true }), [200, true], 'the settings');
  const reader = await t.peer(app);
  const seen = reader.subscribe({ books: {} });
  await Promise.all(
    writers.flatMap((writer) =>
      [1, 2, 3, 4, 5].map((n) => writer.write(['update', 'books', book, { pageCount: { $increment: n } }])),
    ),
  );
  await admin(app).transact(admin(app).tx.books[book].update({ pageCount: { $decrement: 0.5 } }));
  await seen.until(({ books }) => books[0].pageCount === 39.5, 'the sum of all increments');
});

test('wrong-types-and-data-that-looks-like-it', async (t) => {
  const { app, book } = await appWithBook(t, { pageCount: 1 });
  await changeSettings(app, { operators: true });
  const peer = await t.peer(app);
  const refused = await peer.transact(
    ['update', 'books', book, { pageCount: 99 }],
    ['update', 'books', book, { title: { $increment: 1 } }],
  );
  t.eq(refused.event, 'error', 'the answer to an increment of text');
  t.ok(refused.message.includes('Cannot apply $increment to `books.title`'), `a reason in ${refused.message}`);
  const { books } = await admin(app).query({ books: {} });
  t.eq(books[0].pageCount, 1, 'the transaction as a whole is refused');
  await peer.write(['update', 'books', book, { meta: { $literal: { $increment: 1 } } }]);
  t.eq(await meta(app, book), { $increment: 1 }, 'what is literal is data');
});

test('a-resend-does-not-count-twice', async (t) => {
  const { app, book } = await appWithBook(t, { pageCount: 1 });
  await changeSettings(app, { operators: true });
  const session = await t.raw(app);
  const steps = [['add-triple', book, session.attr('books', 'pageCount'), { $increment: 1 }, { mode: 'update' }]];
  const event = t.id();
  for (const from of [session, session, await t.raw(app)]) {
    const answer = await from.transact(steps, { 'client-event-id': event });
    t.eq(answer.op, 'transact-ok', 'the answer');
  }
  const { books } = await admin(app).query({ books: {} });
  t.eq(books[0].pageCount, 2, 'pages');
});
