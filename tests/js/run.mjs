#!/usr/bin/env node
// The project's own cases for the official JavaScript clients, against the server at TEST_HTTP_URL.
//
//     TEST_HTTP_URL=http://127.0.0.1:8888 node run.mjs [--only PATTERN] [--list]
//
// One line a case (`ok NAME`, `FAIL NAME: reason`), then `N passed, N failed, N skipped`. Exits with
// 1 when a case failed or none was selected. A pattern is a part of a name, a glob (own/live/*), a
// /regular expression/, or several of these joined by commas.
import { readdir } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { cases, runCase } from './lib/harness.mjs';

const { values } = parseArgs({
  options: { only: { type: 'string' }, list: { type: 'boolean', default: false } },
});

const escape = (text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&');

function matcher(pattern) {
  if (pattern.length > 1 && pattern.startsWith('/') && pattern.endsWith('/')) {
    const expression = new RegExp(pattern.slice(1, -1));
    return (name) => expression.test(name);
  }
  if (pattern.includes('*')) {
    const expression = new RegExp(`^${pattern.split('*').map(escape).join('.*')}$`);
    return (name) => expression.test(name);
  }
  return (name) => name.includes(pattern);
}

const folder = new URL('./cases/', import.meta.url);
for (const file of (await readdir(folder)).filter((f) => f.endsWith('.test.mjs')).sort()) {
  await import(new URL(file, folder).href);
}

const matchers = values.only?.split(',').map(matcher);
const selected = cases.filter((c) => !matchers || matchers.some((matches) => matches(c.name)));

const out = (line, then) => process.stdout.write(line + '\n', then);

if (values.list) {
  for (const c of selected) out(c.name);
} else {
  let failed = 0;
  for (const c of selected) {
    const failure = await runCase(c);
    if (failure === undefined) out(`ok ${c.name}`);
    else {
      failed += 1;
      out(`FAIL ${c.name}: ${failure}`);
    }
  }
  out(`${selected.length - failed} passed, ${failed} failed, 0 skipped`, () => {
    process.exit(failed > 0 || selected.length === 0 ? 1 : 0);
  });
}
