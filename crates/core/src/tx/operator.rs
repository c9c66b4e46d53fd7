//! Update operators: changes that are computed where they are committed, so that none is lost.
//!
//! In the JSON of operations an object with exactly one member, named like an operator, is one:
//! `{"likes": {"$increment": 1}}`; `{"$literal": x}` stands for the data `x`, whatever `x` looks like. That
//! form belongs to Rust programs and to apps that ask for it ([`ValueForm`]): elsewhere such an object is
//! data. As a tx-step an operator travels as `["update-triple", entity, attr, {"$increment": 1}, {mode}]`.
//!
//! What is missing, or null, counts as the operator's neutral value. Integers stay exact within 64 bits
//! and become doubles beyond.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json, json};

use crate::attr::CheckedType;
use crate::date;
use crate::value::Value;

const LITERAL: &str = "$literal";

/// Whether objects that look like operators are operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ValueForm {
    /// Values are data, whatever they look like: the form of official clients.
    #[default]
    Data,
    /// An object with exactly one operator as its key is that operator.
    Operators,
}

/// A change of one attribute of one entity, evaluated at commit.
#[derive(Clone, PartialEq, Debug)]
pub enum Operator {
    /// Adds a number; missing counts as 0.
    Increment(Value),
    /// Takes a number away; missing counts as 0.
    Decrement(Value),
    /// Multiplies by a number; missing counts as 1.
    Multiply(Value),
    /// Keeps the lesser of two numbers, two strings (by code points) or, where the attribute's type is
    /// `date`, two instants.
    Min(Value),
    /// Keeps the greater, as [`Self::Min`] the lesser.
    Max(Value),
    /// Appends to an array; missing counts as empty.
    Push(Value),
    /// Appends to an array what it does not hold yet.
    AddToSet(Value),
    /// Removes every equal item of an array.
    Pull(Value),
    /// Writes only if there is no value.
    SetOnce(Value),
    /// Writes the time of the commit, in milliseconds since 1970.
    ServerTime,
}

/// Why an operator cannot change a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Misfit {
    /// It takes a value of another kind.
    Needs(&'static str),
    /// The result is beyond what a number can say.
    OutOfRange,
    /// The array would take more than [`ARRAY_BYTES_MAX`].
    TooLarge,
}

/// Most bytes of JSON text to which operators let an array grow: every addition writes all of it.
pub(crate) const ARRAY_BYTES_MAX: usize = 1 << 20;

