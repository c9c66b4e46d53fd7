//! The server's reading of date strings: the rules by which PostgreSQL reads a `timestamptz`.
//!
//! Text is cut into tokens first, then each token fills in what is still unknown of date, time and
//! zone; filling anything twice is an error. Source: `src/backend/utils/adt/datetime.c` of PostgreSQL
//! (behaviour only).

use super::calendar::{
    MS_PER_DAY, day_number, days_in_month, fraction_ms, is_leap, is_weekday, month_named,
};
use super::zone;

/// What a date string stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Moment {
    /// Milliseconds since 1970.
    At(i64),
    Infinity,
    NegativeInfinity,
    /// Depends on when it is asked.
    Clock,
}

/// Reads a string as the server does on write; `None` if it is refused.
pub(super) fn parse(text: &str) -> Option<Moment> {
    read(text, ZoneSign::East)
}

/// How `GMT+0100` is meant.
///
/// PostgreSQL takes it for a POSIX zone and refuses offsets of more than 167 (hours, to it).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum ZoneSign {
    /// As JavaScript prints it: an hour east of Greenwich; refused where PostgreSQL refuses it.
    #[default]
    East,
    /// The same, with any offset up to 15:59.
    EastAny,
}

/// Reads a string by the server's grammar with `sign` for zones such as `GMT+0100`.
pub(super) fn read(text: &str, sign: ZoneSign) -> Option<Moment> {
    let tokens = tokens(text)?;
    if let [Token { kind: Kind::Word, text }] = tokens.as_slice() {
        match text.as_str() {
            "infinity" => return Some(Moment::Infinity),
            "-infinity" => return Some(Moment::NegativeInfinity),
            "now" | "today" | "tomorrow" | "yesterday" => return Some(Moment::Clock),
            "epoch" => return Some(Moment::At(0)),
            _ => {}
        }
    }
    let mut reading = Reading { sign, ..Reading::default() };
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        match token.kind {
            Kind::Word => reading.word(&token.text, rest.peek().map(|next| next.kind))?,
            Kind::Number => reading.number(&token.text)?,
            Kind::Date => reading.date_token(&token.text)?,
            Kind::Time => reading.time_token(&token.text)?,
            Kind::Offset => reading.set_zone(zone::offset(&token.text)?)?,
        }
    }
    reading.finish().map(Moment::At)
}

/// Reads `[-]yyyy-MM-dd`, alone or with a time, where [`parse`] refuses it: a day of up to 31 becomes the
/// last of its month, and the year may be negative.
pub(super) fn parse_clamped(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let date_len =
        unsigned.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(unsigned.len());
    let (date, time) = unsigned.split_at(date_len);
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let year: i64 = year.parse().ok().filter(|year| *year <= 999_999_999)?;
    let year = if negative { -year } else { year };
    let month: i64 = month.parse().ok().filter(|month| (1..=12).contains(month))?;
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let day = day.min(days_in_month(year, month));
    let within_day = if time.is_empty() {
        0
    } else {
        // The time and zone, read on a day that exists.
        match read(&format!("1970-01-01{time}"), ZoneSign::East)? {
            Moment::At(ms) => ms,
            Moment::Infinity | Moment::NegativeInfinity | Moment::Clock => return None,
        }
    };
    day_number(year, month, day).checked_mul(MS_PER_DAY)?.checked_add(within_day)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Digits, perhaps with a decimal point.
    Number,
    /// Digits with separators, or letters that hold digits or separators.
    Date,
    /// Digits with a colon.
    Time,
    /// Letters.
    Word,
    /// A sign followed by digits.
    Offset,
}

#[derive(Debug)]
struct Token {
    kind: Kind,
    /// In lower case.
    text: String,
}

/// Cuts `text` into tokens. Punctuation that means nothing only separates.
fn tokens(text: &str) -> Option<Vec<Token>> {
    const TEXT_LEN_MAX: usize = 128;
    const TOKENS_MAX: usize = 25;
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let bytes = lower.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (kind, end) = match byte {
            b'0'..=b'9' => numeric_token(bytes, at),
            b'a'..=b'z' => {
                let end = run(bytes, at, |b| b.is_ascii_alphabetic());
                let joined = match bytes.get(end) {
                    Some(b'-' | b'/' | b'.') => true,
                    Some(b'+' | b'0'..=b'9') => !is_core_word(&lower[at..end]),
                    _ => false,
                };
                if joined {
                    let glue = |b: u8| b.is_ascii_alphanumeric() || b"+-/_.:".contains(&b);
                    (Kind::Date, run(bytes, end, glue))
                } else {
                    (Kind::Word, end)
                }
            }
            b'+' | b'-' => match bytes.get(at + 1) {
                Some(b'0'..=b'9') => {
                    let end = run(bytes, at + 1, |b| b.is_ascii_digit() || b":.-".contains(&b));
                    (Kind::Offset, end)
                }
                Some(b'a'..=b'z') => (Kind::Word, run(bytes, at + 1, |b| b.is_ascii_alphabetic())),
                _ => return None,
            },
            _ if byte.is_ascii_whitespace() || byte == 0x0b || byte.is_ascii_punctuation() => {
                at += 1;
                continue;
            }
            _ => return None,
        };
        if found.len() == TOKENS_MAX {
            return None;
        }
        found.push(Token { kind, text: lower[at..end].to_owned() });
        at = end;
    }
    Some(found)
}

