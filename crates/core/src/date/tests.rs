use std::path::PathBuf;

use serde_json::Value as Json;

use super::calendar::{MS_PER_DAY, day_number};
use super::*;

/// The recorded cases of `file`, or `None` (said aloud) where they are not at hand.
fn recorded(file: &str) -> Option<Vec<Json>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance").join(file);
    if !path.exists() {
        eprintln!("skipped: {file} is not beside this checkout");
        return None;
    }
    let text = std::fs::read_to_string(&path).unwrap();
    let mut file: Json = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array_mut().unwrap();
    assert!(!cases.is_empty());
    Some(std::mem::take(cases))
}

/// Reads the vectors' output form `[+-]y-MM-ddTHH:mm:ss[.fraction]Z`, independently of the parsers under test.
fn ms_of(iso: &str) -> i64 {
    let (sign, rest) = match iso.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, iso.strip_prefix('+').unwrap_or(iso)),
    };
    let (date, time) = rest.strip_suffix('Z').unwrap().split_once('T').unwrap();
    let date: Vec<i64> = date.split('-').map(|part| part.parse().unwrap()).collect();
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock: Vec<i64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    let fraction: i64 = format!("{fraction:0<3}")[..3].parse().unwrap();
    day_number(sign * date[0], date[1], date[2]) * MS_PER_DAY
        + (clock[0] * 3600 + clock[1] * 60 + clock[2]) * 1000
        + fraction
}

fn value_of(json: &Json) -> Value {
    match json.get("$date") {
        Some(date) => Value::from_json(date.clone()),
        None => Value::from_json(json.clone()),
    }
}

#[test]
fn recorded_dates_read_as_the_server_reads_them() {
    let Some(cases) = recorded("instaml/dates.json") else { return };
    for case in cases {
        let value = value_of(&case["value"]);
        let name = case["name"].as_str().unwrap();
        assert_eq!(accepts(&value), case["serverAccepts"].as_bool().unwrap(), "accepts {name}");
        let stored = case["serverStoredAs"].as_str();
        let queried = case["serverQueryParse"].as_str();
        let text = value.as_str().unwrap_or_default();
        let expected = match (text, queried.or(stored)) {
            ("infinity", _) => Some(i64::MAX),
            ("-infinity", _) => Some(i64::MIN),
            (_, Some("$clock") | None) => None,
            (_, Some(iso)) => Some(ms_of(iso)),
        };
        assert_eq!(instant_ms(&value), expected, "instant of {name}");
    }
}

#[test]
fn recorded_dates_read_as_the_client_reads_them() {
    let Some(cases) = recorded("instaml/dates.json") else { return };
    for case in cases {
        let name = case["name"].as_str().unwrap();
        if name == "\"May 6, 2024\"" {
            // The official client loses the year here; this one does not.
            continue;
        }
        let got = coerce_client(&value_of(&case["value"]));
        match &case["client"] {
            Json::String(iso) => assert_eq!(got, Ok(Some(ms_of(iso))), "{name}"),
            Json::Null => assert_eq!(got, Ok(None), "{name}"),
            other if other.get("invalidDate").is_some() => assert_eq!(got, Ok(None), "{name}"),
            other => {
                assert_eq!(got.unwrap_err().to_string(), other["error"].as_str().unwrap(), "{name}")
            }
        }
    }
}

#[test]
fn recorded_coercions_hold() {
    let Some(cases) = recorded("instaql/date_parsing.json") else { return };
    for case in cases {
        let got = coerce_client(&value_of(&case["input"]));
        let name = &case["name"];
        match case.get("error") {
            Some(error) => {
                assert_eq!(
                    got.unwrap_err().to_string(),
                    error["message"].as_str().unwrap(),
                    "{name}"
                );
            }
            None => assert_eq!(got, Ok(case["expect"]["ms"].as_i64()), "{name}"),
        }
    }
}

#[track_caller]
fn check_server(text: &str, iso: Option<&str>) {
    let value = Value::from(text);
    assert_eq!(accepts(&value), iso.is_some(), "accepts {text}");
    if let Some(iso) = iso {
        assert_eq!(instant_ms(&value), Some(ms_of(iso)), "instant of {text}");
    }
}

