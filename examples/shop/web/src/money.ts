/** Writes cents as euros: 129900 is "1,299.00 €". */
export function money(cents: number): string {
  if (!Number.isSafeInteger(cents)) {
    throw new RangeError(`not an amount of cents: ${cents}`);
  }
  const sign = cents < 0 ? "-" : "";
  const digits = String(Math.abs(cents)).padStart(3, "0");
  const whole = digits.slice(0, -2).replace(/\B(?=(\d{3})+$)/g, ",");
  return `${sign}${whole}.${digits.slice(-2)} €`;
}
