// A TCP line to the server whose client side can be held: bytes wait, none are lost.
import net from 'node:net';

export class Line {
  #server;
  #held = false;
  #pairs = new Set();

  static async open(target) {
    const line = new Line();
    const { hostname, port, pathname } = new URL(target);
    line.#server = net.createServer((client) => line.#join(client, net.connect(Number(port), hostname)));
    await new Promise((resolve, reject) => {
      line.#server.once('error', reject);
      line.#server.listen(0, '127.0.0.1', resolve);
    });
    line.wsUrl = `ws://127.0.0.1:${line.#server.address().port}${pathname}`;
    return line;
  }

  // From now on nothing that clients send reaches the server.
  hold() {
    this.#held = true;
  }

  // Delivers what was held, and what comes.
  release() {
    this.#held = false;
    for (const pair of this.#pairs) this.#flush(pair);
  }

  async close() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const { client, upstream } of this.#pairs) {
      client.destroy();
      upstream.destroy();
    }
    await closed;
  }

  #join(client, upstream) {
    const pair = { client, upstream, waiting: [] };
    this.#pairs.add(pair);
    client.setNoDelay(true);
    upstream.setNoDelay(true);
    client.on('data', (bytes) => {
      pair.waiting.push(bytes);
      this.#flush(pair);
    });
    upstream.on('data', (bytes) => client.write(bytes));
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      from.on('error', () => {});
      from.on('close', () => {
        to.destroy();
        this.#pairs.delete(pair);
      });
    }
  }

  #flush({ upstream, waiting }) {
    if (this.#held) return;
    for (const bytes of waiting.splice(0)) upstream.write(bytes);
  }
}
