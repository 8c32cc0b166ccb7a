// Exact decimal arithmetic on strings: a BigInt count of units of 10^-scale. Everything that is shown as money,
// compared with a trading rule or sent in an order is computed here; floats draw bars and candles only.

const SHAPE = /^(-?)(\d{1,24})(?:\.(\d{1,24}))?$/;

const POWERS = [1n];
function power(exponent) {
  while (POWERS.length <= exponent) POWERS.push(POWERS[POWERS.length - 1] * 10n);
  return POWERS[exponent];
}

export class Decimal {
  constructor(units, scale) {
    this.units = units;
    this.scale = scale;
  }

  get sign() {
    return this.units > 0n ? 1 : this.units < 0n ? -1 : 0;
  }

  get negated() {
    return new Decimal(-this.units, this.scale);
  }

  // A float for drawing and for ratios of screen lengths; never for money.
  get approximate() {
    return Number(this.units) / 10 ** this.scale;
  }

  plus(other) {
    const scale = Math.max(this.scale, other.scale);
    return new Decimal(this.#at(scale) + other.#at(scale), scale);
  }

  minus(other) {
    return this.plus(other.negated);
  }

  times(other) {
    return new Decimal(this.units * other.units, this.scale + other.scale);
  }

  // The quotient with `decimals` places, cut towards zero ("down") or rounded half away from zero ("half").
  over(other, decimals, rounding = "half") {
    if (other.units === 0n) throw new RangeError("division by zero");
    const numerator = this.units * power(other.scale + decimals);
    const denominator = other.units * power(this.scale);
    return new Decimal(divided(numerator, denominator, rounding), decimals);
  }

  // The same number with `decimals` places; "up" rounds away from zero.
  to(decimals, rounding = "half") {
    if (decimals >= this.scale) return new Decimal(this.#at(decimals), decimals);
    return new Decimal(divided(this.units, power(this.scale - decimals), rounding), decimals);
  }

  compare(other) {
    const scale = Math.max(this.scale, other.scale);
    const difference = this.#at(scale) - other.#at(scale);
    return difference > 0n ? 1 : difference < 0n ? -1 : 0;
  }

  equals(other) {
    return this.compare(other) === 0;
  }

  isMultipleOf(step) {
    const scale = Math.max(this.scale, step.scale);
    return this.#at(scale) % step.#at(scale) === 0n;
  }

  // The largest multiple of `step` not above this number (for numbers >= 0), in the step's own places.
  floorTo(step) {
    const scale = Math.max(this.scale, step.scale);
    const unit = step.#at(scale);
    const units = this.#at(scale);
    return new Decimal(units - (((units % unit) + unit) % unit), scale).to(step.scale, "down");
  }

  // Without trailing zeros beyond `least` places.
  trimmed(least = 0) {
    let { units, scale } = this;
    while (scale > least && units % 10n === 0n) {
      units /= 10n;
      scale -= 1;
    }
    return new Decimal(units, scale);
  }

  toString() {
    const digits = (this.units < 0n ? -this.units : this.units).toString().padStart(this.scale + 1, "0");
    const whole = digits.slice(0, digits.length - this.scale);
    const fraction = this.scale ? `.${digits.slice(-this.scale)}` : "";
    return `${this.units < 0n ? "-" : ""}${whole}${fraction}`;
  }

  #at(scale) {
    return this.units * power(scale - this.scale);
  }
}

export const ZERO = new Decimal(0n, 0);
export const HUNDRED = new Decimal(100n, 0);

// The number a plain decimal text stands for, or null for anything else (also null and undefined).
export function decimal(text) {
  const match = SHAPE.exec(text ?? "");
  if (!match) return null;
  const fraction = match[3] ?? "";
  return new Decimal(BigInt(match[1] + match[2] + fraction), fraction.length);
}

function divided(numerator, denominator, rounding) {
  const quotient = numerator / denominator;
  const rest = numerator % denominator;
  if (rest === 0n || rounding === "down") return quotient;
  const away = (numerator < 0n) === (denominator < 0n) ? 1n : -1n;
  if (rounding === "up") return quotient + away;
  const twice = (rest < 0n ? -rest : rest) * 2n;
  return twice >= (denominator < 0n ? -denominator : denominator) ? quotient + away : quotient;
}
