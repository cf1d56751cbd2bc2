/**
 * Every kind of job, with answers that are checked: node demo.js [ADDRESS]
 *
 * The address is the argument, else $ARRAYMILL_SERVER, else localhost:50051. The exit code is 1 when an answer is wrong.
 */

import assert from 'node:assert/strict';

import { apply, array, ArraymillError, Mill } from './arraymill.js';

const address = process.argv[2] ?? process.env.ARRAYMILL_SERVER ?? 'localhost:50051';

const ROWS = 1000;
const COLUMNS = 2000;
const LARGE_BYTES = 80 * 2 ** 20;

/** Steps by their names; each throws where an answer is not what it should be. */
const STEPS = {
  async 'small jobs keep the dtypes of NumPy'(mill) {
    const [total, mean] = await mill.compute(
      apply('sum', array(Int32Array.of(1, 2, -7))), // the sum of int32 is int64 in NumPy
      apply('mean', array(Float32Array.of(0.5, 1.5))),
    );
    same(total, 'int64', [], [-4n]);
    same(mean, 'float32', [], [1]);

    const z = array(Float64Array.of(3, 4, 0, -1), [2], 'complex128'); // 3+4i, -1i
    const [product, modulus] = await mill.compute(apply('prod', z), apply('absolute', z));
    same(product, 'complex128', [], [4, -3]);
    same(modulus, 'float64', [2], [5, 1]);

    const flags = array(Uint8Array.of(0, 1, 0), [3], 'bool');
    assert.equal((await mill.compute(apply('any', flags)))[0].item(), true);
  },

  async 'several inputs broadcast'(mill) {
    const column = array(Float64Array.of(1, 2, 3), [3, 1]);
    const row = array(Int32Array.of(10, 20));
    const [table, clipped, chosen] = await mill.compute(
      apply('add', column, row),
      apply('clip', row, { min: 15 }),
      apply('sum', column, { where: apply('greater', column, 1.5), axis: [0], keepdims: true }),
    );
    same(table, 'float64', [3, 2], [11, 21, 12, 22, 13, 23]);
    same(clipped, 'int32', [2], [15, 20]);
    same(chosen, 'float64', [1, 1], [5]);
  },

  async 'arrays without elements'(mill) {
    const none = array(new Float64Array(0), [0, 3]);
    const [sum, roots] = await mill.compute(apply('sum', none, { axis: 0 }), apply('sqrt', none));
    same(sum, 'float64', [3], [0, 0, 0]);
    same(roots, 'float64', [0, 3], []);
    same((await mill.compute(apply('sum', none), { isStreamed: true }))[0], 'float64', [], [0]);
  },

  async 'two inputs are streamed, and a result comes back in frames'(mill) {
    const [a, b] = [waves(0.001), waves(0.002)];
    const length = apply('sqrt', apply('add', apply('multiply', a, a), apply('multiply', b, b)));
    const kinds = new Set();
    const [lengths, columns] = await mill.compute(length, apply('max', length, { axis: 0 }), {
      onProgress: (kind) => kinds.add(kind),
    });
    const expected = a.data.map((x, at) => Math.sqrt(x * x + b.data[at] * b.data[at]));
    same(lengths, 'float64', [ROWS, COLUMNS], expected); // the same bits: these operations are exactly rounded
    const most = new Float64Array(COLUMNS).map((_, column) => {
      let value = -Infinity;
      for (let at = column; at < expected.length; at += COLUMNS) value = Math.max(value, expected[at]);
      return value;
    });
    same(columns, 'float64', [COLUMNS], most);
    assert(kinds.has('accepted'), 'the server said nothing of the job');
  },

  async 'an array that is asked for twice, since the server cannot hold it'(mill) {
    const x = array(new Int32Array(LARGE_BYTES / 4).map((_, at) => at % 1001));
    const [total] = await mill.compute(apply('sum', apply('greater', x, apply('mean', x))));
    const mean = x.data.reduce((sum, value) => sum + value, 0) / x.data.length;
    const expected = x.data.reduce((count, value) => count + (value > mean), 0);
    same(total, 'int64', [], [BigInt(expected)]);
  },

  async 'an array is kept on the server'(mill) {
    const x = waves(0.003);
    const kept = await mill.put(x, { ttlSeconds: 60 });
    try {
      const [again, least] = await mill.compute(kept, apply('min', kept));
      same(again, 'float64', [ROWS, COLUMNS], x.data);
      assert.equal(least.item(), x.data.reduce((a, b) => Math.min(a, b)));
    } finally {
      await mill.delete(kept);
    }
    const gone = await failure(mill.compute(apply('sum', kept)));
    assert.equal(gone.reason, 'ARRAY_NOT_FOUND');
  },

  async 'errors have a reason and numbers'(mill) {
    const x = array(new Float64Array(4), [2, 2]);
    const small = await failure(mill.compute(apply('sum', x, { axis: 2 })));
    assert.equal(small.reason, 'AXIS');
    assert.equal(small.details.axis, '2');
    assert.equal(small.details.ndim, '2');
    const streamed = await failure(mill.compute(apply('squareroot', x), { isStreamed: true }));
    assert.equal(streamed.reason, 'UNKNOWN_OPERATION');
    assert.match(streamed.message, /squareroot/);
  },

  async 'a job is cancelled in the middle'(mill) {
    const stop = new AbortController();
    const { endedJobs: before } = await mill.serverInfo();
    const x = array(new Float64Array(LARGE_BYTES / 8));
    const onProgress = (kind) => kind === 'accepted' && stop.abort();
    const cancelled = await failure(mill.compute(apply('sum', x), { onProgress, signal: stop.signal }));
    assert.equal(cancelled.reason, 'CANCELLED');
    const aborted = AbortSignal.abort();
    assert.equal((await failure(mill.compute(apply('sum', 1), { signal: aborted }))).reason, 'CANCELLED');
    await until(async () => {
      const { runningJobs, endedJobs } = await mill.serverInfo();
      return runningJobs === '0' && Number(endedJobs.cancelled) > Number(before.cancelled);
    });
  },

  async 'a deadline stops a job'(mill) {
    const x = array(new Float64Array(LARGE_BYTES / 8));
    const late = await failure(mill.compute(apply('sum', x), { timeoutSeconds: 0.02 }));
    assert.match(late.reason, /^DEADLINE/); // DEADLINE of the server, or DEADLINE_EXCEEDED of this side's clock
  },
};

