// Cases, what each of them is given, and what it may say about what it found.
import { randomUUID } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { createApp } from './apps.mjs';
import { Line } from './line.mjs';
import { Peer } from './peer.mjs';
import { RawSession } from './raw.mjs';
import { WS_URL } from './server.mjs';
import { Failure, show } from './waiting.mjs';

export const cases = [];

const CASE_LIMIT_MS = 20_000;

// group('live') gives a function that registers cases named own/live/...
export function group(name) {
  return (short, fn) => cases.push({ name: `own/${name}/${short}`, fn });
}

// Runs one case to its end; gives the reason of its failure, or undefined.
export async function runCase({ fn }) {
  const t = new Context();
  let timer;
  try {
    const limit = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Failure(`no end within ${CASE_LIMIT_MS} ms`)), CASE_LIMIT_MS);
    });
    await Promise.race([fn(t), limit]);
    return undefined;
  } catch (e) {
    const text = e instanceof Failure ? e.message : (e?.stack ?? String(e));
    return text.replace(/\s+/g, ' ').slice(0, 600);
  } finally {
    clearTimeout(timer);
    await t.release();
  }
}

// What a case gets as `t`. What it opens is closed when the case ends.
class Context {
  #cleanups = [];

  id = randomUUID;

  defer(cleanup) {
    this.#cleanups.push(cleanup);
  }

  async release() {
    for (const cleanup of this.#cleanups.reverse()) await cleanup();
  }

  app(schema) {
    return createApp(schema);
  }

  // An official client in a process of its own, connected.
  async peer(app, { wsUrl = WS_URL } = {}) {
    const peer = new Peer(app.id, wsUrl);
    this.defer(() => peer.exit());
    await peer.status('authenticated');
    return peer;
  }

  // A connection that sends what the case says; initialised if an app is given.
  async raw(app, init = {}) {
    const session = await RawSession.open(WS_URL);
    this.defer(() => session.close());
    if (app) {
      const answer = await session.init(app, init);
      this.eq(answer.op, 'init-ok', 'answer to init');
    }
    return session;
  }

  // A TCP line to the server that can be held.
  async line() {
    const line = await Line.open(WS_URL);
    this.defer(() => line.close());
    return line;
  }

  ok(value, what) {
    if (!value) throw new Failure(what);
    return value;
  }

  eq(actual, expected, what) {
    if (!isDeepStrictEqual(actual, expected)) {
      throw new Failure(`${what}: expected ${show(expected)}, got ${show(actual)}`);
    }
  }

  // An `error` message of the reference's form, for the client message `sent`.
  error(message, sent, types = BAD_REQUEST) {
    this.eq(message.op, 'error', `op of the answer ${show(message)}`);
    this.ok(message.status === 400, `status 400, not ${show(message.status)}`);
    this.ok([types].flat().includes(message.type), `one of the types ${types}, not ${show(message)}`);
    this.ok(typeof message.message === 'string' && message.message !== '', `a message in ${show(message)}`);
    this.ok(typeof message.hint === 'object', `a hint in ${show(message)}`);
    if (sent === undefined) return;
    this.eq(message['client-event-id'], sent['client-event-id'], 'client-event-id of the error');
    this.ok(typeof message['original-event'] === 'object', `an original-event in ${show(message)}`);
    this.eq(message['original-event'].op, sent.op, 'original-event.op of the error');
    for (const secret of ['refresh-token', '__admin-token']) {
      this.ok(!(secret in message['original-event']), `${secret} must not be sent back`);
    }
  }
}

// The types by which the reference refuses what is not well formed.
export const BAD_REQUEST = ['validation-failed', 'param-malformed', 'param-missing'];
