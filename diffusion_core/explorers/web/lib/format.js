// Python's number formats, exactly: the decimals of a double are worked out in whole numbers, and halves go to the even digit.

/** f"{x:.2f}" for digits = 2. */
export function fixed(x, digits) {
  checkDigits(digits);
  return sign(x) + (Number.isFinite(x) ? pointed(scaled(x, digits), digits) : unusual(x));
}

/** f"{x:g}", or f"{x:.3g}" for digits = 3: so many significant digits, zeros at the end dropped, 1e-05 or 1e+06 outside 1e-4 .. 10^digits. */
export function general(x, digits = 6) {
  checkDigits(digits);
  if (!Number.isFinite(x)) return sign(x) + unusual(x);
  if (x === 0) return sign(x) + "0";
  const kept = Math.max(digits, 1);
  let exponent = Number(x.toExponential().split("e")[1]) - 2, number; // the shortest form can be one too high: 1e-12 is 9.99..e-13
  do number = scaled(x, kept - 1 - ++exponent).toString(); while (number.length > kept); // and rounding can carry: 9.99 becomes 10
  const places = kept - 1;
  if (exponent >= -4 && exponent <= places) return sign(x) + stripped(pointed(BigInt(number), places - exponent));
  const power = String(Math.abs(exponent)).padStart(2, "0");
  return `${sign(x)}${stripped(pointed(BigInt(number), places))}e${exponent < 0 ? "-" : "+"}${power}`;
}

/** f"{n:,}" of an integer. */
export function grouped(n) {
  if (!Number.isSafeInteger(n)) throw new RangeError(`grouped needs an integer, got ${n}`);
  return String(n).replace(/\B(?=(\d{3})+$)/g, ",");
}

// |x| 10^digits rounded to a whole number, a BigInt.
function scaled(x, digits) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, Math.abs(x));
  const bits = view.getBigUint64(0), raw = Number(bits >> 52n), fraction = bits & (2n ** 52n - 1n);
  const power = Math.max(raw, 1) - 1075;
  let above = raw ? fraction | (2n ** 52n) : fraction, below = 1n; // |x| = above 2^power
  if (power > 0) above <<= BigInt(power);
  else below <<= BigInt(-power);
  if (digits > 0) above *= 10n ** BigInt(digits);
  else below *= 10n ** BigInt(-digits);
  const whole = above / below, twice = 2n * (above % below);
  return twice > below || (twice === below && whole % 2n === 1n) ? whole + 1n : whole;
}

// number / 10^digits written out, number a BigInt of at least 0.
function pointed(number, digits) {
  if (!digits) return number.toString();
  const text = number.toString().padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

function stripped(text) {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

function sign(x) {
  return x < 0 || Object.is(x, -0) ? "-" : "";
}

function unusual(x) {
  return Number.isNaN(x) ? "nan" : "inf";
}

function checkDigits(digits) {
  if (!Number.isInteger(digits) || digits < 0 || digits > 100) throw new RangeError(`digits must be an integer in 0 .. 100, got ${digits}`);
}