/// The end of the run of `wanted` bytes that starts at `from`.
fn run(bytes: &[u8], from: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|b| !wanted(*b)).map_or(bytes.len(), |len| from + len)
}

/// The kind and end of a token that begins with a digit.
fn numeric_token(bytes: &[u8], at: usize) -> (Kind, usize) {
    let digits_end = run(bytes, at, |b| b.is_ascii_digit());
    match bytes.get(digits_end) {
        Some(b':') => {
            (Kind::Time, run(bytes, digits_end, |b| b.is_ascii_digit() || b":.".contains(&b)))
        }
        Some(&separator @ (b'-' | b'/' | b'.')) => {
            let second = digits_end + 1;
            if !bytes.get(second).is_some_and(u8::is_ascii_digit) {
                return (
                    Kind::Date,
                    run(bytes, second, |b| b.is_ascii_alphanumeric() || b == separator),
                );
            }
            let second_end = run(bytes, second, |b| b.is_ascii_digit());
            if bytes.get(second_end) == Some(&separator) {
                (Kind::Date, run(bytes, second_end, |b| b.is_ascii_digit() || b == separator))
            } else if separator == b'.' {
                (Kind::Number, second_end)
            } else {
                (Kind::Date, second_end)
            }
        }
        _ => (Kind::Number, digits_end),
    }
}

/// Words that keep their meaning when a digit or a plus sign follows directly.
fn is_core_word(word: &str) -> bool {
    month_named(word).is_some()
        || is_weekday(word)
        || matches!(word, "t" | "am" | "pm" | "ad" | "bc" | "at" | "on" | "now" | "today" | "epoch")
}

/// What is known so far.
#[derive(Default)]
struct Reading {
    sign: ZoneSign,
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    month_in_words: bool,
    short_year: bool,
    before_christ: Option<bool>,
    weekday_seen: bool,
    /// Hour as written, then minutes, seconds and fraction in milliseconds.
    time: Option<(i64, i64)>,
    afternoon: Option<bool>,
    /// Seconds east of UTC.
    zone: Option<i64>,
    /// The last word was the `T` of ISO 8601.
    after_t: bool,
}

impl Reading {
    const fn has_date(&self) -> bool {
        self.day_of_year.is_some() && self.year.is_some()
            || self.year.is_some() && self.month.is_some() && self.day.is_some()
    }

    fn word(&mut self, word: &str, next: Option<Kind>) -> Option<()> {
        if let Some(month) = month_named(word) {
            return self.month_word(month);
        }
        if is_weekday(word) {
            return (!std::mem::replace(&mut self.weekday_seen, true)).then_some(());
        }
        match word {
            "t" => {
                let followed = matches!(next, Some(Kind::Number | Kind::Time | Kind::Date));
                self.after_t = self.has_date() && followed;
                self.after_t.then_some(())
            }
            "am" => fill(&mut self.afternoon, false),
            "pm" => fill(&mut self.afternoon, true),
            "ad" => fill(&mut self.before_christ, false),
            "bc" => fill(&mut self.before_christ, true),
            "at" | "on" => Some(()),
            "allballs" => {
                self.set_zone(0)?;
                fill(&mut self.time, (0, 0))
            }
            _ => self.set_zone(zone::abbreviated(word)?),
        }
    }

    fn month_word(&mut self, month: i64) -> Option<()> {
        if let Some(number) = self.month {
            // What was taken for the month was the day: `6 May`.
            if self.month_in_words || self.day.is_some() || number > 31 {
                return None;
            }
            self.day = Some(number);
        }
        self.month = Some(month);
        self.month_in_words = true;
        Some(())
    }

    fn set_zone(&mut self, seconds_east: i64) -> Option<()> {
        fill(&mut self.zone, seconds_east)
    }

    fn time_token(&mut self, text: &str) -> Option<()> {
        self.after_t = false;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let mut parts = whole.split(':').map(number);
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        if parts.next().is_some() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        self.set_time(hour, minute, second, fraction)
    }

    fn set_time(&mut self, hour: i64, minute: i64, second: i64, fraction: &str) -> Option<()> {
        let below = (minute * 60 + second) * 1000 + fraction_ms(fraction);
        // Midnight may be written as 24:00:00, and a leap second as :60.
        let fits = minute < 60 && second <= 60 && (hour < 24 || (hour == 24 && below == 0));
        if fits { fill(&mut self.time, (hour, below)) } else { None }
    }

