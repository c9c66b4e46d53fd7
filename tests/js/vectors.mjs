// Asks an app queries through the official client, as a page would, and prints its answers.
//
//   node vectors.mjs HTTP-URL WS-URL < {"app": ID, "queries": [..]}, a line for each app
//
// Prints a line for each query, in order: {"data", "pageInfo"} or {"error"}.
import './lib/browser.mjs';
import { createInterface } from 'node:readline';

const { init } = await import('@instantdb/core');
const [, , apiURI, websocketURI] = process.argv;

const answer = async (db, query) => {
  try {
    const { data, pageInfo } = await db.queryOnce(query);
    return { data, pageInfo };
  } catch (error) {
    return { error: error.message ?? String(error) };
  }
};

for await (const line of createInterface({ input: process.stdin })) {
  const { app, queries } = JSON.parse(line);
  const db = init({ appId: app, apiURI, websocketURI, disableValidation: true, devtool: false });
  for (const query of queries) {
    process.stdout.write(`${JSON.stringify(await answer(db, query))}\n`);
  }
  db.shutdown?.();
}
process.exit(0);
