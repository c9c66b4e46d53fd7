//! Sums of numbers without any error, so that taking a number away undoes having added it.

use crate::value::Value;

/// The exact sum of a multiset of numbers. Whatever the order in which numbers came and went, the same
/// numbers give the same sum; only reading it rounds, once.
///
/// Integers are added in 128 bits. Doubles go into a fixed-point number wide enough for every double there
/// is, made when the first one comes.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactSum {
    integers: i128,
    doubles: Option<Box<Wide>>,
    count: u64,
}

/// Digits in base 2^32, least significant first; the first one counts units of 2^-1074.
///
/// Digits are signed and may grow beyond their base until [`Wide::carry`].
#[derive(Clone, Debug)]
struct Wide {
    digits: [i64; DIGITS],
    /// Additions since digits were last brought into their base.
    loose: u32,
}

/// Room for the largest double, 2^64 times.
const DIGITS: usize = (1074 + 1024 + 64) / 32 + 2;
const BASE_BITS: u32 = 32;
/// Digits hold so many additions before they could overflow.
const LOOSE_MAX: u32 = 1 << 29;

impl ExactSum {
    /// Adds a number; anything else is not counted.
    pub(super) fn add(&mut self, value: &Value) {
        self.change(value, 1);
    }

    /// Takes away a number that was added.
    pub(super) fn take(&mut self, value: &Value) {
        self.change(value, -1);
    }

    fn change(&mut self, value: &Value, sign: i64) {
        match value {
            Value::Int(n) => self.integers += i128::from(*n) * i128::from(sign),
            Value::Float(n) => self.doubles.get_or_insert_default().add(*n, sign),
            _ => return,
        }
        self.count = self.count.wrapping_add_signed(sign);
    }

    /// The sum as a number; null if no double can hold it.
    pub(super) fn total(&self) -> Value {
        let doubles = self.doubles.as_deref().filter(|wide| !wide.is_zero());
        match (doubles, i64::try_from(self.integers)) {
            (None, Ok(sum)) => Value::Int(sum),
            _ => Value::number(self.rounded()).unwrap_or(Value::Null),
        }
    }

    /// The mean; null if there are no numbers.
    pub(super) fn mean(&self) -> Value {
        if self.count == 0 {
            return Value::Null;
        }
        Value::number(self.rounded() / self.count as f64).unwrap_or(Value::Null)
    }

    /// The double nearest to the sum.
    fn rounded(&self) -> f64 {
        match &self.doubles {
            None => self.integers as f64,
            Some(doubles) => {
                let mut all = doubles.clone();
                all.add_integer(self.integers);
                all.rounded()
            }
        }
    }
}

impl Default for Wide {
    fn default() -> Self {
        Self { digits: [0; DIGITS], loose: 0 }
    }
}

impl Wide {
    fn add(&mut self, number: f64, sign: i64) {
        let bits = number.to_bits();
        let sign = if number.is_sign_negative() { -sign } else { sign };
        let fraction = bits & ((1 << 52) - 1);
        let exponent = usize::try_from((bits >> 52) & 0x7FF).unwrap_or(0);
        // Doubles below 2^-1022 have no leading one.
        let (mantissa, shift) = match exponent {
            0 => (fraction, 0),
            _ => (fraction | 1 << 52, exponent - 1),
        };
        self.add_shifted(u128::from(mantissa), shift, sign);
    }

    fn add_integer(&mut self, number: i128) {
        let sign = if number < 0 { -1 } else { 1 };
        let magnitude = number.unsigned_abs();
        // In halves, so that shifting leaves room.
        self.add_shifted(magnitude & u128::from(u64::MAX), 1074, sign);
        self.add_shifted(magnitude >> 64, 1074 + 64, sign);
    }

    /// Adds less than 2^64 units of 2^(shift - 1074).
    fn add_shifted(&mut self, units: u128, shift: usize, sign: i64) {
        let (first, within) = (shift / BASE_BITS as usize, shift % BASE_BITS as usize);
        let mut rest = units << within;
        for digit in &mut self.digits[first..] {
            if rest == 0 {
                break;
            }
            *digit += sign * i64::try_from(rest & u128::from(u32::MAX)).unwrap_or(0);
            rest >>= BASE_BITS;
        }
        self.loose += 1;
        if self.loose >= LOOSE_MAX {
            self.carry();
        }
    }

    /// Brings all digits but the last into 0..2^32; the last one keeps the sign.
    fn carry(&mut self) {
        let mut carried = 0;
        let Some((last, digits)) = self.digits.split_last_mut() else { return };
        for digit in digits {
            *digit += carried;
            carried = *digit >> BASE_BITS;
            *digit &= i64::from(u32::MAX);
        }
        *last += carried;
        self.loose = 0;
    }

    fn is_zero(&self) -> bool {
        let mut carried = self.clone();
        carried.carry();
        carried.digits.iter().all(|digit| *digit == 0)
    }

