// Apps for the cases, made as the official tools make theirs, and their administrators.
import { i } from '@instantdb/core';
import { init as initAdmin } from '@instantdb/admin';
import { HTTP_URL } from './server.mjs';
import { Failure } from './waiting.mjs';

// Users have bookshelves, bookshelves have books: the shape of the zeneca sample.
export const shelves = i.schema({
  entities: {
    users: i.entity({
      handle: i.string().unique().indexed(),
      fullName: i.string().optional(),
    }),
    bookshelves: i.entity({
      name: i.string(),
      order: i.number().indexed().optional(),
    }),
    books: i.entity({
      title: i.string().indexed(),
      isbn13: i.string().unique().optional(),
      pageCount: i.number().indexed().optional(),
      meta: i.json().optional(),
    }),
  },
  links: {
    usersBookshelves: {
      forward: { on: 'users', has: 'many', label: 'bookshelves' },
      reverse: { on: 'bookshelves', has: 'many', label: 'users' },
    },
    bookshelvesBooks: {
      forward: { on: 'bookshelves', has: 'many', label: 'books' },
      reverse: { on: 'books', has: 'many', label: 'bookshelves' },
    },
  },
});

export async function createApp(schema) {
  const url = `${HTTP_URL}/dash/apps/ephemeral`;
  const request = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ title: 'official clients', schema }),
    signal: AbortSignal.timeout(8_000),
  };
  const response = await fetch(url, request).catch((e) => {
    throw new Failure(`POST ${url}: ${e.cause?.code ?? e.message}`);
  });
  const text = await response.text();
  if (response.status !== 200) throw new Failure(`POST ${url}: HTTP ${response.status} ${text.slice(0, 300)}`);
  const { app } = JSON.parse(text);
  return { id: app.id, adminToken: app['admin-token'] };
}

export function admin(app) {
  return initAdmin({ appId: app.id, adminToken: app.adminToken, apiURI: HTTP_URL });
}

// Changes what the app turns on beyond InstantDB; gives the status and all settings.
export async function changeSettings(app, change) {
  const response = await fetch(`${HTTP_URL}/dash/apps/${app.id}/settings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${app.adminToken}` },
    body: JSON.stringify(change),
    signal: AbortSignal.timeout(8_000),
  });
  const { settings } = await response.json();
  return settings ? { status: response.status, settings } : { status: response.status };
}
