//! Random cases: attributes, a query, and transactions, all of it JSON that can be printed and run again.

use serde_json::{Map, Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use uuid::Uuid;

/// A small generator of random numbers (SplitMix64): the same seed gives the same case for ever.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    /// True in `percent` of all cases.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What is checked: queries that live through transactions.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Attributes that exist at the start.
    pub(crate) attrs: Vec<Json>,
    /// Transactions before the queries begin: lists of tx-steps.
    pub(crate) before: Vec<Json>,
    pub(crate) queries: Vec<Json>,
    /// The name of the evaluation's options.
    pub(crate) options: String,
    /// Transactions that the queries follow.
    pub(crate) commits: Vec<Json>,
}

impl Case {
    pub(crate) fn to_json(&self) -> Json {
        json!({"attrs": self.attrs, "before": self.before, "queries": self.queries,
               "options": self.options, "commits": self.commits})
    }

    pub(crate) fn from_json(json: &Json) -> Option<Self> {
        let list = |key: &str| json[key].as_array().cloned();
        Some(Self {
            attrs: list("attrs")?,
            before: list("before")?,
            queries: list("queries")?,
            options: json["options"].as_str()?.to_owned(),
            commits: list("commits")?,
        })
    }
}

const ENTITIES: usize = 7;
const SPACES: [&str; 2] = ["users", "posts"];

fn uuid(kind: u128, number: usize) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::try_from(number).unwrap())
}

fn entity(space: &str, number: usize) -> EntityId {
    EntityId(uuid(if space == "users" { 1 } else { 2 }, number))
}

/// All attributes that a case may have, with random flags.
fn schema(dice: &mut Dice) -> Vec<Attr> {
    let mut attrs: Vec<Attr> = Vec::new();
    let ids = |attrs: &[Attr]| {
        let number = attrs.len();
        (AttrId(uuid(10, number)), IdentId(uuid(11, number)), IdentId(uuid(12, number)))
    };
    for space in SPACES {
        let (id, ident, _) = ids(&attrs);
        attrs.push(Attr::blob(id, ident, space, "id"));
    }
    for space in SPACES {
        let typed = [
            ("name", Some(CheckedType::String)),
            ("age", Some(CheckedType::Number)),
            ("born", Some(CheckedType::Date)),
            ("note", None),
        ];
        for (label, checked) in typed {
            let (id, ident, _) = ids(&attrs);
            let mut attr = Attr::blob(id, ident, space, label);
            attr.checked_data_type = checked.filter(|_| dice.chance(85));
            attr.indexed = dice.chance(if checked.is_some() { 75 } else { 25 });
            attrs.push(attr);
        }
    }
    let links = [
        ("posts", "author", "users", "posts"),
        ("posts", "editor", "users", "edited"),
        ("users", "friends", "users", "friendOf"),
        ("users", "boss", "users", "deputy"),
        ("posts", "answers", "posts", "question"),
    ];
    for (from, label, to, back) in links {
        let (id, ident, reverse) = ids(&attrs);
        let name = |id, etype: &str, label: &str| Identity {
            id,
            etype: etype.into(),
            label: label.into(),
        };
        let mut attr = Attr::link(id, name(ident, from, label), name(reverse, to, back));
        attr.cardinality = dice.pick(&[Cardinality::One, Cardinality::Many]);
        attr.unique = dice.chance(25);
        attrs.push(attr);
    }
    attrs
}

/// Makes the case of a seed.
pub(crate) fn case(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let schema = schema(&mut dice);
    let mut known: Vec<bool> =
        schema.iter().map(|attr| dice.chance(if attr.is_id() { 96 } else { 90 })).collect();
    let attrs = schema.iter().zip(&known).filter(|(_, known)| **known);
    let attrs = attrs.map(|(attr, _)| json!(attr)).collect();
    let before = (0..dice.below(4))
        .map(|_| {
            let count = 2 + dice.below(25);
            transaction(&mut dice, &schema, &mut known, count)
        })
        .collect();
    let queries = (0..1 + dice.below(3)).map(|_| query(&mut dice, &schema)).collect();
    let options =
        dice.pick(&["client", "client", "client", "native", "socket", "admin"]).to_owned();
    let commits = (0..3 + dice.below(10))
        .map(|_| {
            let count = 1 + dice.pick(&[0, 0, 0, 1, 2, 5, 12]);
            transaction(&mut dice, &schema, &mut known, count)
        })
        .collect();
    Case { attrs, before, queries, options, commits }
}

