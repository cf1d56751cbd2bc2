/** What went wrong, as a reason that does not change and a text for people. */

import grpc from '@grpc/grpc-js';

export class ArraymillError extends Error {
  /**
   * @param {string} reason of proto/DESIGN.md, as AXIS or BUSY; the name of the gRPC status where the server gave none
   * @param {string} message
   * @param {Object<string, string>} details numbers and names that belong to the message
   * @param {number} [retryAfterSeconds] when to ask again, of BUSY and SHUTTING_DOWN
   */
  constructor(reason, message, details = {}, retryAfterSeconds = undefined) {
    super(message);
    this.name = 'ArraymillError';
    this.reason = reason;
    this.details = details;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * Turn the error of a call into ours. The trailer `grpc-status-details-bin` is a google.rpc.Status; its `details` hold
 * an ErrorInfo, whose reason is what to go by.
 *
 * @param {grpc.ServiceError} error
 */
export function errorOf(error) {
  if (error instanceof ArraymillError) return error;
  const [trailer] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = trailer === undefined ? {} : detailsOf(trailer);
  const info = details['google.rpc.ErrorInfo'];
  if (info === undefined) return new ArraymillError(grpc.status[error.code] ?? 'UNKNOWN', error.details || error.message);
  const retry = details['google.rpc.RetryInfo'];
  return new ArraymillError(info.reason, error.details, info.metadata, retry?.seconds);
}

/** Return the details of a google.rpc.Status by the names of their messages. */
function detailsOf(bytes) {
  const found = {};
  for (const [number, any] of fieldsOf(bytes)) {
    if (number !== 3) continue;
    const { 1: url, 2: value } = Object.fromEntries(fieldsOf(any));
    const name = text(url).split('/').at(-1);
    if (name in READERS) found[name] = READERS[name](value);
  }
  return found;
}

const READERS = {
  'google.rpc.ErrorInfo': (bytes) => {
    const fields = [...fieldsOf(bytes)];
    const entries = fields.filter(([number]) => number === 3).map(([, entry]) => Object.fromEntries(fieldsOf(entry)));
    const { 1: reason } = Object.fromEntries(fields);
    return { reason: text(reason), metadata: Object.fromEntries(entries.map((each) => [text(each[1]), text(each[2])])) };
  },
  'google.rpc.RetryInfo': (bytes) => {
    const { 1: delay = Buffer.alloc(0) } = Object.fromEntries(fieldsOf(bytes));
    const { 1: seconds = 0, 2: nanoseconds = 0 } = Object.fromEntries(fieldsOf(delay));
    return { seconds: seconds + nanoseconds / 1e9 };
  },
};

function text(bytes) {
  return bytes === undefined ? '' : bytes.toString('utf8');
}

/** Read the fields of a protobuf message: numbers as they are, everything with a length as bytes. */
function* fieldsOf(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined) throw new RangeError('a protobuf message ends too early');
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [number, kind] = [Math.floor(tag / 8), tag % 8];
    if (kind === 0) yield [number, varint()];
    else {
      const length = kind === 2 ? varint() : { 1: 8, 5: 4 }[kind];
      if (length === undefined) throw new RangeError(`protobuf has no wire type ${kind}`);
      yield [number, bytes.subarray(at, (at += length))];
    }
  }
}