    /// A run of digits without separators, as a date or a time.
    fn run_together(&mut self, text: &str) -> Option<()> {
        let (digits, fraction) = text.split_once('.').unwrap_or((text, ""));
        let split = digits.len().checked_sub(4);
        if !text.contains('.') && !self.has_date() {
            let split = split.filter(|len| *len >= 2)?;
            fill(&mut self.year, number(&digits[..split])?)?;
            fill(&mut self.month, number(&digits[split..split + 2])?)?;
            fill(&mut self.day, number(&digits[split + 2..])?)?;
            self.short_year = split == 2;
            return Some(());
        }
        let second = match digits.len() {
            6 => number(&digits[4..])?,
            4 => 0,
            _ => return None,
        };
        self.set_time(number(&digits[..2])?, number(&digits[2..4])?, second, fraction)
    }

    fn number(&mut self, text: &str) -> Option<()> {
        if std::mem::take(&mut self.after_t) {
            return self.run_together(text);
        }
        match text.find('.') {
            Some(_) if !self.has_date() => self.date_token(text),
            Some(whole) if whole > 2 => self.run_together(text),
            None if text.len() >= 6 && (!self.has_date() || self.time.is_none()) => {
                self.run_together(text)
            }
            _ => self.date_number(text),
        }
    }

    /// A number whose meaning follows from what is known already: month, day, year.
    fn date_number(&mut self, text: &str) -> Option<()> {
        let value = number(text)?;
        let long = text.len() >= 3;
        match (self.year, self.month, self.day) {
            (Some(_), None, None) if text.len() == 3 && (1..=366).contains(&value) => {
                fill(&mut self.day_of_year, value)
            }
            (None, None, None) if long => self.set_year(value, text),
            (_, None, None) | (None, None, Some(_)) => fill(&mut self.month, value),
            (None, Some(_), None) if self.month_in_words && long => self.set_year(value, text),
            (None, Some(_), None) => fill(&mut self.day, value),
            (Some(short), Some(_), None) if self.month_in_words && long && self.short_year => {
                self.day = Some(short);
                self.year = None;
                self.set_year(value, text)
            }
            (Some(_), Some(_), None) => fill(&mut self.day, value),
            (None, Some(_), Some(_)) => self.set_year(value, text),
            (Some(_), Some(_), Some(_)) => self.run_together(text),
            (Some(_), None, Some(_)) => None,
        }
    }

    fn set_year(&mut self, value: i64, text: &str) -> Option<()> {
        self.short_year = text.len() <= 2;
        fill(&mut self.year, value)
    }

    /// A token with separators: a whole date, or a time or zone behind one.
    fn date_token(&mut self, text: &str) -> Option<()> {
        if self.has_date() || self.after_t {
            return self.trailer(text);
        }
        let parts: Vec<&str> = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
            .collect();
        for part in &parts {
            if part.bytes().all(|b| b.is_ascii_alphabetic()) {
                if self.month.is_some() {
                    return None;
                }
                self.month = Some(month_named(part)?);
                self.month_in_words = true;
            }
        }
        for part in parts {
            if !part.bytes().all(|b| b.is_ascii_alphabetic()) {
                self.date_number(part)?;
            }
        }
        self.has_date().then_some(())
    }

    /// What follows a complete date in one token: `070809-08`, or a zone such as `gmt+0000`.
    fn trailer(&mut self, text: &str) -> Option<()> {
        self.after_t = false;
        let sign_at = text.find(['+', '-'])?;
        let (front, offset) = text.split_at(sign_at);
        if front.starts_with(|c: char| c.is_ascii_digit()) {
            self.run_together(front)?;
            return self.set_zone(zone::offset(offset)?);
        }
        let posix_hours = number(offset[1..].split(':').next()?)?;
        if self.sign == ZoneSign::East && posix_hours > 167 {
            return None;
        }
        self.set_zone(zone::abbreviated(front)? + zone::offset(offset)?)
    }

    fn finish(mut self) -> Option<i64> {
        let mut year = self.year?;
        if self.before_christ == Some(true) {
            year = (year > 0).then_some(1 - year)?;
        } else if self.short_year {
            year += if year < 70 { 2000 } else { 1900 };
        } else if year <= 0 {
            return None;
        }
        if let Some(day_of_year) = self.day_of_year {
            if day_of_year > 365 + i64::from(is_leap(year)) {
                return None;
            }
            self.month = Some(1);
            self.day = Some(day_of_year);
        } else {
            let (month, day) = (self.month?, self.day?);
            if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
                return None;
            }
        }
        let (mut hour, below) = self.time.unwrap_or((0, 0));
        if let Some(afternoon) = self.afternoon {
            if hour > 12 {
                return None;
            }
            hour = hour % 12 + if afternoon { 12 } else { 0 };
        }
        let days = day_number(year, self.month?, self.day?);
        let local = days.checked_mul(MS_PER_DAY)?.checked_add(hour * 3_600_000 + below)?;
        let ms = local.checked_sub(self.zone.unwrap_or(0) * 1000)?;
        // From 4713 BC to the end of the year 294276.
        (-210_866_803_200_000..9_224_318_016_000_000).contains(&ms).then_some(ms)
    }
}

/// Sets what was unknown; refuses to set anything twice.
fn fill<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.is_none().then(|| *slot = Some(value))
}

/// Digits as a number of at most nine places.
fn number(digits: &str) -> Option<i64> {
    let fits = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| digits.parse().ok()).flatten()
}