impl Operator {
    /// The operator's name, with the dollar sign.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Increment(_) => "$increment",
            Self::Decrement(_) => "$decrement",
            Self::Multiply(_) => "$multiply",
            Self::Min(_) => "$min",
            Self::Max(_) => "$max",
            Self::Push(_) => "$push",
            Self::AddToSet(_) => "$addToSet",
            Self::Pull(_) => "$pull",
            Self::SetOnce(_) => "$setOnce",
            Self::ServerTime => "$serverTime",
        }
    }

    /// The operand; none for [`Self::ServerTime`].
    pub const fn operand(&self) -> Option<&Value> {
        match self {
            Self::Increment(v)
            | Self::Decrement(v)
            | Self::Multiply(v)
            | Self::Min(v)
            | Self::Max(v)
            | Self::Push(v)
            | Self::AddToSet(v)
            | Self::Pull(v)
            | Self::SetOnce(v) => Some(v),
            Self::ServerTime => None,
        }
    }

    /// The JSON form, `{"$increment": 1}`.
    pub fn to_json(&self) -> Json {
        json!({ self.name(): self.operand().map_or(json!(true), Value::to_json) })
    }

    /// Reads an operator; `None` for JSON that is none. An operand of the wrong kind gives what it should
    /// be instead.
    pub(crate) fn read(json: &Json) -> Option<Result<Self, String>> {
        let (name, operand) = single(json)?;
        let value = || Value::from_json(operand.clone());
        let takes = |fits: bool, what: &str, operator: fn(Value) -> Self| {
            Some(if fits { Ok(operator(value())) } else { Err(format!("`{name}` takes {what}")) })
        };
        let (number, ordered) = (operand.is_number(), operand.is_number() || operand.is_string());
        match name {
            "$increment" => takes(number, "a number", Self::Increment),
            "$decrement" => takes(number, "a number", Self::Decrement),
            "$multiply" => takes(number, "a number", Self::Multiply),
            "$min" => takes(ordered, "a number or a string", Self::Min),
            "$max" => takes(ordered, "a number or a string", Self::Max),
            "$push" => takes(true, "", Self::Push),
            "$addToSet" => takes(true, "", Self::AddToSet),
            "$pull" => takes(true, "", Self::Pull),
            "$setOnce" => takes(true, "", Self::SetOnce),
            "$serverTime" if *operand == json!(true) => Some(Ok(Self::ServerTime)),
            "$serverTime" => Some(Err("`$serverTime` takes `true`".to_owned())),
            _ => None,
        }
    }

    /// The value that comes of `base`; `None` leaves things as they are. `now` is the commit's time in
    /// milliseconds.
    pub(crate) fn apply(
        &self,
        base: Option<&Value>,
        now: i64,
        checked: Option<CheckedType>,
    ) -> Result<Option<Value>, Misfit> {
        let base = base.filter(|value| !value.is_null());
        let number = |neutral: i64| match base {
            None => Ok(Value::Int(neutral)),
            Some(value @ (Value::Int(_) | Value::Float(_))) => Ok(value.clone()),
            Some(_) => Err(Misfit::Needs("a number")),
        };
        match self {
            Self::Increment(n) => arithmetic(&number(0)?, n, i64::checked_add, |a, b| a + b),
            Self::Decrement(n) => arithmetic(&number(0)?, n, i64::checked_sub, |a, b| a - b),
            Self::Multiply(n) => arithmetic(&number(1)?, n, i64::checked_mul, |a, b| a * b),
            Self::Min(n) => extreme(base, n, checked, Ordering::Less),
            Self::Max(n) => extreme(base, n, checked, Ordering::Greater),
            Self::Push(item) => {
                let items = items(base)?;
                grown(items, item)
            }
            Self::AddToSet(item) => {
                let items = items(base)?;
                if items.iter().any(|have| Value::from_json(have.clone()) == *item) {
                    return Ok(None);
                }
                grown(items, item)
            }
            Self::Pull(item) => {
                let mut items = items(base)?;
                let before = items.len();
                items.retain(|have| Value::from_json(have.clone()) != *item);
                Ok((items.len() < before).then(|| Value::from_json(items.into())))
            }
            Self::SetOnce(value) => Ok(base.is_none().then(|| value.clone())),
            Self::ServerTime => Ok(Some(Value::Int(now))),
        }
    }
}

/// What the value of a field says in the [`ValueForm::Operators`].
pub(crate) enum FieldValue {
    /// Write this.
    Data(Json),
    /// Change what is there.
    Operator(Operator),
}

impl FieldValue {
    /// Reads a field of an operation; an operand of the wrong kind gives what it should be instead.
    pub(crate) fn read(json: &Json) -> Result<Self, String> {
        if let Some((LITERAL, data)) = single(json) {
            return Ok(Self::Data(data.clone()));
        }
        match Operator::read(json) {
            Some(operator) => operator.map(Self::Operator),
            None => Ok(Self::Data(json.clone())),
        }
    }
}

/// JSON that is stored as it is, even if it looks like an operator.
///
/// ```
/// use serde_json::json;
/// use tricedb_core::tx::{literal, tx};
///
/// let rule = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a001";
/// // The object itself is the value; nothing is incremented.
/// let _ = tx("rules", rule).update(json!({ "action": literal(json!({ "$increment": 1 })) }));
/// ```
pub fn literal(json: Json) -> Json {
    json!({ LITERAL: json })
}

