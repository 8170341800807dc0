/**
 * Who may use the server of `vgg studio` (Node only): programs and pages that know the token, at this machine's own
 * address. Pages of other sites are refused by their Origin, and by Host where a name of theirs resolves to this machine
 * (DNS rebinding).
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

/** A request that is answered with an error. */
export class Refusal extends Error {
  override name = 'Refusal';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

/** 256 random bits as text that a URL can hold. */
const secret = (): string => randomBytes(32).toString('base64url');

/** Takes the same time for all texts. */
function isSame(given: string, expected: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

export class Access {
  readonly token: string = secret();
  #code: string | undefined;

  /** A code that is exchanged for the token once; earlier ones end. */
  newCode(): string {
    this.#code = secret();
    return this.#code;
  }

  /** @throws Refusal for a wrong code, or one that was used. */
  exchange(code: string): string {
    const expected = this.#code;
    if (expected === undefined || !isSame(code, expected)) {
      throw new Refusal(401, 'this link was used already; open the one that vgg printed');
    }
    this.#code = undefined;
    return this.token;
  }

  /** @throws Refusal unless the request carries the token. */
  requireToken({ authorization = '' }: IncomingHttpHeaders): void {
    const [, given = ''] = /^Bearer +([\w-]{1,200}) *$/i.exec(authorization) ?? [];
    if (given !== '' && isSame(given, this.token)) return;
    throw new Refusal(
      401,
      given === ''
        ? 'the token is missing; open the link that vgg printed'
        : 'this is not the token of this server',
      { 'WWW-Authenticate': 'Bearer' },
    );
  }
}

/** @throws Refusal for a request that another site caused. `port` is the server's own. */
export function requireOwnSite(headers: IncomingHttpHeaders, port: number, isApi: boolean): void {
  const hosts = ['127.0.0.1', 'localhost'].map((name) => `${name}:${port}`);
  const { host = '', origin } = headers;
  // Browsers leave out the usual port.
  const own = port === 80 ? [...hosts, '127.0.0.1', 'localhost'] : hosts;
  if (!own.includes(host.toLowerCase())) {
    throw new Refusal(403, `this server is only for ${hosts[0]}, not for the host ${shownHeader(host)}`);
  }
  if (origin !== undefined && !own.some((name) => origin === `http://${name}`)) {
    throw new Refusal(403, `pages of ${shownHeader(origin)} may not use this server`);
  }
  const site = headers['sec-fetch-site'];
  if (isApi && site !== undefined && site !== 'same-origin' && site !== 'none')
    throw new Refusal(403, 'pages of other sites may not use this server');
}

const shownHeader = (text: string): string => JSON.stringify(text.slice(0, 100));

/** The page reaches only this server, and no other page reaches it; isolated, so that it may use threads. */
export const safetyHeaders: Readonly<Record<string, string>> = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; " +
    "connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; media-src blob:; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'",
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
};