    fn rounded(&self) -> f64 {
        let mut wide = self.clone();
        wide.carry();
        let is_negative = wide.digits.last().is_some_and(|last| *last < 0);
        if is_negative {
            wide.digits.iter_mut().for_each(|digit| *digit = -*digit);
            wide.carry();
        }
        let Some(top) = wide.digits.iter().rposition(|digit| *digit != 0) else { return 0.0 };
        // The 128 bits from the top digit down, and whether anything is below them.
        let mut head: u128 = 0;
        for at in (0..4).map(|below| top.checked_sub(below)) {
            let digit = at.map_or(0, |at| wide.digits[at]);
            head = head << BASE_BITS | u128::try_from(digit).unwrap_or(0);
        }
        let below = &wide.digits[..top.saturating_sub(3)];
        if below.iter().any(|digit| *digit != 0) {
            head |= 1;
        }
        // A conversion rounds to the nearest double; the lowest bit stands for all that is below.
        let exponent = (i64::try_from(top).unwrap_or(0) - 3) * i64::from(BASE_BITS) - 1074;
        let magnitude = scaled(head as f64, exponent);
        if is_negative { -magnitude } else { magnitude }
    }
}

/// Multiplies by a power of two, in steps that are powers of two themselves.
fn scaled(mut number: f64, mut exponent: i64) -> f64 {
    let power = |exponent: i64| f64::from_bits(u64::try_from(exponent + 1023).unwrap_or(0) << 52);
    while exponent != 0 {
        let step = exponent.clamp(-1000, 1000);
        number *= power(step);
        exponent -= step;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(numbers: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|n| sum.add(&Value::number(*n).unwrap()));
        sum
    }

    #[test]
    fn nothing_is_lost_between_numbers_of_very_different_size() {
        assert_eq!(sum(&[1e300, 1.5, -1e300]).total(), Value::Float(1.5));
        assert_eq!(sum(&[0.1, 0.2, -0.1, -0.2]).total(), Value::Int(0));
        assert_eq!(sum(&[5e-324, 1.0, -1.0]).total(), Value::Float(5e-324));
        assert_eq!(sum(&[1.7e308, 1.7e308, -1.7e308]).total(), Value::Float(1.7e308));
        // The nearest double to the sum of the three doubles, which adding in turn misses.
        assert_eq!(sum(&[0.1, 0.2, 0.3]).total(), Value::Float(0.6));
        assert_eq!(sum(&[1e16, 0.5, 0.5, 1.0]).total(), Value::Int(10_000_000_000_000_002));
        assert_eq!(sum(&[]).total(), Value::Int(0));
        assert_eq!(sum(&[]).mean(), Value::Null);
        assert_eq!(sum(&[1.0, 2.5]).mean(), Value::Float(1.75));
    }

    #[test]
    fn integers_are_exact_beyond_doubles_and_too_large_a_sum_is_null() {
        let mut sum = ExactSum::default();
        sum.add(&Value::Int(i64::MAX));
        assert_eq!(sum.total(), Value::Int(i64::MAX));
        sum.add(&Value::Int(i64::MAX));
        assert_eq!(sum.total(), Value::Float(2.0 * i64::MAX as f64));
        sum.add(&Value::Float(0.5));
        sum.take(&Value::Int(i64::MAX));
        sum.take(&Value::Float(0.5));
        assert_eq!(sum.total(), Value::Int(i64::MAX));
        let mut huge = ExactSum::default();
        huge.add(&Value::Float(1.7e308));
        huge.add(&Value::Float(1.7e308));
        assert_eq!(huge.total(), Value::Null);
        huge.take(&Value::Float(1.7e308));
        assert_eq!(huge.total(), Value::Float(1.7e308));
        huge.add(&Value::string("no number"));
        assert_eq!(huge.mean(), Value::Float(1.7e308));
    }

    fn any_number() -> impl Strategy<Value = Value> {
        let doubles = any::<f64>().prop_filter_map("a number of JSON", Value::number);
        prop_oneof![
            doubles,
            (-1000.0..1000.0).prop_filter_map("a number", Value::number),
            any::<i64>().prop_map(Value::Int)
        ]
    }

    proptest! {
        #[test]
        fn what_comes_and_goes_leaves_no_trace(
            kept in prop::collection::vec(any_number(), 0..20),
            passing in prop::collection::vec(any_number(), 0..20),
        ) {
            let (mut moved, mut plain) = (ExactSum::default(), ExactSum::default());
            passing.iter().for_each(|n| moved.add(n));
            kept.iter().rev().for_each(|n| moved.add(n));
            passing.iter().for_each(|n| moved.take(n));
            kept.iter().for_each(|n| plain.add(n));
            prop_assert_eq!(moved.total(), plain.total());
            prop_assert_eq!(moved.mean(), plain.mean());
        }

        /// Two doubles: the machine's own addition rounds once, as reading does.
        #[test]
        fn a_sum_of_two_is_the_nearest_double(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let expected = Value::number(a + b).unwrap_or(Value::Null);
            // Integers that large are summed as integers.
            let whole = |n: f64| n.fract() == 0.0 && n.abs() < 1e19;
            prop_assume!(!(whole(a) && whole(b)));
            prop_assert_eq!(sum(&[a, b]).total(), expected);
        }
    }
}
