/**
 * A client of arraymill, made of the `.proto` alone: typed arrays in, typed arrays out.
 *
 *     import { apply, array, Mill } from './arraymill.js';
 *
 *     const mill = await Mill.connect('localhost:50051');
 *     const x = array(new Float64Array(1_000_000).fill(2), [1000, 1000]);
 *     const [mean] = await mill.compute(apply('mean', apply('sqrt', x), { axis: 0 }));
 *     console.log(mean.dtype, mean.shape, mean.data);
 *     mill.close();
 *
 * Small jobs are one call, all others one stream. What proto/DESIGN.md calls lanes, pipelines and submitted jobs is not
 * here: none of it is needed.
 */

import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

import { array, bytesOf, NdArray, untransposed, zeros } from './arrays.js';
import { ArraymillError, errorOf } from './errors.js';
import { apply, graphOf, resident } from './expressions.js';
import { StreamedJob } from './job.js';

export { apply, array, ArraymillError, NdArray, resident };

const PROTO = fileURLToPath(new URL('../../proto/arraymill_proto/v1/arraymill.proto', import.meta.url));
const PROTOCOL = 1;
const ANSWER_SECONDS = 30;

/** 64-bit numbers as texts: offsets become numbers, which are exact to 2^53, and checksums BigInts. */
const OPTIONS = { longs: String, enums: String, defaults: true, oneofs: true };

const CHANNEL = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };

export class Mill {
  #stub;
  #metadata = new grpc.Metadata();

  /** Use `Mill.connect`. */
  constructor(stub) {
    this.#stub = stub;
    this.#metadata.set('arraymill-client', randomUUID());
  }

  /**
   * Connect, and learn what the server can do.
   *
   * @param {string} address `host:port` or `unix:/path`
   */
  static async connect(address) {
    const { arraymill } = grpc.loadPackageDefinition(loader.loadSync(PROTO, OPTIONS));
    const mill = new Mill(new arraymill.v1.Arraymill(address, grpc.credentials.createInsecure(), CHANNEL));
    try {
      const info = (mill.info = await mill.serverInfo());
      if (info.oldestProtocol > PROTOCOL || info.protocol < PROTOCOL)
        throw new ArraymillError('INCOMPATIBLE', `the server speaks protocol ${info.protocol}, this client ${PROTOCOL}`);
    } catch (error) {
      mill.close();
      throw error;
    }
    return mill;
  }

  close() {
    this.#stub.close();
  }

  /** Versions, limits, load and operations of the server: ServerInfo of the `.proto`. */
  serverInfo() {
    return this.#ask('GetServerInfo', {}, { timeoutSeconds: ANSWER_SECONDS });
  }

  /**
   * Compute expressions in one job; what they share is sent and computed once.
   *
   * @param {...any} given expressions or arrays; at last, perhaps, options: `timeoutSeconds` stops the job on the server,
   *   `signal` (an AbortSignal) cancels it, `onProgress(kind, message)` hears of a streamed job, `isStreamed` makes it one
   * @returns {Promise<NdArray[]>} one for each expression
   * @throws {ArraymillError}
   */
  async compute(...given) {
    if (given.length === 0) throw new TypeError('compute needs at least one expression');
    const last = given.at(-1);
    const options = Object.getPrototypeOf(Object(last)) === Object.prototype ? given.pop() : {};
    if (!options.isStreamed && this.#isSmall(given)) {
      try {
        return await this.#computeSmall(given, options);
      } catch (error) {
        if (error.reason !== 'RESULT_TOO_LARGE') throw error;
      }
    }
    return (await this.#run(given, {}, options)).results;
  }

  /**
   * Keep the value of an expression on the server.
   *
   * @param {any} expression
   * @param {{name?: string, ttlSeconds?: number}} [keep] how others find it, and how long it stays after its last use
   * @param {object} [options] of `compute`
   * @returns {Promise<Resident>} to be used in expressions like an array
   */
  async put(expression, keep = {}, options = {}) {
    const { done } = await this.#run([expression], { keep }, options);
    return resident(done.array.id);
  }

  /** Delete an array that lies on the server. */
  async delete({ id }) {
    await this.#ask('DeleteArray', { id }, { timeoutSeconds: ANSWER_SECONDS });
  }

  #isSmall(outputs) {
    const { inputs } = graphOf(outputs, false);
    return inputs.reduce((sum, x) => sum + x.data.byteLength, 0) <= Number(this.info.unaryBytes);
  }

  async #computeSmall(outputs, options) {
    const { graph } = graphOf(outputs, true);
    const { results } = await this.#ask('Compute', { graph }, options);
    return results.map(({ type, data, order }) => inline(type, data, order));
  }

  async #run(outputs, start, options) {
    const { graph, inputs } = graphOf(outputs, false);
    const call = this.#stub.Run(this.#metadata, deadlineIn(options.timeoutSeconds));
    const job = new StreamedJob(call, inputs, Number(this.info.frameBytes), options.onProgress ?? (() => {}));
    return await cancellable(call, options.signal, job.run({ ...start, graph }));
  }

  #ask(method, request, { timeoutSeconds, signal }) {
    let call;
    const answer = new Promise((resolve, reject) => {
      call = this.#stub[method](request, this.#metadata, deadlineIn(timeoutSeconds), (error, response) =>
        error ? reject(errorOf(error)) : resolve(response),
      );
    });
    return cancellable(call, signal, answer);
  }
}

function inline(type, data, order) {
  const shape = type.shape.map(Number);
  const result = zeros(order.length > 0 ? order.map((axis) => shape[axis]) : shape, type.dtype.toLowerCase());
  bytesOf(result).set(data);
  return untransposed(result, order);
}

function deadlineIn(seconds) {
  return seconds === undefined ? {} : { deadline: Date.now() + seconds * 1000 };
}

async function cancellable(call, signal, answer) {
  const cancel = () => call.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel);
  try {
    return await answer;
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
