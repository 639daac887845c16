// What the page knows of who uses it: the session itself is a cookie that
// scripts do not see.

let token = '';

/** csrf is what a write has to carry; '' before anybody has logged in. */
export const csrf = (): string => token;

export function setCSRF(value: string | undefined): void {
  token = value ?? '';
}
