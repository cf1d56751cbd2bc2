/**
 * Expressions, and the graph that travels.
 *
 * Operations are NumPy's, by their names in proto/DESIGN.md. Nothing is computed here: a value is a node that knows its
 * operands, and `graphOf` numbers the nodes so that each stands behind those it refers to.
 */

import { bytesOf, NdArray } from './arrays.js';

/** The parameters whose values are operands; all others are plain values. */
const OPERANDS = new Set(['where', 'initial', 'min', 'max']);

const INT64 = 2n ** 63n;

class Operation {
  constructor(name, args, params) {
    this.name = name;
    this.args = args;
    this.params = params;
  }
}

class Resident {
  constructor(id) {
    this.id = id;
  }
}

/**
 * Apply an operation: `apply('sum', x, { axis: 0 })`, `apply('add', x, 1)`.
 *
 * Numbers, BigInts and booleans adapt to the dtype of the array beside them, as Python's do. A number without a fraction
 * is an integer.
 *
 * @param {string} name
 * @param {...any} operands arrays, expressions, numbers; at last, perhaps, an object of parameters
 */
export function apply(name, ...operands) {
  const last = operands.at(-1);
  const isParams = last !== undefined && Object.getPrototypeOf(last) === Object.prototype;
  const params = isParams ? operands.pop() : {};
  const bound = Object.entries(params).filter(([, value]) => value !== undefined && value !== null);
  return new Operation(name, operands, new Map(bound));
}

/** An array that lies on the server, by its id or its name. */
export function resident(id) {
  return new Resident(id);
}

/**
 * Return the message of a job, and the arrays that it needs by their numbers.
 *
 * @param {any[]} outputs expressions
 * @param {boolean} isInline whether arrays lie in the message
 */
export function graphOf(outputs, isInline) {
  const nodes = [];
  const inputs = [];
  const numbers = new Map();
  const open = [...outputs].reverse(); // a stack: expressions may be deeper than calls can be
  while (open.length > 0) {
    const value = open.at(-1);
    const missing = numbers.has(value) ? [] : operandsOf(value).filter((operand) => !numbers.has(operand));
    if (missing.length > 0) {
      open.push(...missing.reverse());
      continue;
    }
    open.pop();
    if (numbers.has(value)) continue;
    if (value instanceof NdArray) inputs.push(value);
    numbers.set(value, nodes.push(nodeOf(value, numbers, isInline)) - 1);
  }
  return { graph: { outputs: outputs.map((value) => numbers.get(value)), nodes }, inputs };
}

function operandsOf(value) {
  if (!(value instanceof Operation)) return [];
  return [...value.args, ...[...value.params].filter(([key]) => OPERANDS.has(key)).map(([, operand]) => operand)];
}

function nodeOf(value, numbers, isInline) {
  if (value instanceof Operation) return { operation: operationOf(value, numbers) };
  if (value instanceof NdArray) return { input: inputOf(value, isInline) };
  if (value instanceof Resident) return { resident: { id: value.id } };
  return { constant: constantOf(value) };
}

function operationOf({ name, args, params }, numbers) {
  const given = [...params].map(([key, value]) => [
    key,
    OPERANDS.has(key) ? { node: numbers.get(value) } : paramOf(key, value),
  ]);
  return { name, args: args.map((operand) => numbers.get(operand)), params: Object.fromEntries(given) };
}

function inputOf(x, isInline) {
  const type = { dtype: x.dtype.toUpperCase(), shape: x.shape };
  return isInline ? { ...type, inline: bytesOf(x) } : type;
}

function paramOf(key, value) {
  if (key === 'dtype') return { dtype: String(value).toUpperCase() };
  if (Array.isArray(value)) return { axes: { axis: value } };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'string') return { stringValue: value };
  return Number.isInteger(value) ? { intValue: value } : { floatValue: value };
}

function constantOf(value) {
  if (typeof value === 'boolean') return { pythonBool: value };
  if (typeof value === 'bigint' || (Number.isSafeInteger(value) && !Object.is(value, -0))) {
    const whole = BigInt(value);
    return whole >= -INT64 && whole < INT64 ? { pythonInt: `${whole}` } : { pythonBigInt: `${whole}` };
  }
  if (typeof value === 'number') return { pythonFloat: value };
  throw new TypeError(`${String(value)} is no operand: give an array, an expression, a number or a boolean`);
}