function waves(step) {
  return array(new Float64Array(ROWS * COLUMNS).map((_, at) => Math.sin(at * step)), [ROWS, COLUMNS]);
}

/** Fail unless an array is what NumPy would give. */
function same(found, dtype, shape, elements) {
  assert.equal(found.dtype, dtype);
  assert.deepEqual(found.shape, shape);
  assert.equal(found.data.length, elements.length);
  const at = found.data.findIndex((value, index) => !Object.is(value, elements[index]));
  assert.equal(at, -1, `element ${at} is ${found.data[at]}, not ${elements[at]}`);
}

async function failure(job) {
  const error = await job.then(
    () => assert.fail('the job did not fail'),
    (reason) => reason,
  );
  assert(error instanceof ArraymillError, String(error.stack));
  return error;
}

async function until(holds, seconds = 20) {
  for (const end = Date.now() + seconds * 1000; !(await holds()); await new Promise((go) => setTimeout(go, 20)))
    assert(Date.now() < end, `not so after ${seconds} s`);
}

async function main() {
  const mill = await Mill.connect(address);
  console.log(`arraymill ${mill.info.version} at ${address}, ${mill.info.operations.length} operations`);
  let wrong = 0;
  for (const [name, step] of Object.entries(STEPS)) {
    const begin = performance.now();
    try {
      await step(mill);
      console.log(`right  ${name} (${Math.round(performance.now() - begin)} ms)`);
    } catch (error) {
      wrong += 1;
      console.log(`WRONG  ${name}: ${error.message}`);
    }
  }
  mill.close();
  return wrong === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error) => {
  console.error(`${error.reason ?? error.name}: ${error.message}`);
  return 1;
});
