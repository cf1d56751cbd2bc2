/**
 * A streamed job: the server asks for ranges of the inputs, the client answers in frames, results come back in frames.
 *
 * Wants come for several inputs in turn, and for ranges in any order; they are answered in the order in which they come.
 * `write` returns false when gRPC holds enough; nothing more is written until it has drained. So no more than a frame
 * or two are copied at a time, however large the arrays are.
 */

import { bytesOf, checksum, transposed, untransposed, zeros } from './arrays.js';
import { ArraymillError, errorOf } from './errors.js';

export class StreamedJob {
  #call;
  #inputs;
  #frameBytes;
  #onProgress;
  #finish;
  #wants = [];
  #isFeeding = false;
  #wake = () => {};
  #hasEnded = false;
  #ordered = new Map();
  #results = null;
  #done = null;

  /**
   * @param {grpc.ClientDuplexStream} call
   * @param {NdArray[]} inputs by their numbers
   * @param {number} frameBytes the most that a frame may carry
   * @param {function} onProgress called with what the server says besides: accepted, progress
   */
  constructor(call, inputs, frameBytes, onProgress) {
    this.#call = call;
    this.#inputs = inputs;
    this.#frameBytes = frameBytes;
    this.#onProgress = onProgress;
    /** Resolves to the results and to what the server said at last. */
    this.ended = new Promise((resolve, reject) => (this.#finish = { resolve, reject }));
  }

  /** Send the job, and do what the server says until it has ended. */
  run(start) {
    this.#call.on('data', (response) => this.#guarded(() => this.#receive(response)));
    this.#call.on('drain', () => this.#wake());
    this.#call.on('error', (error) => this.#fail(errorOf(error)));
    this.#call.on('end', () => this.#end());
    this.#call.write({ start });
    return this.ended;
  }

  #receive(response) {
    const said = response[response.message];
    switch (response.message) {
      case 'want':
        this.#wants.push(said);
        this.#feed().catch((error) => this.#fail(error));
        break;
      case 'header':
        this.#results = said.results.map(({ type, order }) => new Result(type, order));
        break;
      case 'frame':
        this.#results[said.index].put(said);
        break;
      case 'done':
        this.#done = said;
        this.#call.end();
        break;
      case 'accepted':
      case 'progress':
        this.#onProgress(response.message, said);
        break;
      default: // a message newer than this client
    }
  }

  async #feed() {
    if (this.#isFeeding) return;
    this.#isFeeding = true;
    try {
      while (this.#wants.length > 0 && !this.#hasEnded) await this.#answer(this.#wants.shift());
    } finally {
      this.#isFeeding = false;
    }
  }

  async #answer({ want, index, offset, length, order }) {
    const bytes = this.#bytesIn(index, order);
    const end = Number(offset) + Number(length);
    for (let begin = Number(offset); begin < end && !this.#hasEnded; begin += this.#frameBytes) {
      const data = bytes.subarray(begin, Math.min(begin + this.#frameBytes, end));
      const frame = { want, index, offset: begin, data, checksum: `${checksum(data)}` };
      if (!this.#call.write({ frame })) await new Promise((resolve) => (this.#wake = resolve));
    }
  }

  /** Return the bytes of an input with its axes in an order: C order unless resident arrays beside it have another. */
  #bytesIn(index, order) {
    const name = `${index}:${order}`;
    if (!this.#ordered.has(name)) this.#ordered.set(name, bytesOf(transposed(this.#inputs[index], order)));
    return this.#ordered.get(name);
  }

  #end() {
    this.#stop();
    const results = this.#results ?? [];
    if (this.#done === null || !results.every((result) => result.isWhole))
      this.#finish.reject(new ArraymillError('UNAVAILABLE', 'the server ended the job without all of its results'));
    else this.#finish.resolve({ results: results.map((result) => result.array()), done: this.#done });
  }

  /** End the job with an error, on the server as well. */
  #fail(error) {
    if (this.#hasEnded) return;
    this.#stop();
    this.#finish.reject(error);
    this.#call.cancel();
  }

  #stop() {
    this.#hasEnded = true;
    this.#wake();
  }

  /** Let a mistake of ours, or a wrong frame, end the job and not the process. */
  #guarded(step) {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }
}

/** A result while its frames come. */
class Result {
  #order;
  #array;
  #bytes;
  #missing;

  constructor(type, order) {
    const shape = type.shape.map(Number);
    this.#order = order;
    this.#array = zeros(order.length > 0 ? order.map((axis) => shape[axis]) : shape, type.dtype.toLowerCase());
    this.#bytes = bytesOf(this.#array);
    this.#missing = this.#bytes.byteLength;
  }

  get isWhole() {
    return this.#missing === 0;
  }

  put({ offset, data, checksum: expected }) {
    const begin = Number(offset);
    this.#bytes.set(data, begin);
    this.#missing -= data.byteLength;
    if (expected !== undefined && checksum(this.#bytes.subarray(begin, begin + data.byteLength)) !== BigInt(expected))
      throw new ArraymillError('CORRUPTED', `bytes from ${begin} on arrived other than they were sent`);
  }

  array() {
    return untransposed(this.#array, this.#order);
  }
}