fn transaction(dice: &mut Dice, schema: &[Attr], known: &mut [bool], count: usize) -> Json {
    let mut steps = Vec::new();
    for _ in 0..count {
        let at = dice.below(schema.len());
        let attr = &schema[at];
        if !known[at] {
            known[at] = true;
            steps.push(json!(["add-attr", attr]));
            continue;
        }
        let space = attr.etype();
        let subject = entity(space, dice.below(ENTITIES));
        match dice.below(100) {
            0..12 => {
                let space = dice.pick(&SPACES);
                let subject = entity(space, dice.below(ENTITIES));
                steps.push(json!(["delete-entity", subject, space]));
            }
            12..40 => create(dice, schema, known, &mut steps),
            40..43 => {
                known[at] = attr.is_id();
                if !attr.is_id() {
                    steps.push(json!(["delete-attr", attr.id]));
                }
            }
            43..46 if !attr.is_id() && !attr.is_ref() => {
                let mut attr = attr.clone();
                attr.indexed = !attr.indexed;
                let change = json!({"id": attr.id, "index?": attr.indexed});
                steps.push(json!(["update-attr", change]));
            }
            46..62 if attr.is_ref() => {
                let target = entity(attr.target_etype().unwrap(), dice.below(ENTITIES));
                steps.push(json!(["retract-triple", subject, attr.id, target]));
            }
            46..50 if !attr.is_id() => {
                let value = value(dice, attr.label());
                steps.push(json!(["retract-triple", subject, attr.id, value]));
            }
            _ => steps.push(add(dice, attr, subject)),
        }
    }
    steps.into()
}

/// Steps that make an entity, with some of its values.
fn create(dice: &mut Dice, schema: &[Attr], known: &[bool], steps: &mut Vec<Json>) {
    let space = dice.pick(&SPACES);
    let subject = entity(space, dice.below(ENTITIES));
    for (attr, known) in schema.iter().zip(known) {
        if *known && attr.etype() == space && (attr.is_id() || dice.chance(50)) {
            steps.push(add(dice, attr, subject));
        }
    }
}

fn add(dice: &mut Dice, attr: &Attr, subject: EntityId) -> Json {
    let value = match attr.target_etype() {
        Some(space) => json!(entity(space, dice.below(ENTITIES))),
        None if attr.is_id() => json!(subject),
        None => value(dice, attr.label()),
    };
    json!(["add-triple", subject, attr.id, value])
}

fn value(dice: &mut Dice, label: &str) -> Json {
    if dice.chance(12) {
        return Json::Null;
    }
    match label {
        "name" => text(dice),
        // Doubles whose sums depend on the order of adding.
        "age" => match dice.below(8) {
            0 => json!(0.1),
            1 => json!(1e17),
            2 => json!(-0.3),
            _ => json!(dice.below(5)),
        },
        "born" => dice
            .pick(&[("2024-01-01", 1_704_067_200_000_i64), ("2024-01-02", 1_704_153_600_000)])
            .into_json(dice.chance(50)),
        _ => match dice.below(6) {
            5 => json!([dice.pick(&["a", "b"]), dice.below(2)]),
            0 => json!(dice.below(3)),
            1 => json!(dice.chance(50)),
            2 => json!({"a": dice.below(2)}),
            _ => text(dice),
        },
    }
}

trait IntoJson {
    fn into_json(self, text: bool) -> Json;
}

impl IntoJson for (&str, i64) {
    fn into_json(self, text: bool) -> Json {
        if text { json!(self.0) } else { json!(self.1) }
    }
}

fn text(dice: &mut Dice) -> Json {
    json!(dice.pick(&["a", "b", "B", "ab", "á", "zab"]))
}

const LINKS: [&[(&str, &str)]; 2] = [
    &[
        ("posts", "posts"),
        ("edited", "posts"),
        ("friends", "users"),
        ("friendOf", "users"),
        ("boss", "users"),
        ("deputy", "users"),
    ],
    &[("author", "users"), ("editor", "users"), ("answers", "posts"), ("question", "posts")],
];

fn links(space: &str) -> &'static [(&'static str, &'static str)] {
    LINKS[usize::from(space == "posts")]
}

const LABELS: [&str; 4] = ["name", "age", "born", "note"];

fn query(dice: &mut Dice, schema: &[Attr]) -> Json {
    let first = dice.pick(&SPACES);
    let depth = dice.below(4);
    let mut query = Map::from_iter([(first.to_owned(), form(dice, schema, first, depth, true))]);
    if dice.chance(20) {
        let other = dice.pick(&SPACES);
        query.insert(other.into(), form(dice, schema, other, 1, true));
    }
    query.into()
}

fn form(dice: &mut Dice, schema: &[Attr], space: &str, depth: usize, top: bool) -> Json {
    let mut form = Map::new();
    if depth > 0 {
        for _ in 0..dice.below(3) {
            let (label, target) = dice.pick(links(space));
            form.insert(label.into(), self::form(dice, schema, target, depth - 1, false));
        }
    }
    let options = options(dice, schema, space, top);
    if !options.is_empty() {
        form.insert("$".into(), options.into());
    }
    form.into()
}