/// Fields whose values are all data, in the form in which operators are possible.
pub(crate) fn all_data(fields: Map<String, Json>) -> Map<String, Json> {
    let protect = |value: Json| {
        let special = matches!(single(&value), Some((LITERAL, _)));
        if special || Operator::read(&value).is_some() { literal(value) } else { value }
    };
    fields.into_iter().map(|(label, value)| (label, protect(value))).collect()
}

/// The only member of an object.
fn single(json: &Json) -> Option<(&str, &Json)> {
    let members = json.as_object().filter(|members| members.len() == 1)?;
    members.iter().next().map(|(name, value)| (name.as_str(), value))
}

fn arithmetic(
    a: &Value,
    b: &Value,
    exact: fn(i64, i64) -> Option<i64>,
    rounded: fn(f64, f64) -> f64,
) -> Result<Option<Value>, Misfit> {
    if let (Value::Int(a), Value::Int(b)) = (a, b)
        && let Some(sum) = exact(*a, *b)
    {
        return Ok(Some(Value::Int(sum)));
    }
    let (a, b) = a.as_f64().zip(b.as_f64()).ok_or(Misfit::Needs("a number"))?;
    Value::number(rounded(a, b)).map(Some).ok_or(Misfit::OutOfRange)
}

fn extreme(
    base: Option<&Value>,
    operand: &Value,
    checked: Option<CheckedType>,
    wanted: Ordering,
) -> Result<Option<Value>, Misfit> {
    let Some(base) = base else { return Ok(Some(operand.clone())) };
    let order = if checked == Some(CheckedType::Date) {
        let instants = date::instant_ms(operand).zip(date::instant_ms(base));
        let (a, b) = instants.ok_or(Misfit::Needs("a date"))?;
        // Two spellings of one instant: the choice must not depend on who came first.
        a.cmp(&b).then_with(|| operand.to_json().to_string().cmp(&base.to_json().to_string()))
    } else {
        match (operand, base) {
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::String(_), _) => return Err(Misfit::Needs("a string")),
            _ => operand.cmp_numbers(base).ok_or(Misfit::Needs("a number"))?,
        }
    };
    Ok((order == wanted).then(|| operand.clone()))
}

/// An array with one more item.
fn grown(mut items: Vec<Json>, item: &Value) -> Result<Option<Value>, Misfit> {
    items.push(item.to_json());
    if items.iter().map(text_len).sum::<usize>() > ARRAY_BYTES_MAX {
        return Err(Misfit::TooLarge);
    }
    Ok(Some(Value::from_json(items.into())))
}

/// About as many bytes as the text of JSON has.
fn text_len(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 6,
        Json::String(text) => text.len() + 3,
        Json::Array(items) => 2 + items.iter().map(text_len).sum::<usize>(),
        Json::Object(members) => {
            2 + members.iter().map(|(name, value)| name.len() + 4 + text_len(value)).sum::<usize>()
        }
    }
}

