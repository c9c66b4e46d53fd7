//! The client's reading of date strings: a list of forms, the first that fits wins.
//!
//! Parts beyond their range roll over into the next unit. Where the official client leaves a form to
//! the parser of its JavaScript engine, the server's grammar is used for texts that name a month.

use super::calendar::{MS_PER_DAY, day_number, fraction_ms, month_named};
use super::server::{self, Moment, ZoneSign};
use super::zone;

/// The furthest instant from 1970 that a JavaScript date holds.
pub(super) const LIMIT_MS: i64 = 8_640_000_000_000_000;

/// Reads a string; `None` if no form fits.
pub(super) fn parse(text: &str) -> Option<i64> {
    let trimmed = text.trim();
    forms(trimmed)
        .or_else(|| forms(serde_json::from_str::<String>(trimmed).ok()?.trim()))
        .filter(|ms| ms.abs() <= LIMIT_MS)
}

fn forms(text: &str) -> Option<i64> {
    if text == "epoch" {
        return Some(0);
    }
    date_only(text)
        .or_else(|| date_and_time(text))
        .or_else(|| in_words(text))
        .or_else(|| bare_year(text))
        .or_else(|| signed(text))
}

/// `2025-1-31`, `1/31/2025`, `31.1.2025` and so on.
fn date_only(text: &str) -> Option<i64> {
    let parts: Vec<i64> = text.split(['-', '/', '.']).map(number).collect::<Option<_>>()?;
    let [first, second, third] = *parts.as_slice() else { return None };
    if parts.contains(&0) {
        return None;
    }
    let days = if first > 999 {
        day_number(first, second, third)
    } else {
        day_number(third, first, second)
    };
    days.checked_mul(MS_PER_DAY)
}

/// A year-month-day, a `T` or a blank, a time of day, and perhaps a zone.
fn date_and_time(text: &str) -> Option<i64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => (1, text),
    };
    let separator = unsigned.find(['T', 't', ' '])?;
    let (date, rest) = unsigned.split_at(separator);
    let blank = rest.starts_with(' ');
    let rest = &rest[1..];
    let mut parts = date.split('-');
    let year_text = parts.next()?;
    let (year, month, day) = (number(year_text)?, number(parts.next()?)?, number(parts.next()?)?);
    // A sign belongs to years of six digits.
    let signed = unsigned.len() != text.len();
    if parts.next().is_some() || year_text.len() < 4 || (signed && year_text.len() != 6) {
        return None;
    }
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time_end = rest.find(|c: char| !c.is_ascii_digit() && c != ':' && c != '.');
    let (time, zone_text) = rest.split_at(time_end.unwrap_or(rest.len()));
    let within_day = time_of_day(time)?;
    let seconds_east = zone_of(zone_text)?;
    // Behind a blank the client reads no numeric zone: it takes the rest for a part of the seconds.
    let numeric = zone_text.starts_with(['+', '-']);
    let shift = if blank && numeric { 0 } else { seconds_east * 1000 };
    day_number(sign * year, month, day).checked_mul(MS_PER_DAY)?.checked_add(within_day - shift)
}

/// Milliseconds of `h:m`, `h:m:s` or `h:m:s.fraction`.
fn time_of_day(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(number);
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = parts.next().unwrap_or(Some(0))?;
    if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let below = (minute * 60 + second) * 1000 + fraction_ms(fraction);
    let fits = minute < 60 && second < 60 && (hour < 24 || (hour == 24 && below == 0));
    fits.then_some(hour * 3_600_000 + below)
}

/// Seconds east of UTC; none written means UTC.
fn zone_of(text: &str) -> Option<i64> {
    if text.is_empty() {
        Some(0)
    } else {
        zone::offset(text).or_else(|| zone::abbreviated(&text.to_ascii_lowercase()))
    }
}

/// `Wed Jul 09 2025 10:11:12 GMT+0200 (CEST)`, `6 May 2024`, `8/4/2025, 11:02:31 PM` and the like.
fn in_words(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphabetic());
    if !words
        .any(|word| word.len() >= 3 && month_named(word).is_some() || matches!(word, "am" | "pm"))
    {
        return None;
    }
    // JavaScript prints the zone's name in parentheses after its offset.
    let without_comment = match text.split_once('(') {
        Some((front, _)) => front,
        None => text,
    };
    match server::read(without_comment, ZoneSign::EastAny)? {
        Moment::At(ms) => Some(ms),
        Moment::Infinity | Moment::NegativeInfinity | Moment::Clock => None,
    }
}

/// A lone number: a month of 2001, or a year, in full or by its last two digits.
fn bare_year(text: &str) -> Option<i64> {
    let value = number(text)?;
    let (year, month) = match (text.len(), value) {
        (..=2, 1..=12) => (2001, value),
        (..=2, 0 | 32..=49) => (2000 + value, 1),
        (..=2, 50..=99) => (1900 + value, 1),
        (3..=6, 1..) => (value, 1),
        _ => return None,
    };
    day_number(year, month, 1).checked_mul(MS_PER_DAY)
}

/// A date of the first form with a stray sign before it, which JavaScript engines overlook.
fn signed(text: &str) -> Option<i64> {
    date_only(text.strip_prefix(['+', '-'])?)
}

/// Digits as a number of at most six places.
fn number(digits: &str) -> Option<i64> {
    let fits = (1..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}
