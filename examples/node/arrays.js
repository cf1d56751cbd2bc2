/** Arrays: a typed array, a shape and a dtype of NumPy's name. */

import os from 'node:os';

if (os.endianness() !== 'LE') throw new Error('this client sends and reads little-endian elements only');

/** dtype → the typed array that holds it, and how many of its elements make one. */
const STORAGE = {
  bool: [Uint8Array, 1],
  int8: [Int8Array, 1],
  int16: [Int16Array, 1],
  int32: [Int32Array, 1],
  int64: [BigInt64Array, 1],
  uint8: [Uint8Array, 1],
  uint16: [Uint16Array, 1],
  uint32: [Uint32Array, 1],
  uint64: [BigUint64Array, 1],
  float16: [Uint16Array, 1], // the bits: JavaScript has no such numbers
  float32: [Float32Array, 1],
  float64: [Float64Array, 1],
  complex64: [Float32Array, 2], // real part, imaginary part, real part, …
  complex128: [Float64Array, 2],
};

/** What a typed array is unless a dtype is given. */
const NATURAL = ['int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64', 'float32', 'float64'];

export class NdArray {
  /**
   * @param {TypedArray} data the elements in C order; they are not copied
   * @param {number[]} shape
   * @param {string} dtype NumPy's name
   */
  constructor(data, shape, dtype) {
    this.data = data;
    this.shape = shape;
    this.dtype = dtype;
  }

  /** The only element of an array of one: a number, a BigInt, a boolean, or [real, imaginary]. */
  item() {
    if (sizeOf(this.shape) !== 1) throw new TypeError(`an array of shape [${this.shape}] is not one number`);
    if (this.dtype === 'bool') return this.data[0] !== 0;
    return STORAGE[this.dtype][1] === 2 ? [...this.data] : this.data[0];
  }
}

/**
 * Wrap a typed array.
 *
 * @param {TypedArray} data the elements in C order; they are not copied
 * @param {number[]} [shape] one dimension unless given
 * @param {string} [dtype] needed for bool (of a Uint8Array), float16 (Uint16Array), complex64 and complex128
 */
export function array(data, shape, dtype) {
  if (!ArrayBuffer.isView(data)) throw new TypeError(`${typeof data} given: the elements of an array are a typed array`);
  const name = dtype ?? NATURAL.find((each) => data instanceof STORAGE[each][0]);
  if (!(name in STORAGE)) throw new TypeError(`no dtype ${name}: there are ${Object.keys(STORAGE).join(', ')}`);
  const [Storage, parts] = STORAGE[name];
  if (!(data instanceof Storage)) throw new TypeError(`${name} needs a ${Storage.name}`);
  const dimensions = shape ?? [data.length / parts];
  if (sizeOf(dimensions) * parts !== data.length)
    throw new RangeError(`${data.length} numbers are no ${name} array of shape [${dimensions}]`);
  return new NdArray(data, dimensions, name);
}

/** Return an array of zeros. */
export function zeros(shape, dtype) {
  const [Storage, parts] = STORAGE[dtype];
  return new NdArray(new Storage(sizeOf(shape) * parts), shape, dtype);
}

/** Return the elements of an array as bytes, without a copy. */
export function bytesOf({ data }) {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/**
 * Return an array with its axes in another order, as NumPy's transpose: itself where that is the order it has.
 *
 * @param {NdArray} x
 * @param {number[]} order empty: C order
 */
export function transposed(x, order) {
  if (order.every((axis, at) => axis === at)) return x;
  const shape = order.map((axis) => x.shape[axis]);
  const strides = x.shape.map((_, axis) => sizeOf(x.shape.slice(axis + 1)));
  const steps = order.map((axis) => strides[axis]);
  const result = zeros(shape, x.dtype);
  const parts = STORAGE[x.dtype][1];
  const index = shape.map(() => 0);
  for (let to = 0, from = 0; to < result.data.length; to += parts) {
    for (let part = 0; part < parts; part++) result.data[to + part] = x.data[from * parts + part];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += steps[axis];
      if (++index[axis] < shape[axis]) break;
      from -= steps[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return result;
}

/** Return an array whose elements came with its axes in an order: the inverse of `transposed`. */
export function untransposed(data, order) {
  const inverse = order.map((_, axis) => order.indexOf(axis));
  return transposed(data, inverse);
}

/**
 * Return the checksum of a frame: the sum of its 64-bit words modulo 2^64, the last one filled up with zeros.
 *
 * Halves of words are added as numbers, which is exact below 2^21 of them: a frame has 2^17 words at most.
 *
 * @param {Uint8Array} bytes
 */
export function checksum(bytes) {
  const whole = bytes.byteLength - (bytes.byteLength % 8);
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Uint8Array.from(bytes);
  const words = new Uint32Array(aligned.buffer, aligned.byteOffset, whole / 4);
  let low = 0;
  let high = 0;
  for (let at = 0; at < words.length; at += 2) {
    low += words[at];
    high += words[at + 1];
  }
  let last = 0n;
  for (let at = bytes.byteLength - 1; at >= whole; at--) last = (last << 8n) | BigInt(bytes[at]);
  return BigInt.asUintN(64, BigInt(low) + (BigInt(high) << 32n) + last);
}

function sizeOf(shape) {
  return shape.reduce((size, length) => size * length, 1);
}