fn items(base: Option<&Value>) -> Result<Vec<Json>, Misfit> {
    match base {
        None => Ok(Vec::new()),
        Some(Value::Json(json)) => json.as_array().cloned().ok_or(Misfit::Needs("an array")),
        Some(_) => Err(Misfit::Needs("an array")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(operator: Json, base: Json) -> Result<Option<Json>, Misfit> {
        let operator = Operator::read(&operator).unwrap().unwrap();
        let base = Some(Value::from_json(base));
        operator.apply(base.as_ref(), 77, None).map(|value| value.map(|v| v.to_json()))
    }

    #[test]
    fn what_is_missing_counts_as_the_neutral_value() {
        for (operator, result) in [
            (json!({"$increment": 2}), json!(2)),
            (json!({"$decrement": 2}), json!(-2)),
            (json!({"$multiply": 3}), json!(3)),
            (json!({"$min": 4}), json!(4)),
            (json!({"$max": "x"}), json!("x")),
            (json!({"$push": 1}), json!([1])),
            (json!({"$addToSet": 1}), json!([1])),
            (json!({"$setOnce": null}), json!(null)),
            (json!({"$serverTime": true}), json!(77)),
        ] {
            assert_eq!(run(operator.clone(), json!(null)), Ok(Some(result.clone())), "{operator}");
            let operator = Operator::read(&operator).unwrap().unwrap();
            let fresh = operator.apply(None, 77, None).unwrap();
            assert_eq!(fresh, Some(Value::from_json(result)));
        }
        assert_eq!(run(json!({"$pull": 1}), json!(null)), Ok(None));
    }

    #[test]
    fn integers_stay_exact_and_become_doubles_only_beyond_64_bits() {
        let big = 9_007_199_254_740_993_i64;
        assert_eq!(run(json!({"$increment": 1}), json!(big)), Ok(Some(json!(big + 1))));
        assert_eq!(run(json!({"$decrement": 1.5}), json!(2)), Ok(Some(json!(0.5))));
        let beyond = run(json!({"$increment": 1}), json!(i64::MAX)).unwrap().unwrap();
        assert_eq!(beyond.as_f64(), Some(9_223_372_036_854_775_808.0));
        assert_eq!(run(json!({"$multiply": 1e308}), json!(1e10)), Err(Misfit::OutOfRange));
    }

    #[test]
    fn arrays_and_extremes() {
        assert_eq!(run(json!({"$push": 1}), json!([1])), Ok(Some(json!([1, 1]))));
        assert_eq!(run(json!({"$addToSet": 1.0}), json!([1])), Ok(None));
        assert_eq!(run(json!({"$pull": {"a": 1}}), json!([{"a": 1}, 2])), Ok(Some(json!([2]))));
        assert_eq!(run(json!({"$min": 1}), json!(2.5)), Ok(Some(json!(1))));
        assert_eq!(run(json!({"$max": 1}), json!(2.5)), Ok(None));
        assert_eq!(run(json!({"$setOnce": 1}), json!(false)), Ok(None));
        let later = Operator::Max(Value::from("2024-02-01"));
        let base = Value::Int(1_704_067_200_000);
        let date = Some(CheckedType::Date);
        assert_eq!(later.apply(Some(&base), 0, date), Ok(Some(Value::from("2024-02-01"))));
    }

    #[test]
    fn the_wrong_type_is_refused() {
        for (operator, base) in [
            (json!({"$increment": 1}), json!("1")),
            (json!({"$multiply": 1}), json!([])),
            (json!({"$min": 1}), json!("a")),
            (json!({"$max": "a"}), json!(1)),
            (json!({"$push": 1}), json!({})),
            (json!({"$addToSet": 1}), json!(1)),
            (json!({"$pull": 1}), json!("x")),
        ] {
            assert!(matches!(run(operator, base), Err(Misfit::Needs(_))));
        }
        assert!(Operator::read(&json!({"$increment": "1"})).unwrap().is_err());
        assert!(Operator::read(&json!({"$serverTime": 1})).unwrap().is_err());
    }

    #[test]
    fn only_one_operator_key_alone_is_an_operator() {
        for data in [json!({"$increment": 1, "x": 2}), json!({"$fly": 1}), json!({}), json!(1)] {
            assert!(Operator::read(&data).is_none());
            let FieldValue::Data(read) = FieldValue::read(&data).unwrap() else { panic!("{data}") };
            assert_eq!(read, data);
        }
        for data in [json!({"$increment": 1}), json!({"$literal": 1}), json!({"$min": []})] {
            let fields = all_data(Map::from_iter([("f".to_owned(), data.clone())]));
            let FieldValue::Data(read) = FieldValue::read(&fields["f"]).unwrap() else {
                panic!("{data}")
            };
            assert_eq!(read, data);
        }
    }
}
