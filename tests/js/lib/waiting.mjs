// Waiting for what must happen, and saying what was seen when it does not.
import { inspect } from 'node:util';

const WAIT_LIMIT_MS = 8_000;

// A finding of a case, as opposed to a fault in it.
export class Failure extends Error {}

export function show(value) {
  const text = inspect(value, { depth: 8, breakLength: Infinity, compact: true });
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}

// Waits for `check` to give something truthy; it is called again at each `changed`.
export function until(check, changed, what, seen = () => '', limit = WAIT_LIMIT_MS) {
  return new Promise((resolve, reject) => {
    const settle = (fn, value) => {
      clearTimeout(timer);
      stop();
      fn(value);
    };
    const look = () => {
      try {
        const value = check();
        if (value) settle(resolve, value);
      } catch (e) {
        settle(reject, e);
      }
    };
    const timer = setTimeout(
      () => settle(reject, new Failure(`not within ${limit} ms: ${what}; last: ${show(seen())}`)),
      limit,
    );
    const stop = changed(look);
    look();
  });
}

// Tells listeners that something changed: what `until` waits on.
export class Signal {
  #listeners = new Set();

  listen = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  raise() {
    for (const listener of [...this.#listeners]) listener();
  }
}
