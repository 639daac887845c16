import assert from "node:assert/strict";
import { test } from "node:test";
import { money } from "../src/money";

for (const [cents, want] of [
  [0, "0.00 €"],
  [5, "0.05 €"],
  [120, "1.20 €"],
  [129900, "1,299.00 €"],
  [123456789, "1,234,567.89 €"],
  [-250, "-2.50 €"],
] as const) {
  test(`money(${cents}) is ${want}`, () => assert.equal(money(cents), want));
}

test("money refuses what is no amount", () => {
  assert.throws(() => money(1.5), RangeError);
  assert.throws(() => money(NaN), RangeError);
});