#[test]
fn the_server_reads_what_postgres_reads() {
    for (text, iso) in [
        ("2024-05-06", "2024-05-06T00:00:00Z"),
        ("6 May 2024", "2024-05-06T00:00:00Z"),
        ("06-May-2024", "2024-05-06T00:00:00Z"),
        ("2024 May 6 10:30 pm", "2024-05-06T22:30:00Z"),
        ("20240506T070809", "2024-05-06T07:08:09Z"),
        ("20240506T070809-08", "2024-05-06T15:08:09Z"),
        ("1/2/99", "1999-01-02T00:00:00Z"),
        ("2024-060", "2024-02-29T00:00:00Z"),
        ("epoch", "1970-01-01T00:00:00Z"),
        ("2024-05-06 07:08 PST", "2024-05-06T15:08:00Z"),
        ("2024-02-29T23:59:60Z", "2024-03-01T00:00:00Z"),
        ("Thu Jan 01 1970 00:00:00 GMT+0100", "1969-12-31T23:00:00Z"),
        ("1 Jan 0001 BC", "0000-01-01T00:00:00Z"),
        ("294276-12-31T23:59:59.999Z", "294276-12-31T23:59:59.999Z"),
    ] {
        check_server(text, Some(iso));
    }
    for text in [
        "2024-13-01",
        "2024-05-06T25:00:00Z",
        "2024-05-06T24:00:01Z",
        "2024-05-06 07:08:60:01",
        "2024-05-06 2024-05-07",
        "2024-05-06 13:00 pm",
        "0000-01-01",
        "294277-01-01",
        "2024-05-06T07:08:09+16",
        "2024-05-06T07:08:09Z Z",
        "T07:08:09",
        "May 2024",
        "2024-05-06 über",
        "tomorrow 10:00:00 nowhere",
        "----",
        "2024-05-06T",
        "99999999999999999999-01-01",
    ] {
        check_server(text, None);
    }
    check_server(&"2024-05-06".repeat(20), None);
}

#[test]
fn words_that_need_a_clock_are_accepted_without_an_instant() {
    for text in ["now", "today", "tomorrow", "yesterday", "NOW"] {
        assert!(accepts(&Value::from(text)), "{text}");
        assert_eq!(instant_ms(&Value::from(text)), None, "{text}");
        assert!(coerce_client(&Value::from(text)).is_err(), "{text}");
    }
}

#[test]
fn numbers_are_bounded_by_the_calendar() {
    for (ms, fits) in [
        (-210_866_803_200_000, true),
        (-210_866_803_200_001, false),
        (9_224_318_015_999_998, true),
        (9_224_318_016_000_000, false),
    ] {
        assert_eq!(accepts(&Value::Int(ms)), fits, "{ms}");
        assert_eq!(instant_ms(&Value::Int(ms)), fits.then_some(ms), "{ms}");
    }
    assert_eq!(instant_ms(&Value::Float(-1.5)), Some(-1));
}

#[test]
fn every_accepted_string_without_a_clock_has_an_instant_and_none_panics() {
    // Every pair of fragments, in both orders: the parser meets each state it can be in.
    let parts = [
        "",
        "2024",
        "05",
        "6",
        "May",
        "Mon",
        "T",
        "Z",
        "+00",
        "-",
        "/",
        ".",
        ":",
        "07:08",
        "am",
        "bc",
        "2024-05-06",
        "070809",
        ".5",
        "gmt+0000",
        "gmt-",
        "é",
        "\"",
        "366",
        "-infinity",
        "now",
        "at",
    ];
    let mut accepted = 0;
    for a in parts {
        for b in parts {
            for c in parts {
                for glue in ["", " "] {
                    let text = [a, b, c].join(glue);
                    let value = Value::from(text.as_str());
                    let _ = coerce_client(&value);
                    if accepts(&value)
                        && !["now", "at now", "now at"].iter().any(|w| text.contains(w))
                    {
                        accepted += 1;
                        assert!(instant_ms(&value).is_some(), "{text}");
                    }
                }
            }
        }
    }
    assert!(accepted > 50, "{accepted}");
}

#[test]
fn day_numbers_follow_the_calendar() {
    assert_eq!(day_number(1970, 1, 1), 0);
    assert_eq!(day_number(2000, 3, 1) - day_number(2000, 2, 28), 2);
    assert_eq!(day_number(1900, 3, 1) - day_number(1900, 2, 28), 1);
    assert_eq!(day_number(2024, 31, 12), day_number(2026, 7, 12));
    assert_eq!(day_number(0, 1, 1), -719_528);
}