fn options(dice: &mut Dice, schema: &[Attr], space: &str, top: bool) -> Map<String, Json> {
    let mut options = Map::new();
    if dice.chance(60) {
        options.insert("where".into(), conditions(dice, space, 2));
    }
    let order = dice.pick(&["", "", "serverCreatedAt", "name", "age", "born"]);
    if !order.is_empty() {
        let sense = dice.pick(&["asc", "desc"]);
        options.insert("order".into(), json!({order: sense}));
    }
    if dice.chance(30) {
        let fields: Vec<&str> = (0..dice.below(3)).map(|_| dice.pick(&LABELS)).collect();
        options.insert("fields".into(), json!(fields));
    }
    if dice.chance(50) {
        let name = dice.pick(&["limit", "limit", "first", "last"]);
        options.insert(name.into(), json!(1 + dice.below(4)));
    }
    if top && dice.chance(25) && !options.contains_key("last") {
        options.insert("offset".into(), json!(dice.below(4)));
    }
    for name in ["after", "before"] {
        if top && dice.chance(15) {
            let label = if order.is_empty() || order == "serverCreatedAt" { "id" } else { order };
            let attr = schema.iter().find(|attr| attr.etype() == space && attr.label() == label);
            let row = entity(space, dice.below(ENTITIES));
            let value = if label == "id" { json!(row) } else { value(dice, label) };
            let cursor = json!([row, attr.unwrap().id, value, dice.below(12)]);
            options.insert(name.into(), cursor);
            if dice.chance(30) {
                options.insert(format!("{name}Inclusive"), json!(true));
            }
        }
    }
    if top && dice.chance(4) {
        options.insert("aggregate".into(), json!("count"));
    } else if top && dice.chance(12) {
        options.retain(|name, _| name == "where");
        options.insert("aggregate".into(), aggregate(dice, space));
    }
    options
}

fn aggregate(dice: &mut Dice, space: &str) -> Json {
    let mut asked = Map::from_iter([("count".to_owned(), json!(true))]);
    for _ in 0..dice.below(4) {
        let function = dice.pick(&["sum", "avg", "min", "max"]);
        let labels: Vec<&str> = (0..1 + dice.below(2)).map(|_| dice.pick(&LABELS)).collect();
        asked.insert(function.into(), json!(labels));
    }
    if dice.chance(50) {
        // Has-one links make groups; those with many targets are refused.
        let link = if space == "users" { "boss" } else { "author" };
        let labels: Vec<&str> = (0..1 + dice.below(2))
            .map(|_| dice.pick(&["name", "age", "born", "note", link]))
            .collect();
        asked.insert("groupBy".into(), json!(labels));
    }
    asked.into()
}

fn conditions(dice: &mut Dice, space: &str, depth: usize) -> Json {
    let mut all = Map::new();
    for _ in 0..dice.below(3) {
        let (key, condition) = condition(dice, space);
        all.insert(key, condition);
    }
    if depth > 0 && dice.chance(35) {
        let items: Vec<Json> =
            (0..1 + dice.below(2)).map(|_| conditions(dice, space, depth - 1)).collect();
        all.insert(dice.pick(&["or", "and"]).into(), items.into());
    }
    if dice.chance(3) {
        all.insert("$entityIdStartsWith".into(), json!("00000000-0000-0001-0000-00000000000"));
    }
    all.into()
}

fn condition(dice: &mut Dice, space: &str) -> (String, Json) {
    let (mut key, mut space) = (String::new(), space);
    while dice.chance(35) && key.matches('.').count() < 3 {
        let (label, target) = dice.pick(links(space));
        key.push_str(label);
        key.push('.');
        space = target;
    }
    if dice.chance(20) {
        let (label, target) = dice.pick(links(space));
        let (a, b) = (entity(target, dice.below(ENTITIES)), entity(target, dice.below(ENTITIES)));
        let condition = match dice.below(7) {
            0 | 1 => json!(a),
            2 => json!({"$in": [a, b]}),
            3 => json!({"$ne": a}),
            4 => json!({"$nin": [a, b]}),
            5 => json!({"$nin": [a, null], "$ne": b}),
            _ => json!({"$isNull": dice.chance(50)}),
        };
        return (key + label, condition);
    }
    if dice.chance(8) {
        return (key + "id", json!(entity(space, dice.below(ENTITIES))));
    }
    let label = dice.pick(&LABELS);
    let mut operand = || loop {
        let value = value(dice, label);
        if !value.is_null() && !value.is_object() && !value.is_array() {
            return value;
        }
    };
    let (a, b) = (operand(), operand());
    let condition = match dice.below(18) {
        0..3 => a,
        3 => json!({"$in": [a, b]}),
        4 => json!({"$ne": a}),
        5 => json!({"$isNull": true}),
        6 => json!({"$isNull": false}),
        7 => json!({"$gt": a}),
        8 => json!({"$lte": a}),
        9 if label == "name" => json!({"$ilike": dice.pick(&["%b", "a%", "_"])}),
        10 => json!({"$gte": a, "$lt": b}),
        11 => json!({"$nin": [a, b]}),
        12 => json!({"$nin": [a, null]}),
        13 => json!({"$exists": dice.chance(50)}),
        14 => json!({"$contains": a}),
        15 => json!({"$size": dice.below(3)}),
        16 => json!({"$size": {"$gte": 1, "$lt": 2 + dice.below(3)}}),
        17 => json!({"$ne": a, "$not": b}),
        _ => json!({"$gte": a, "$ne": b}),
    };
    (key + label, condition)
}
